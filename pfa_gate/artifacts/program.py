"""model.pt2: the compressed model as an exported program, which runs without the user's code and holds no pickle."""

import io
import json
import logging
import math
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from pfa_gate.artifacts.export import Export, ExportFailedError, export_model
from pfa_gate.artifacts.serialiser_work import repeated_work_kept
from pfa_gate.artifacts.sizes import FIXED, FreeSizes, resized
from pfa_gate.compress.prune import floating
from pfa_gate.errors import ArtifactError
from pfa_gate.model.batch import Inputs
from pfa_gate.model.global_state import Randomness

AGREEMENT = 1e-4  # largest difference from the compressed model, relative to the largest output


def program_of(model: nn.Module, inputs: Inputs, free: FreeSizes = FIXED) -> Export:
    """Export the compressed model for those who have neither its code nor its example.

    Args:
        model: the compressed model.
        inputs: an example.
        free: sizes that may change beside the batch, if the exporter can follow them.

    Raises:
        ExportFailedError: torch.export cannot follow it.
    """
    export = export_model(model, *inputs, free)
    exported = export.program
    _refuse_foreign(exported)
    signature = exported.module_call_graph[0].signature
    if signature is None:
        raise ExportFailedError("the exporter gives no structure of its outputs")
    signature.out_spec = _plain(signature.out_spec)
    # The example is the user's data, and the stack traces are paths on the user's machine.
    exported._example_inputs = None
    for node in exported.graph.nodes:
        node.meta.pop("stack_trace", None)
    return export


def write_program(export: Export, path: Path, model: nn.Module, tried: Sequence[Inputs]) -> None:
    """Write model.pt2 and read it back: it must equal `model` on the inputs `tried`.

    Raises:
        ExportFailedError: the program cannot be stored, or does not run like the model.
        OSError: the disk is full.
    """
    # Given a path on a full disk, torch.export.save ends the whole process.
    buffer = io.BytesIO()
    try:
        with quiet(), repeated_work_kept():
            torch.export.save(export.program, buffer)
            _refuse_pickles(buffer)
            reread = runnable(torch.export.load(buffer))
    except Exception as error:  # whatever the serialiser meets in a user's model
        raise ExportFailedError(reason_of(error)) from error
    for inputs in tried:
        check(lambda given: floating(reread(*given[0], **given[1])), model, inputs)
    path.write_bytes(buffer.getbuffer())


def read_program(path: Path) -> nn.Module:
    """The model in a model.pt2, ready to run.

    Raises:
        ArtifactError: the file is broken or holds a pickle.
    """
    try:
        with path.open("rb") as file, quiet():
            _refuse_pickles(file)
            with repeated_work_kept():
                return runnable(torch.export.load(file))
    except Exception as error:  # a damaged archive may raise anything
        raise ArtifactError(f"{path} cannot be read: {reason_of(error)}.", remedy="Run the gate again.") from error


def trials(export: Export, model: nn.Module, inputs: Inputs) -> list[Inputs]:
    """The example at the batch it was exported with, and where the model runs at any batch, at another."""
    own, other = (_batch(inputs, size) for size in (export.batch, export.batch + 1))
    if not export.dynamic:
        return [own]
    try:
        with torch.no_grad():
            model(*other[0], **other[1])
    except Exception:  # a forward that writes the batch into its code
        return [own]
    return [own, other]


def resized_trial(export: Export, inputs: Inputs, free: FreeSizes) -> list[Inputs]:
    """The example at other sizes, along the axes that the exporter followed; none where it followed no axis."""
    shapes = list(export.sizes.values())
    tensors = [place for place, leaf in enumerate(export.leaves(inputs)) if isinstance(leaf, Tensor)]
    found = dict(zip(tensors, shapes, strict=True))
    followed = {
        (place, axis): size for (place, axis), size in free.sizes.items() if isinstance(found[place][axis], str)
    }
    return [resized(_batch(inputs, export.batch), followed)] if followed else []


def _batch(inputs: Inputs, size: int) -> Inputs:
    """The first `size` samples, from the start again where there are fewer; edges, say, are no samples."""
    sizes = [leaf.shape[0] for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor) and leaf.ndim]

    def change(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or not leaf.ndim or leaf.shape[0] != sizes[0]:
            return leaf
        return leaf[torch.arange(size) % leaf.shape[0]]

    changed: Inputs = pytree.tree_map(change, inputs)
    return changed


def check(run: Callable[[Inputs], list[Tensor]], model: nn.Module, inputs: Inputs) -> None:
    """Compare the floating outputs of `run(inputs)` with those of the model.

    Raises:
        ExportFailedError: it does not run, or they differ by more than is allowed.
    """
    try:
        with torch.no_grad():
            with Randomness(0).borrowed():  # a model that draws numbers draws the same for both
                expected = floating(model(*inputs[0], **inputs[1]))
            with Randomness(0).borrowed():
                outputs = run(inputs)
    except Exception as error:  # the runtime may refuse in its own words
        raise ExportFailedError(f"it does not run: {reason_of(error)}") from error
    if [tuple(each.shape) for each in outputs] != [tuple(each.shape) for each in expected]:
        raise ExportFailedError("its outputs have other shapes than those of the compressed model")
    for one, other in zip(outputs, expected, strict=True):
        # In half precision four of its own roundings, which are more.
        distance, allowed = _relative(one, other), max(AGREEMENT, 4 * torch.finfo(other.dtype).eps)
        if distance > allowed:
            raise ExportFailedError(f"its outputs are off by {distance:.1e} (allowed {allowed:.0e})")


def _relative(one: Tensor, other: Tensor) -> float:
    if not other.numel():
        return 0.0
    distance = float((one - other).abs().max() / other.abs().max().clamp_min(torch.finfo(torch.float32).tiny))
    return distance if math.isfinite(distance) else math.inf


def reason_of(error: Exception) -> str:
    """An exception on one line."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line[:300]}".rstrip(". :")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporters' advice about their own internals, and their structured trace, out of everybody's log."""
    loggers = [logging.getLogger(name) for name in ("torch.__trace", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def runnable(exported: ExportedProgram) -> GraphModule:
    """The module of a program, which does not check that sizes are those of its example."""
    # A module straight from the exporter refuses eval() and checks the example's sizes.
    module = exported.module(check_guards=False)
    return GraphModule(module, module.graph)


def _refuse_pickles(file: Any) -> None:
    """An archive may hold pickles, and torch.export.load runs them."""
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        if any("/sample_inputs/" in entry.filename and entry.file_size for entry in archive.infolist()):
            raise ValueError("it holds a pickle of sample inputs")
    refuse_pickled_tensors(file)


def refuse_pickled_tensors(file: Any) -> None:
    """Refuse an archive whose weights or constants are pickles.

    Raises:
        ValueError: it holds one.
    """
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            name = entry.filename
            if name.endswith(("weights_config.json", "constants_config.json")):
                payloads = json.loads(archive.read(entry))["config"]
                pickled = [key for key, payload in payloads.items() if payload["use_pickle"]]
                if pickled:
                    raise ValueError(f"it holds a pickle: '{pickled[0]}'")
    file.seek(0)


# Operators of these namespaces come with torch itself.
_OWN = frozenset("aten prim prims rngprims quantized quantized_decomposed higher_order mkldnn inductor".split())


def _refuse_foreign(exported: ExportedProgram) -> None:
    """An operator that another package registers is not there in a process that lacks this package."""
    for node in exported.graph.nodes:
        namespace = getattr(node.target, "namespace", "aten")
        if node.op == "call_function" and namespace not in _OWN:
            raise ExportFailedError(f"operator '{node.target}' comes from a package of its own, not from torch")


def _plain(spec: Any) -> Any:
    """The structure of an output in Python's own containers: a user's class is not there when the program runs."""
    if spec.is_leaf():
        return spec
    children = [_plain(child) for child in spec.children()]
    if spec.type in (tuple, list):
        return pytree.TreeSpec(spec.type, None, children)
    names = spec.context
    if isinstance(names, list) and len(names) == len(children) and all(isinstance(name, str) for name in names):
        return pytree.TreeSpec(dict, names, children)
    return pytree.TreeSpec(tuple, None, children)
