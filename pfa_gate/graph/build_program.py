"""From a merged recording to a program: operators as nodes of a graph, held tensors by their names."""

import functools
import operator
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node

from pfa_gate.graph.editing import fold
from pfa_gate.graph.held_tensors import NamedTensors, tied
from pfa_gate.graph.program import Alias, BatchSize, Program, asserts, writes
from pfa_gate.graph.record import Form, Given, Held, Made, Operation, Read, Recording
from pfa_gate.graph.repeat import Affine
from pfa_gate.model.structure import CallStructure

aten = torch.ops.aten


def build_program(
    model: nn.Module, recording: Recording, call: CallStructure, samples: int, reads: Collection[Read] = ()
) -> Program:
    """The program that a recording shows.

    Args:
        model: that was recorded.
        recording: merged of two.
        call: how its inputs and output are made of single values.
        samples: of the first of the two recordings.
        reads: where Python read one element of what depends on the inputs; the program fails where it is another.
    """
    named = NamedTensors.of(model)
    builder = _GraphBuilder(recording, named, call, samples)
    graph = builder.graph({read.value.operation: read.line for read in reads})
    held = builder.placeholders
    tensors = {name: tensor.detach() for name, tensor in builder.tensors().items()}
    first = tied(tensors)
    aliases = {node: Alias(first[name], tuple(range(tensors[name].ndim))) for node, name in held.items()}
    constants, aliases, folded = fold(graph, aliases, tensors)
    dynamic = any(growing.growing for growing in recording.inputs if growing is not None)
    return Program(
        graph=graph,
        call=call,
        held=held,
        state=named.state,
        parameters=named.parameters,
        lifted=frozenset(held.values()) - named.state.keys() - named.buffers.keys(),
        tensors=tensors,
        aliases=aliases,
        constants=constants,
        folded=folded,
        dynamic=dynamic,
        single=recording.single,
    )


class _GraphBuilder:
    def __init__(self, recording: Recording, named: NamedTensors, call: CallStructure, samples: int) -> None:
        self._recording, self._named, self._call, self._samples = recording, named, call, samples
        self._graph = Graph()
        self._sizes: dict[Affine, Node] = {}
        self._made: dict[Any, Node] = {}
        self._places: dict[int, Node] = {}
        self._given: list[Node] = []
        self._constants: dict[str, Tensor] = {}
        self.placeholders: dict[Node, str] = {}

    def graph(self, reads: Mapping[int, str]) -> Graph:
        """The graph: inputs, operators, output; and that some of the operators give what they gave, at which lines."""
        views = self._place_held()
        self._place_inputs()
        self._place_views(views)
        for place, operation in enumerate(self._recording.operations):
            self._made[Made(place)] = self._called(operation)
            self._made[Made(place)].meta["call"] = place
            if place in reads:
                self._hold(operation, reads[place])
        self._store_assigned()
        self._graph.output(self._argument(list(self._recording.outputs)))
        _drop_numbers(self._graph)
        return self._graph

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor that stands for one of the graph's inputs, by name."""
        return {**self._named.stored, **self._constants}

    # --- inputs

    def _place_held(self) -> dict[int, str]:
        """An input for each held tensor; gives those that are parts of a stored one, by its name."""
        nodes = {name: self._held_input(name, tensor) for name, tensor in self._named.stored.items()}
        views: dict[int, str] = {}
        for place, tensor in enumerate(self._recording.held):
            name = self._named.name_of(tensor)
            whole = self._named.whole_of(tensor) if name is None else None
            if whole is not None:
                views[place] = whole
                continue
            if name is None:
                name = self._constant_name(self._named.attribute_of(tensor))
                self._constants[name] = tensor
                nodes[name] = self._held_input(name, tensor)
            self._places[place] = nodes[name]
        return views

    def _place_views(self, views: Mapping[int, str]) -> None:
        nodes = {name: node for node, name in self.placeholders.items()}
        for place, name in views.items():
            tensor = self._recording.held[place]
            args = (nodes[name], list(tensor.shape), list(tensor.stride()), tensor.storage_offset())
            view = self._graph.create_node("call_function", aten.as_strided.default, args, name="as_strided")
            _describe(view, Form(tuple(tensor.shape), tensor.dtype))
            self._places[place] = view

    def _held_input(self, name: str, tensor: Tensor) -> Node:
        node = self._graph.create_node("placeholder", name, name=name.replace(".", "_"))
        node.target = node.name
        node.meta["val"] = _of_form(tuple(tensor.shape), tensor.dtype)
        self.placeholders[node] = name
        return node

    def _constant_name(self, attribute: str | None) -> str:
        taken = {*self._named.stored, *self._constants}
        if (
            attribute is not None
            and attribute not in taken
            and not any(hasattr(nn.Module, part) for part in attribute.split("."))
        ):
            return attribute
        return f"lifted_tensor_{len(self._constants)}"

    def _place_inputs(self) -> None:
        for leaf, form in enumerate(self._recording.inputs):
            node = self._graph.create_node("placeholder", f"leaf_{leaf}", name=_leaf_name(self._call, leaf))
            node.target = node.name
            if form is not None:
                _describe(node, form)
            self._given.append(node)

    # --- operators

    def _called(self, operation: Operation) -> Node:
        args, kwargs = self._argument(operation.args), self._argument(dict(operation.kwargs))
        name = str(getattr(operation.operator, "overloadpacket", operation.operator).__name__)
        node = self._graph.create_node("call_function", operation.operator, args, kwargs, name=name)
        node.meta["owner"] = operation.owner
        _describe(node, operation.result)
        return node

    def _hold(self, operation: Operation, line: str) -> None:
        """Fail where the one element that Python read is another than in the recording."""
        element = self._argument(operation.args[0])
        same = self._graph.create_node("call_function", aten.eq.Scalar, (element, operation.result), name="same")
        same.meta["val"] = torch.empty(element.meta["val"].shape, dtype=torch.bool, device="meta")
        file = line.rpartition("/")[2]  # a graph is given away, and folders are nobody else's business
        said = f"These inputs take another way through the model than those it was recorded with ({file})"
        self._graph.create_node("call_function", aten._assert_async.msg, (same, said), name="assert_same")

    def _argument(self, value: Any) -> Any:
        if isinstance(value, Made | Given | Held | Affine):
            return self._node(value)
        if isinstance(value, list | tuple):
            return type(value)([self._argument(each) for each in value])
        if isinstance(value, dict):
            return {key: self._argument(each) for key, each in value.items()}
        return value

    def _node(self, value: Made | Given | Held | Affine) -> Node:
        if isinstance(value, Given):
            return self._given[value.leaf]
        if isinstance(value, Held):
            return self._places[value.place]
        return self._size(value) if isinstance(value, Affine) else self._result(value)

    def _result(self, made: Made) -> Node:
        if made not in self._made:
            whole = self._made[Made(made.operation)]
            node = self._graph.create_node("call_function", operator.getitem, (whole, made.part), name="getitem")
            _describe(node, self._recording.operations[made.operation].result[made.part])
            self._made[made] = node
        return self._made[made]

    # --- integers that depend on the batch

    def _size(self, size: Affine) -> Node:
        if size not in self._sizes:
            self._sizes[size] = self._computed_size(size)
        return self._sizes[size]

    def _computed_size(self, size: Affine) -> Node:
        factor, offset, divisor = size
        if size == Affine(1, 0):
            source = next(
                node
                for node, form in zip(self._given, self._recording.inputs, strict=True)
                if form is not None and 0 in dict(form.growing)
            )
            return self._number(aten.sym_size.int, (source, 0), "sym_size_int", self._samples)
        value = size.at(self._samples)
        if offset:
            return self._number(operator.add, (self._size(Affine(factor, 0, divisor)), offset), "add", value)
        if divisor > 1:
            return self._number(operator.floordiv, (self._size(Affine(factor, 0)), divisor), "floordiv", value)
        return self._number(operator.mul, (self._size(Affine(1, 0)), factor), "mul", value)

    def _number(self, target: Any, args: Any, name: str, value: int) -> Node:
        node = self._graph.create_node("call_function", target, args, name=name)
        node.meta["val"] = BatchSize(value)
        return node

    # --- buffers

    def _store_assigned(self) -> None:
        """A buffer that the forward pass sets anew is written at the end of the graph."""
        nodes = {name: node for node, name in self.placeholders.items()}
        for name, reference in self._recording.assigned:
            node, value = nodes.get(name), self._argument(reference)
            if node is not None and value is not node and value.meta["val"].shape == node.meta["val"].shape:
                stored = self._graph.create_node("call_function", aten.copy_.default, (node, value), name="copy_")
                stored.meta["val"] = node.meta["val"]


def _leaf_name(call: CallStructure, leaf: int) -> str:
    """The name of the model's input that a value belongs to."""
    positional, keywords = call.inputs.children()
    sizes = [each.num_leaves for each in (*positional.children(), *keywords.children())]
    for name, size in zip(call.names, sizes, strict=True):
        if leaf < size:
            return name if size == 1 else f"{name}_{leaf}"
        leaf -= size
    raise ValueError("The inputs have fewer values.")


def _describe(node: Node, form: Any) -> None:
    node.meta["val"] = _described(form)
    if isinstance(form, Form) and form.growing:
        node.meta["growing"] = dict(form.growing)


def _described(form: Any) -> Any:
    if isinstance(form, Form):
        return _of_form(form.shape, form.dtype)
    return [_described(each) for each in form] if isinstance(form, list) else form


@functools.lru_cache(4096)
def _of_form(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor without elements; one for all nodes of this form, as nothing is ever written into it."""
    return torch.empty(shape, dtype=dtype, device="meta")


def _drop_numbers(graph: Graph) -> None:
    """Shapes and elements that Python read: what it did with them is recorded as it is."""
    for node in reversed(list(graph.nodes)):
        number = not isinstance(node.meta.get("val"), Tensor | list)
        if node.op == "call_function" and number and not node.users and not (writes(node) or asserts(node)):
            graph.erase_node(node)
