"""One exported program of a model: its ATen graph, the tensors it holds, and what they are called.

The graph is what is followed, cut and probed; the model itself is only borrowed and given back as it was.
"""

import io
import logging
import operator
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, ShapesCollection, export
from torch.export._tree_utils import reorder_kwargs
from torch.fx import Interpreter, Node
from torch.utils import _pytree as pytree

from pfa_gate.errors import TraceError

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
    """

    exported: ExportedProgram
    tensors: Mapping[str, Tensor]
    aliases: Mapping[Node, Alias]
    constants: Mapping[Node, Any] = field(repr=False)
    dynamic: bool = True

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
        return [self.tensors[name] for name in _held_names(self.exported).values()]


# These make tensors of a dtype; nothing is rounded by them.
_MAKING = frozenset("arange zeros ones full empty scalar_tensor new_zeros new_ones eye linspace".split())


class _Runner(Interpreter):
    def __init__(self, program: Program, observe: Observe | None, instead: Mapping[Node, Callable[..., Any]]) -> None:
        super().__init__(program.exported.graph_module, garbage_collect_values=True)
        self._program = program
        self._observe = observe
        self._instead = instead

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


@contextmanager
def borrowed(model: nn.Module) -> Iterator[nn.Module]:
    """Lend the model in eval mode; every module gets its own training flag back, whatever happens."""
    flags = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield model
    finally:
        for module, flag in flags:
            module.training = flag


def export_model(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Program:
    """Export `model` on an example, with a dynamic batch where the model allows one.

    Raises:
        TraceError: torch.export cannot follow the model; the message is the exporter's own.
    """
    args, kwargs = _at_least_two((args, dict(kwargs)))
    with borrowed(model), torch.no_grad(), _in_silence():
        exported = _export(model, args, kwargs)
    _drop_assertions(exported)
    named = dict(_held_tensors(exported))
    names = _held_names(exported)
    nodes = {node.name: node for node in exported.graph.nodes if node.op == "placeholder"}
    tied = _tied(named)
    held = {nodes[key]: Alias(tied[name], tuple(range(named[name].ndim))) for key, name in names.items()}
    constants, aliases = _fold(exported, held, named)
    dynamic = any(isinstance(size, torch.SymInt) for node in nodes.values() for size in _sizes(node))
    return Program(exported, named, aliases, constants, dynamic)


@contextmanager
def _in_silence() -> Iterator[None]:
    """Keep the exporter's advice, its structured trace and the graphs it prints on failure out of everybody's log."""
    structured = logging.getLogger("torch.__trace")
    disabled, structured.disabled = structured.disabled, True
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        structured.disabled = disabled


def _export(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> ExportedProgram:
    """With a dynamic batch, else as the example is, else through torch.fx, which follows what hooks hide."""
    attempts: list[Callable[[], ExportedProgram]] = [
        lambda: export(model, args, dict(kwargs), dynamic_shapes=_dynamic(model, args, kwargs), strict=False),
        lambda: export(model, args, dict(kwargs), strict=False),
        lambda: export(torch.fx.symbolic_trace(model), args, dict(kwargs), strict=False),
    ]
    failures: list[Exception] = []
    for attempt in attempts:
        try:
            return attempt()
        except Exception as error:  # a user's forward and the exporter may raise anything; the first is reported
            failures.append(error)
    raise _refused(failures[0]) from failures[0]


def _dynamic(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    shapes = ShapesCollection()  # type: ignore[no-untyped-call]
    for leaf in pytree.tree_leaves((args, kwargs)):
        if isinstance(leaf, Tensor) and leaf.ndim:
            shapes[leaf] = {0: Dim.AUTO}
    return shapes.dynamic_shapes(model, args, dict(kwargs))  # type: ignore[no-untyped-call]


_ASSERTIONS = frozenset(["_assert_tensor_metadata", "_assert_scalar", "_assert_async", "sym_constrain_range_for_size"])


def _drop_assertions(exported: ExportedProgram) -> None:
    """Checks of dtypes and sizes as they were in the example say nothing about another precision or width."""
    for node in list(exported.graph.nodes):
        if node.op == "call_function" and operator_name(node) in _ASSERTIONS and not node.users:
            exported.graph.erase_node(node)
    exported.graph_module.recompile()


def _refused(cause: Exception) -> TraceError:
    reason = next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
    return TraceError(
        f"The model cannot be exported: {type(cause).__name__}: {reason[:300]}",
        remedy="Only models that torch.export(strict=False) accepts can be followed and compressed.",
    )


def _at_least_two(inputs: Any) -> Any:
    # The exporter fixes a batch of one for ever, so a single sample is shown twice.
    leaves = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor) and leaf.ndim]
    if not leaves or any(leaf.shape[0] != 1 for leaf in leaves):
        return inputs
    return pytree.tree_map(
        lambda leaf: torch.cat([leaf, leaf]) if isinstance(leaf, Tensor) and leaf.ndim else leaf, inputs
    )


def _held_names(exported: ExportedProgram) -> dict[str, str]:
    signature = exported.graph_signature
    named = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
        **signature.inputs_to_lifted_custom_objs,
    }
    return {node.name: named[node.name] for node in exported.graph.nodes if node.name in named}


def _held_tensors(exported: ExportedProgram) -> Iterator[tuple[str, Tensor]]:
    for name in _held_names(exported).values():
        tensor = exported.state_dict[name] if name in exported.state_dict else exported.constants[name]
        yield name, tensor.detach() if isinstance(tensor, Tensor) else tensor


def _tied(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """For each name the first name of the same tensor: tied weights are one weight."""
    first: dict[tuple[object, ...], str] = {}
    return {
        name: first.setdefault((tensor.data_ptr() or name, tensor.shape, tensor.stride()), name)
        for name, tensor in tensors.items()
    }


_PERMUTING = {"t", "transpose", "permute", "numpy_T", "mT", "movedim", "swapaxes"}
_COPYING = {"clone", "detach", "contiguous", "alias", "lift_fresh_copy", "detach_", "lift_fresh"}


def _fold(
    exported: ExportedProgram, held: Mapping[Node, Alias], tensors: dict[str, Tensor]
) -> tuple[dict[Node, Any], dict[Node, Alias]]:
    """Compute what depends on held tensors alone, once; name each result that the rest of the graph reads."""
    fixed = _constant_nodes(exported, held)
    written = {_origin(node) for node in fixed if _writes(node)}
    values: dict[Node, Any] = {
        node: tensors[alias.name].clone() if node in written else tensors[alias.name] for node, alias in held.items()
    }
    aliases = dict(held)
    constants: dict[Node, Any] = {}
    for node in fixed:
        args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda source: values[source])
        with torch.no_grad():
            constants[node] = values[node] = node.target(*args, **kwargs)  # type: ignore[operator]
        alias = _permuted(node, aliases)
        if alias is None and isinstance(values[node], Tensor):
            alias = Alias(f"folded:{node.name}", tuple(range(values[node].ndim)))
            tensors[alias.name] = values[node]
        if alias is not None:
            aliases[node] = alias
    return constants, aliases


def _constant_nodes(exported: ExportedProgram, held: Mapping[Node, Alias]) -> list[Node]:
    """Nodes that depend on held tensors alone, in order; not those into whose memory an activation is written."""
    tainted: set[Node] = set()
    while True:
        fixed: dict[Node, None] = {}
        for node in exported.graph.nodes:
            if node.op == "call_function" and node not in tainted and _is_fixed(node, fixed, held):
                fixed[node] = None
        writers = (node for node in exported.graph.nodes if node.op == "call_function" and node not in fixed)
        found = {_origin(node) for node in writers if _writes(node)} & set(fixed)
        if not found:
            return list(fixed)
        tainted |= found


def _is_fixed(node: Node, fixed: Mapping[Node, None], held: Mapping[Node, Alias]) -> bool:
    random = "rand" in str(node.target) or "dropout" in str(node.target)
    known = all(source in fixed or source in held for source in node.all_input_nodes)
    return known and not random and node.meta.get("val") is not None


def _writes(node: Node) -> bool:
    """Whether an operator writes into its first argument."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def _origin(node: Node) -> Node:
    """Where the memory that a node writes into may come from: its first argument, followed to the start."""
    while node.op == "call_function" and node.args and isinstance(node.args[0], Node):
        node = node.args[0]
    return node


def _permuted(node: Node, aliases: Mapping[Node, Alias]) -> Alias | None:
    source = node.args[0]
    kind = operator_name(node)
    if not isinstance(source, Node) or source not in aliases or len(node.all_input_nodes) != 1:
        return None
    origin = aliases[source]
    if kind in _COPYING:
        return origin
    if kind not in _PERMUTING:
        return None
    # The operator itself is asked where each axis went: sizes 2, 3, 4 … are all different.
    shape = tuple(range(2, 2 + len(origin.axes)))
    moved = node.target(torch.empty(shape, device="meta"), *node.args[1:], **node.kwargs)  # type: ignore[operator]
    return Alias(origin.name, tuple(origin.axes[size - 2] for size in moved.shape))


def operator_name(node: Node) -> str:
    """The operator's plain name: `conv2d` for `aten.conv2d.default`."""
    if node.target is operator.getitem:
        return "getitem"
    packet = getattr(node.target, "overloadpacket", None)
    return packet.__name__ if packet is not None else str(getattr(node.target, "__name__", node.target))


def shape_of(node: Node) -> tuple[int, ...]:
    """The node's shape as integers, a dynamic batch taken at the example's size."""
    return tuple(concrete(size) for size in _sizes(node))


def concrete(size: Any) -> int:
    """An integer for a size that may be symbolic."""
    return int(size.node.hint) if isinstance(size, torch.SymInt) else int(size)


def is_tensor(node: Any) -> bool:
    """Whether the node stands for one tensor."""
    return isinstance(node, Node) and isinstance(node.meta.get("val"), Tensor)


def _sizes(node: Node) -> tuple[Any, ...]:
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, Tensor) else ()
