"""One exported program of a model: its ATen graph, the tensors it holds, and what they are called.

The graph is what is followed, cut and probed; the model itself is left as it was.
"""

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export._tree_utils import reorder_kwargs
from torch.fx import Graph, Node
from torch.fx.node import map_arg
from torch.utils import _pytree as pytree

from pfa_gate.model.device import CPU, substituted

Observe = Callable[[Node, Any], None]


@dataclass(frozen=True)
class Alias:
    """A node that is a parameter with its axes permuted: axis i of the node is axis `axes[i]` of it."""

    name: str
    axes: tuple[int, ...]


@dataclass(frozen=True)
class Program:
    """An exported model.

    Attributes:
        exported: the program as torch.export gave it.
        tensors: every parameter, buffer and constant the graph reads, by qualified name.
        aliases: graph nodes that stand for such a tensor.
        constants: values of the nodes that depend on parameters alone, computed once.
        folded: such nodes by the names of their values in `tensors`, but for those that only move a stored tensor.
        dynamic: whether it runs at any batch size.
        substitutes: dtypes and devices that the graph's arguments name -> those that are used in their place.
        stored: the model whose program this is, where the one that was given computes some of its weights: in its
            place a module that stores them; else None.
        unpacked: names of the given model's integer buffers that hold weights.
    """

    exported: ExportedProgram
    tensors: Mapping[str, Tensor]
    aliases: Mapping[Node, Alias]
    constants: Mapping[Node, Any] = field(repr=False)
    folded: Mapping[str, Node] = field(repr=False)
    dynamic: bool = True
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
        return (node for node in self.exported.graph.nodes if self._depends_on_input(node))

    def _depends_on_input(self, node: Node) -> bool:
        return node.op in ("call_function", "output") and node not in self.constants

    @property
    def device(self) -> torch.device:
        """Where its tensors lie."""
        return next((tensor.device for tensor in self.tensors.values()), CPU)

    @property
    def batch(self) -> int:
        """Samples in the example the program was exported with."""
        return next((shape[0] for shape in self.inputs if shape), 1)

    @property
    def inputs(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the input tensors of that example."""
        names = self.exported.graph_signature.user_inputs
        return tuple(shape_of(node) for node in self.exported.graph.nodes if node.name in names and is_tensor(node))

    @property
    def halves(self) -> frozenset[torch.dtype]:
        """The dtypes of half precision that it holds tensors of."""
        return halves(self.tensors.values())

    @property
    def single_precision(self) -> bool:
        """Whether the graph itself casts to float32, so that not even a double copy computes in double."""
        return any(
            torch.float32 in (*node.args, *node.kwargs.values())
            for node in self.exported.graph.nodes
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
        spec = self.exported.call_spec.in_spec
        ordered = reorder_kwargs(dict(kwargs), spec) if spec is not None else dict(kwargs)
        flat = pytree.tree_leaves((args, ordered), is_leaf=lambda leaf: leaf is None)
        outputs = self._executed(iter([*self._held(), *flat]), observe, instead or {})
        return pytree.tree_unflatten(outputs, self.exported.call_spec.out_spec)

    def _executed(
        self, inputs: Iterator[Any], observe: Observe | None, instead: Mapping[Node, Callable[..., Any]]
    ) -> Any:
        # torch.fx.Interpreter does the same with more ceremony at each node, which a pass over small images feels.
        values: dict[Node, Any] = {}
        spent = _last_reads(self.exported.graph)
        for node in self.exported.graph.nodes:
            if node.op == "placeholder":
                values[node] = next(inputs)
            elif node.op == "get_attr":
                values[node] = operator.attrgetter(node.target)(self.exported.graph_module)
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
        raise RuntimeError("The exported graph has no output.")

    def _held(self) -> list[Any]:
        return [self.tensors[name] for name in held_names(self.exported).values()]


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
    if node.target is operator.getitem:
        return "getitem"
    packet = getattr(node.target, "overloadpacket", None)
    return packet.__name__ if packet is not None else str(getattr(node.target, "__name__", node.target))


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
    """The node's shape as integers, a dynamic batch taken at the example's size."""
    return tuple(concrete(size) for size in sizes_of(node))


def concrete(size: Any) -> int:
    """An integer for a size that may be symbolic."""
    return int(size.node.hint) if isinstance(size, torch.SymInt) else int(size)


def is_tensor(node: Any) -> bool:
    """Whether the node stands for one tensor."""
    return isinstance(node, Node) and isinstance(node.meta.get("val"), Tensor)


def sizes_of(node: Node) -> tuple[Any, ...]:
    """The node's shape as the exporter has it: symbols where it depends on the batch."""
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def held_names(exported: ExportedProgram) -> dict[str, str]:
    """Placeholders of parameters, buffers and constants, and what they are called in the model."""
    signature = exported.graph_signature
    named = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
        **signature.inputs_to_lifted_custom_objs,
    }
    return {node.name: named[node.name] for node in exported.graph.nodes if node.name in named}
