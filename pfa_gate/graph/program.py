"""The program of a model: its ATen graph, the tensors it holds, and what they are called.

The graph is what is followed, cut and probed; the model itself is left as it was.
"""

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from pfa_gate.model.device import CPU, substituted
from pfa_gate.model.structure import CallStructure

Observe = Callable[[Node, Any], None]


@dataclass(frozen=True)
class Alias:
    """A node that is a held tensor, or a box of it, with its axes moved.

    Attributes:
        name: of the tensor.
        axes: axis i of the node is axis `axes[i]` of the tensor; -1 for one of size 1 that the tensor has not.
        parts: for each axis of the tensor of which the node has not all, the indices that it has.
    """

    name: str
    axes: tuple[int, ...]
    parts: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether the node has all of the tensor."""
        return not self.parts and -1 not in self.axes


@dataclass(frozen=True)
class Program:
    """A model as a graph of operators.

    Attributes:
        graph: one input for each held tensor, one for each value of the model's inputs, then the operators.
        call: how the model's inputs and output are made of single values.
        held: the graph's inputs that stand for a held tensor, and its qualified name.
        state: the tensors of the model's state dict, themselves, by each of their names.
        parameters: names of its parameters.
        lifted: names of held tensors that are neither parameters nor buffers of the model.
        tensors: every parameter, buffer and constant the graph reads, by qualified name.
        aliases: graph nodes that stand for such a tensor.
        constants: values of the nodes that depend on parameters alone, computed once.
        folded: such nodes by the names of their values in `tensors`, but for those that only move a stored tensor.
        dynamic: whether it runs at any batch size.
        single: whether the forward casts to float32 what is so already, and the graph therefore does not.
        substitutes: dtypes and devices that the graph's arguments name -> those that are used in their place.
        stored: the model whose program this is, where the one that was given computes some of its weights: in its
            place a module that stores them; else None.
        unpacked: names of the given model's integer buffers that hold weights.
    """

    graph: Graph
    call: CallStructure
    held: Mapping[Node, str]
    state: Mapping[str, Tensor] = field(repr=False)
    parameters: frozenset[str] = field(repr=False)
    lifted: frozenset[str] = field(repr=False)
    tensors: Mapping[str, Tensor] = field(repr=False)
    aliases: Mapping[Node, Alias]
    constants: Mapping[Node, Any] = field(repr=False)
    folded: Mapping[str, Node] = field(repr=False)
    dynamic: bool = True
    single: bool = False
    substitutes: Mapping[Any, Any] = field(default_factory=dict)
    stored: nn.Module | None = field(default=None, repr=False)
    unpacked: frozenset[str] = frozenset()

    def on(self, device: torch.device) -> "Program":
        """The same program with its tensors on a device; itself if they are there."""
        moved: dict[int, Tensor] = {}

        def move(value: Any) -> Any:
            if not isinstance(value, Tensor) or value.device == device:
                return value
            return moved.setdefault(id(value), value.to(device))

        tensors = {name: move(tensor) for name, tensor in self.tensors.items()}
        constants = {node: pytree.tree_map(move, value) for node, value in self.constants.items()}
        substitutes = {**self.substitutes, torch.device("cpu"): device}
        return replace(self, tensors=tensors, constants=constants, substitutes=substitutes) if moved else self

    @property
    def nodes(self) -> Iterator[Node]:
        """The operators that depend on the input, in execution order, then the output."""
        return (node for node in self.graph.nodes if self._depends_on_input(node))

    def _depends_on_input(self, node: Node) -> bool:
        return node.op in ("call_function", "output") and node not in self.constants

    @property
    def device(self) -> torch.device:
        """Where its tensors lie."""
        return next((tensor.device for tensor in self.tensors.values()), CPU)

    @property
    def batch(self) -> int:
        """Samples in the example of the program."""
        return next((shape[0] for shape in self.inputs if shape), 1)

    @property
    def inputs(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the input tensors of that example."""
        return tuple(shape_of(node) for node in self.inputs_of_model if is_tensor(node))

    @property
    def inputs_of_model(self) -> tuple[Node, ...]:
        """The graph's inputs that stand for the model's."""
        return tuple(node for node in self.graph.nodes if node.op == "placeholder" and node not in self.held)

    @property
    def halves(self) -> frozenset[torch.dtype]:
        """The dtypes of half precision that it holds tensors of."""
        return halves(self.tensors.values())

    @property
    def single_precision(self) -> bool:
        """Whether not even a double copy computes in double: the forward casts to float32, or makes a tensor of it."""
        if self.single or any(self.tensors[name].dtype is torch.float32 for name in self.lifted):
            return True
        return any(
            torch.float32 in (*node.args, *node.kwargs.values())
            for node in self.graph.nodes
            if node.op == "call_function" and operator_name(node) not in _MAKING
        )

    def run(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        observe: Observe | None = None,
        instead: Mapping[Node, Callable[..., Any]] | None = None,
    ) -> Any:
        """Run the graph and give the model's output.

        Args:
            args: the model's positional inputs.
            kwargs: its keyword inputs.
            observe: called with (node, value) right after each value was computed.
            instead: functions to call in place of the operators of some nodes.
        """
        given = dict(zip(self.inputs_of_model, self.call.leaves(args, kwargs), strict=True))
        outputs = self._executed(given | self._held(), observe, instead or {})
        return pytree.tree_unflatten(outputs, self.call.output)

    def _executed(
        self, inputs: Mapping[Node, Any], observe: Observe | None, instead: Mapping[Node, Callable[..., Any]]
    ) -> Any:
        # torch.fx.Interpreter does the same with more ceremony at each node, which a pass over small images feels.
        values: dict[Node, Any] = {}
        spent = _last_reads(self.graph)
        for node in self.graph.nodes:
            if node.op == "placeholder":
                values[node] = inputs[node]
            elif node in self.constants:
                values[node] = self.constants[node]
            else:
                args, kwargs = substituted(map_arg((node.args, node.kwargs), values.__getitem__), self.substitutes)
                if node.op == "output":
                    return args[0]
                values[node] = instead.get(node, node.target)(*args, **kwargs)
            if observe is not None and node.op == "call_function":
                observe(node, values[node])
            for source in spent.get(node, ()):
                del values[source]
        raise RuntimeError("The graph has no output.")

    def _held(self) -> dict[Node, Any]:
        """The held tensors; copies of those that an operator writes into, which stay as they are."""
        written = {origin(node) for node in self.graph.nodes if writes(node)}
        return {
            node: self.tensors[name].clone() if node in written else self.tensors[name]
            for node, name in self.held.items()
        }


# These make tensors of a dtype; nothing is rounded by them.
_MAKING = frozenset("arange zeros ones full empty scalar_tensor new_zeros new_ones eye linspace".split())


def _last_reads(graph: Graph) -> dict[Node, list[Node]]:
    """For each node the values that no later node reads."""
    last = {source: node for node in graph.nodes for source in node.all_input_nodes}
    spent: dict[Node, list[Node]] = {}
    for source, node in last.items():
        spent.setdefault(node, []).append(source)
    return spent


def halves(tensors: Iterable[Any]) -> frozenset[torch.dtype]:
    """The dtypes of half precision among tensors.

    Example:
        >>> halves([torch.zeros(1), torch.zeros(1).half()])
        frozenset({torch.float16})
    """
    dtypes = {tensor.dtype for tensor in tensors if isinstance(tensor, Tensor)}
    return frozenset(dtypes & {torch.float16, torch.bfloat16})


def operator_name(node: Node) -> str:
    """The operator's plain name: `conv2d` for `aten.conv2d.default`."""
    return _target_name(node.target)


@cache
def _target_name(target: Any) -> str:
    if target is operator.getitem:
        return "getitem"
    packet = getattr(target, "overloadpacket", None)
    return packet.__name__ if packet is not None else str(getattr(target, "__name__", target))


def node_of(value: object) -> Node:
    """The node that an operator's argument is.

    Raises:
        TypeError: it is something else.

    Example:
        >>> node_of(2)
        Traceback (most recent call last):
        TypeError: An argument of type int is no node of a graph.
    """
    if not isinstance(value, Node):
        raise TypeError(f"An argument of type {type(value).__name__} is no node of a graph.")
    return value


def argument(node: Node, position: int, name: str, default: Any = None) -> Any:
    """An operator's argument, given by position or by name."""
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def shape_of(node: Node) -> tuple[int, ...]:
    """The node's shape; a batch is taken at the example's size."""
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, Tensor) else ()


class BatchSize(int):
    """An integer that depends on the batch; its value is that of the example.

    Example:
        >>> BatchSize(6) == 6, isinstance(6, BatchSize)
        (True, False)
    """


def is_tensor(node: Any) -> bool:
    """Whether the node stands for one tensor."""
    return isinstance(node, Node) and isinstance(node.meta.get("val"), Tensor)


def sizes_of(node: Node) -> tuple[Any, ...]:
    """The node's shape, the sizes that depend on the batch marked as such."""
    growing = growth_of(node)
    return tuple(BatchSize(size) if axis in growing else size for axis, size in enumerate(shape_of(node)))


def growth_of(node: Node) -> Mapping[int, Fraction]:
    """For each axis of the node's value that depends on the batch: how much longer a sample more makes it."""
    growing: Mapping[int, Fraction] = node.meta.get("growing", {})
    return growing


def writes(node: Node) -> bool:
    """Whether an operator writes into one of its arguments."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def asserts(node: Node) -> bool:
    """Whether an operator is there to fail where something does not hold."""
    return operator_name(node) == "_assert_async"


def origin(node: Node) -> Node:
    """Where the memory that a node writes into may come from: its first argument, followed to the start."""
    while node.op == "call_function" and node.args and isinstance(node.args[0], Node):
        node = node.args[0]
    return node
