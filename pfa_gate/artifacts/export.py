"""A model as torch.export has it, for the files that run without the user's code.

Everything else follows a model as it was recorded: the exporter takes seconds to import and seconds to run.
"""

import io
import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, ShapesCollection, export
from torch.export._tree_utils import reorder_kwargs
from torch.fx import Node
from torch.utils import _pytree as pytree

from pfa_gate.artifacts.sizes import FIXED, FreeSizes
from pfa_gate.graph.program import operator_name
from pfa_gate.graph.refusals import opening
from pfa_gate.model.batch import Inputs
from pfa_gate.model.eval_mode import in_eval_mode
from pfa_gate.model.global_state import without_garbage_collection
from pfa_gate.model.structure import leaves_of
from pfa_gate.model.user_frames import origin
from pfa_gate.record.axis_names import axis_name


class ExportFailedError(Exception):
    """A form of the model that cannot be made; the reason goes into the record, and the rest goes on."""


@dataclass(frozen=True)
class Export:
    """A model as an exported program.

    Attributes:
        program: as torch.export gave it.
        batch: samples in the example it was exported with.
        dynamic: whether it runs at any batch size.
        sizes: input -> its shape, with a name in the place of each size that may change.
        symbols: the exporter's own word for such a size -> its name.
    """

    program: ExportedProgram
    batch: int
    dynamic: bool
    sizes: Mapping[str, tuple[int | str, ...]]
    symbols: Mapping[str, str]

    def leaves(self, inputs: Inputs) -> list[Any]:
        """The single values of a call's inputs, in the order of the program's."""
        args, kwargs = inputs
        structure = self.program.call_spec.in_spec
        ordered = reorder_kwargs(kwargs, structure) if structure is not None else kwargs
        return pytree.tree_leaves((args, ordered))


def export_model(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], free: FreeSizes = FIXED) -> Export:
    """Export `model` on an example, with a dynamic batch and other dynamic sizes where the model allows them.

    Raises:
        ExportFailedError: torch.export cannot follow it; the message is its own.
    """
    args, kwargs = _at_least_two((args, dict(kwargs)))
    with in_eval_mode(model), torch.no_grad(), _in_silence(), without_garbage_collection():
        _make_output_known(model, (args, dict(kwargs)))
        exported = _export(model, args, kwargs, free)
    _drop_assertions(exported)
    names = exported.graph_signature.user_inputs
    shapes = {
        node.name: tuple(node.meta["val"].shape)
        for node in exported.graph.nodes
        if node.name in names and _is_tensor(node)
    }
    batch = next((shape[0] for shape in shapes.values() if shape), 1)
    dynamic = any(isinstance(size, torch.SymInt) for shape in shapes.values() for size in shape[:1])
    samples = int(batch.node.hint) if isinstance(batch, torch.SymInt) else int(batch)
    symbols = _names_of_sizes(shapes.values())
    sizes = {
        name: tuple(symbols[str(size)] if isinstance(size, torch.SymInt) else int(size) for size in shape)
        for name, shape in shapes.items()
    }
    return Export(exported, samples, dynamic, sizes, symbols)


def _names_of_sizes(shapes: Iterable[tuple[Any, ...]]) -> dict[str, str]:
    """A name for each size that may change; but for batches, two that need not be equal get different ones."""
    names: dict[str, str] = {}
    for shape in shapes:
        for axis, size in enumerate(shape):
            if isinstance(size, torch.SymInt) and str(size) not in names:
                word = axis_name(len(shape), axis)
                taken = 0 if axis == 0 else sum(other.rstrip("_0123456789") == word for other in names.values())
                names[str(size)] = f"{word}_{taken + 1}" if taken else word
    return names


def _make_output_known(model: nn.Module, inputs: Inputs) -> None:
    """A dataclass that a model returns is made known to torch; that takes a look at one."""
    args, kwargs = inputs
    leaves_of(model(*args, **kwargs))


def _is_tensor(node: Node) -> bool:
    return isinstance(node.meta.get("val"), Tensor)


@contextmanager
def _in_silence() -> Iterator[None]:
    """Keep the exporter's advice, its traces and the graphs that it prints on failure out of everybody's log.

    Stack traces of nodes are switched off too: they take a seventh of the exporter's time and are not read.
    """
    loggers = [logging.getLogger(name) for name in ("torch.__trace", "torch._subclasses.fake_tensor")]
    disabled, tracing = [logger.disabled for logger in loggers], torch.fx.config
    for logger in loggers:
        logger.disabled = True
    emitted, tracing.do_not_emit_stack_traces = getattr(tracing, "do_not_emit_stack_traces", False), True
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, before in zip(loggers, disabled, strict=True):
            logger.disabled = before
        tracing.do_not_emit_stack_traces = emitted


def _export(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], free: FreeSizes) -> ExportedProgram:
    """With dynamic sizes, a dynamic batch, as the example is, or through torch.fx, which follows what hooks hide."""

    def dynamic(sizes: FreeSizes) -> ExportedProgram:
        shapes = _dynamic(model, args, kwargs, sizes)
        return export(model, args, dict(kwargs), dynamic_shapes=shapes, strict=False)

    attempts: list[Callable[[], ExportedProgram]] = [
        *([lambda: dynamic(free)] if free.sizes else []),
        lambda: dynamic(FIXED),
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


def _dynamic(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], free: FreeSizes) -> Any:
    shapes = ShapesCollection()  # type: ignore[no-untyped-call]
    for place, leaf in enumerate(pytree.tree_leaves((args, kwargs))):
        if isinstance(leaf, Tensor) and leaf.ndim:
            axes = [axis for other, axis in free.sizes if other == place]
            shapes[leaf] = dict.fromkeys([0, *axes], Dim.AUTO)
    return shapes.dynamic_shapes(model, args, dict(kwargs))  # type: ignore[no-untyped-call]


_ASSERTIONS = frozenset(["_assert_tensor_metadata", "_assert_scalar", "sym_constrain_range_for_size"])


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


_OUTPUT = re.compile(r"Found <class '(?:[^']*\.)?([^'.]+)'> in output")
_DATA_DEPENDENT = ("GuardOnDataDependentSymNode", "DataDependentOutputException", "UserError")


def export_error(cause: Exception) -> ExportFailedError:
    """Say why an export failed.

    Args:
        cause: what the exporter raised, or the model while it was exported.

    Example:
        >>> print(export_error(RuntimeError("Found <class 'net.Output'> in output, which is not a known type. If …")))
        the model returns an object of type Output, which torch.export does not take
    """
    returned = _OUTPUT.search(str(cause))
    if returned is not None:
        return ExportFailedError(f"the model returns an object of type {returned[1]}, which torch.export does not take")
    line = origin(cause)
    where = f" ({line})" if line else ""
    if type(cause).__name__ in _DATA_DEPENDENT and "data-dependent" in str(cause):
        return ExportFailedError(f"which operators it runs depends on the values of its inputs{where}")
    return ExportFailedError(f"torch.export cannot follow it: {type(cause).__name__}: {opening(str(cause))}{where}")


def fails_always(cause: Exception) -> bool:
    """Whether another way of exporting would fail alike, as with an output of an unknown type.

    Example:
        >>> fails_always(RuntimeError("Found <class 'net.Output'> in output"))
        True
    """
    return _OUTPUT.search(str(cause)) is not None
