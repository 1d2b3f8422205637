"""From a model to a program: exported once, on a model that is only borrowed, with its constants folded."""

import gc
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, ShapesCollection, export
from torch.fx import Node
from torch.utils import _pytree as pytree

from pfa_gate.coupling.program import Alias, Program, held_names, operator_name, sizes_of
from pfa_gate.coupling.refusal import hopeless, refused
from pfa_gate.errors import TraceError
from pfa_gate.loading.device import homes, spread


@contextmanager
def borrowed(model: nn.Module) -> Iterator[nn.Module]:
    """Lend the model in eval mode; each of its modules gets back all that it was, whatever happens.

    Not the training flags alone: some models register hooks or keep attributes in their first forward pass.
    """
    portraits = [(module, _portrait(module)) for module in model.modules()]
    try:
        model.eval()
        yield model
    finally:
        for module, portrait in portraits:
            _restore(module, portrait)


def _portrait(module: nn.Module) -> dict[str, tuple[Any, Any]]:
    """Each attribute, and for those that are tables (parameters, buffers, hooks) what stands in them."""
    return {name: (value, dict(value) if isinstance(value, dict) else None) for name, value in vars(module).items()}


def _restore(module: nn.Module, portrait: Mapping[str, tuple[Any, Any]]) -> None:
    attributes = vars(module)
    for name in set(attributes) - set(portrait):
        del attributes[name]
    for name, (value, entries) in portrait.items():
        if entries is not None and (value.keys() != entries.keys() or any(value[k] is not entries[k] for k in entries)):
            value.clear()
            value.update(entries)
        attributes[name] = value


def export_model(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Program:
    """Export `model` on an example, with a dynamic batch where the model allows one.

    Raises:
        TraceError: the model is spread over devices, or torch.export cannot follow it; then the message is its own.
    """
    if spread(model):
        raise TraceError(
            f"The model's weights lie on several devices or are fetched when needed ({', '.join(homes(model))}).",
            remedy="Build the model on one device to have it followed and compressed.",
        )
    args, kwargs = _at_least_two((args, dict(kwargs)))
    with borrowed(model), torch.no_grad(), _in_silence(), uncollected():
        exported = _export(model, args, kwargs)
    _drop_assertions(exported)
    named = dict(_held_tensors(exported))
    names = held_names(exported)
    nodes = {node.name: node for node in exported.graph.nodes if node.op == "placeholder"}
    tied = _tied(named)
    held = {nodes[key]: Alias(tied[name], tuple(range(named[name].ndim))) for key, name in names.items()}
    constants, aliases = _fold(exported, held, named)
    dynamic = any(isinstance(size, torch.SymInt) for node in nodes.values() for size in sizes_of(node))
    return Program(exported, named, aliases, constants, dynamic)


@contextmanager
def uncollected() -> Iterator[None]:
    """Put garbage collection off: exporters make a million objects, and a sixth of their time goes into looking on."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _in_silence() -> Iterator[None]:
    """Keep the exporter's advice, its structured trace and the graphs it prints on failure out of everybody's log.

    Nor is each node given its stack trace, a seventh of the exporter's time: nobody reads them.
    """
    structured, tracing = logging.getLogger("torch.__trace"), torch.fx.config
    disabled, structured.disabled = structured.disabled, True
    emitted, tracing.do_not_emit_stack_traces = getattr(tracing, "do_not_emit_stack_traces", False), True
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        structured.disabled = disabled
        tracing.do_not_emit_stack_traces = emitted


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
            if hopeless(error):
                break
    raise refused(failures[0]) from failures[0]


def _dynamic(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    shapes = ShapesCollection()  # type: ignore[no-untyped-call]
    for leaf in pytree.tree_leaves((args, kwargs)):
        if isinstance(leaf, Tensor) and leaf.ndim:
            shapes[leaf] = {0: Dim.AUTO}
    return shapes.dynamic_shapes(model, args, dict(kwargs))  # type: ignore[no-untyped-call]


_ASSERTIONS = frozenset(["_assert_tensor_metadata", "_assert_scalar", "_assert_async", "sym_constrain_range_for_size"])


def _drop_assertions(exported: ExportedProgram) -> None:
    """Checks of dtypes and sizes as they were in the example say nothing about another precision or width."""
    calls = (node for node in exported.graph.nodes if node.op == "call_function")
    spent = [node for node in calls if operator_name(node) in _ASSERTIONS and not node.users]
    for node in spent:
        exported.graph.erase_node(node)
    if spent:
        exported.graph_module.recompile()


def _at_least_two(inputs: Any) -> Any:
    # The exporter fixes a batch of one for ever, so a single sample is shown twice.
    leaves = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor) and leaf.ndim]
    if not leaves or any(leaf.shape[0] != 1 for leaf in leaves):
        return inputs
    return pytree.tree_map(
        lambda leaf: torch.cat([leaf, leaf]) if isinstance(leaf, Tensor) and leaf.ndim else leaf, inputs
    )


def _held_tensors(exported: ExportedProgram) -> Iterator[tuple[str, Tensor]]:
    for name in held_names(exported).values():
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
    written = {origin(node) for node in fixed if writes(node)}
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
        found = {origin(node) for node in writers if writes(node)} & set(fixed)
        if not found:
            return list(fixed)
        tainted |= found


def _is_fixed(node: Node, fixed: Mapping[Node, None], held: Mapping[Node, Alias]) -> bool:
    random = "rand" in str(node.target) or "dropout" in str(node.target)
    if operator_name(node) == "embedding":
        return False  # a table stays a table, whatever rows of it the example looks up
    known = all(source in fixed or source in held for source in node.all_input_nodes)
    return known and not random and node.meta.get("val") is not None


def writes(node: Node) -> bool:
    """Whether an operator writes into its first argument."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def origin(node: Node) -> Node:
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
