"""From a model to a program: exported once, with its constants folded; or the reason why it cannot be exported."""

import gc
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, ShapesCollection, export
from torch.utils import _pytree as pytree

from pfa_gate.errors import TraceError
from pfa_gate.graph.computed_weights import computed_weights, store_weights, unpacked_weights
from pfa_gate.graph.editing import fold
from pfa_gate.graph.program import Alias, Program, held_names, operator_name, sizes_of
from pfa_gate.model.device import devices_of, is_spread
from pfa_gate.model.user_frames import origin


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[nn.Module]:
    """The model in eval mode; afterwards each of its modules is restored, whatever happens.

    Not the training flags alone: some models register hooks or set attributes in their first forward pass.
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

    Where the model computes a weight in its forward pass, the program is that of a model that stores it instead.

    Raises:
        TraceError: the model is spread over devices, or torch.export cannot follow it; then the message is its own.
    """
    if is_spread(model):
        raise TraceError(
            f"The model's weights lie on several devices or are fetched when needed ({', '.join(devices_of(model))}).",
            remedy="Build the model on one device to have it followed and compressed.",
        )
    args, kwargs = _at_least_two((args, dict(kwargs)))
    program = _program(model, args, kwargs)
    weights = computed_weights(program)
    if not weights:
        return program
    stored = store_weights(program, weights)
    unpacked = unpacked_weights(program, weights)
    return replace(_program(stored, args, kwargs), stored=stored, unpacked=unpacked)


def _program(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Program:
    with in_eval_mode(model), torch.no_grad(), _in_silence(), without_garbage_collection():
        exported = _export(model, args, kwargs)
    _drop_assertions(exported)
    named = dict(_held_tensors(exported))
    names = held_names(exported)
    nodes = {node.name: node for node in exported.graph.nodes if node.op == "placeholder"}
    tied = _tied(named)
    held = {nodes[key]: Alias(tied[name], tuple(range(named[name].ndim))) for key, name in names.items()}
    constants, aliases, folded = fold(exported, held, named)
    dynamic = any(isinstance(size, torch.SymInt) for node in nodes.values() for size in sizes_of(node))
    return Program(exported, named, aliases, constants, folded, dynamic=dynamic)


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Suspend garbage collection, a sixth of the exporter's time: it makes a million objects and frees few."""
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

    Stack traces of nodes are switched off too: they take a seventh of the exporter's time and are not read.
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
            if fails_always(error):
                break
    raise export_error(failures[0]) from failures[0]


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


_ONLY = "Only models that torch.export(strict=False) accepts can be followed and compressed."
_OUTPUT = re.compile(r"Found <class '(?:[^']*\.)?([^'.]+)'> in output")
_DATA_DEPENDENT = ("GuardOnDataDependentSymNode", "DataDependentOutputException", "UserError")
_LONGEST = 300


def export_error(cause: Exception) -> TraceError:
    """Say why an export failed, and what helps.

    Args:
        cause: what the exporter raised, or the model while it was exported.

    Example:
        >>> print(export_error(RuntimeError("Found <class 'net.Output'> in output, which is not a known type. If …")))
        The model returns an object of type Output, which torch.export does not take.
          Return a tensor, or a tuple or dict of tensors.
    """
    returned = _OUTPUT.search(str(cause))
    if returned is not None:
        return _returned(returned[1])
    line = origin(cause)
    where = f" ({line})" if line else ""
    if type(cause).__name__ in _DATA_DEPENDENT and "data-dependent" in str(cause):
        return TraceError(
            f"The model cannot be exported: which operators it runs depends on the values of its inputs{where}.",
            remedy="Choose with torch.where instead of a branch, so that each input runs through the same operators.",
        )
    return TraceError(f"The model cannot be exported: {type(cause).__name__}: {_opening(cause)}{where}.", remedy=_ONLY)


def fails_always(cause: Exception) -> bool:
    """Whether another way of exporting would fail alike, as with an output of an unknown type.

    Example:
        >>> fails_always(RuntimeError("Found <class 'net.Output'> in output"))
        True
    """
    return _OUTPUT.search(str(cause)) is not None


def _returned(kind: str) -> TraceError:
    if kind.endswith("Cache"):
        return TraceError(
            f"The model returns a cache of keys and values ({kind}), which torch.export does not take.",
            remedy="Have the factory switch it off: model.config.use_cache = False.",
        )
    return TraceError(
        f"The model returns an object of type {kind}, which torch.export does not take.",
        remedy="Return a tensor, or a tuple or dict of tensors.",
    )


def _opening(cause: Exception) -> str:
    """As many whole sentences of the first line as are short enough; where the first is too long, its first words."""
    line = next((line.strip() for line in str(cause).splitlines() if line.strip()), "")
    first, *more = re.split(r"(?<=[.!?]) +", line)
    for sentence in more:
        if len(first) + len(sentence) >= _LONGEST:
            break
        first += f" {sentence}"
    if len(first) > _LONGEST:
        first = f"{first[:_LONGEST].rpartition(' ')[0]} …"
    return first.rstrip(".") or "without a message"
