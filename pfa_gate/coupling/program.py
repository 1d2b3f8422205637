"""One exported program of a model: its ATen graph, the tensors it holds, and what they are called.

The graph is what is followed, cut and probed; the model itself is only borrowed and given back as it was.
"""

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export._tree_utils import reorder_kwargs
from torch.fx import Interpreter, Node
from torch.utils import _pytree as pytree

from pfa_gate.loading.device import meant

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
        dynamic: whether it runs at any batch size.
        instead: dtypes and devices that the graph's arguments name, and what is meant by them now.
    """

    exported: ExportedProgram
    tensors: Mapping[str, Tensor]
    aliases: Mapping[Node, Alias]
    constants: Mapping[Node, Any] = field(repr=False)
    dynamic: bool = True
    instead: Mapping[Any, Any] = field(default_factory=dict)

    def on(self, device: torch.device) -> "Program":
        """The same program with its tensors on a device; itself if they are there."""
        moved: dict[int, Tensor] = {}

        def move(value: Any) -> Any:
            if not isinstance(value, Tensor) or value.device == device:
                return value
            return moved.setdefault(id(value), value.to(device))

        tensors = {name: move(tensor) for name, tensor in self.tensors.items()}
        constants = {node: pytree.tree_map(move, value) for node, value in self.constants.items()}
        instead = {**self.instead, torch.device("cpu"): device}
        return replace(self, tensors=tensors, constants=constants, instead=instead) if moved else self

    @property
    def nodes(self) -> Iterator[Node]:
        """The operators that depend on the input, in execution order, then the output."""
        return (node for node in self.exported.graph.nodes if self._depends_on_input(node))

    def _depends_on_input(self, node: Node) -> bool:
        return node.op in ("call_function", "output") and node not in self.constants

    @property
    def batch(self) -> int:
        """Samples in the example the program was exported with."""
        inputs = self.exported.graph_signature.user_inputs
        shapes = (shape_of(node) for node in self.exported.graph.nodes if node.name in inputs and is_tensor(node))
        return next((shape[0] for shape in shapes if shape), 1)

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
        outputs = _Runner(self, observe, instead or {}).run(*self._held(), *flat, enable_io_processing=False)
        return pytree.tree_unflatten(outputs, self.exported.call_spec.out_spec)

    def _held(self) -> list[Any]:
        return [self.tensors[name] for name in held_names(self.exported).values()]


# These make tensors of a dtype; nothing is rounded by them.
_MAKING = frozenset("arange zeros ones full empty scalar_tensor new_zeros new_ones eye linspace".split())


class _Runner(Interpreter):
    def __init__(self, program: Program, observe: Observe | None, instead: Mapping[Node, Callable[..., Any]]) -> None:
        super().__init__(program.exported.graph_module, garbage_collect_values=True)
        self._program = program
        self._observe = observe
        self._instead = instead

    def fetch_args_kwargs_from_env(self, n: Node) -> Any:
        return meant(super().fetch_args_kwargs_from_env(n), self._program.instead)

    def run_node(self, n: Node) -> Any:
        if n.op == "call_function" and n in self._program.constants:
            return self._program.constants[n]
        if n in self._instead:
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            value = self._instead[n](*args, **kwargs)
        else:
            value = super().run_node(n)
        if self._observe is not None and n.op == "call_function":
            self._observe(n, value)
        return value


def halves(tensors: Iterable[Any]) -> frozenset[torch.dtype]:
    """The dtypes of half precision among tensors.

    Example:
        >>> halves([torch.zeros(1), torch.zeros(1).half()])
        frozenset({torch.float16})
    """
    found = {tensor.dtype for tensor in tensors if isinstance(tensor, Tensor)}
    return frozenset(found & {torch.float16, torch.bfloat16})


def operator_name(node: Node) -> str:
    """The operator's plain name: `conv2d` for `aten.conv2d.default`."""
    if node.target is operator.getitem:
        return "getitem"
    packet = getattr(node.target, "overloadpacket", None)
    return packet.__name__ if packet is not None else str(getattr(node.target, "__name__", node.target))


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
