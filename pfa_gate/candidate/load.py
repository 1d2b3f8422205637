"""A candidate from what a config names: its model, where it comes from, what it stores and what it computes."""

import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pfa_gate.candidate.exported import FixedBatch, read_exported, read_file
from pfa_gate.config import ModelConfig
from pfa_gate.config.candidate import CandidateConfig
from pfa_gate.config.paths import candidate_files
from pfa_gate.errors import CandidateError, DataError, TraceError
from pfa_gate.graph import inputs_of, record_model
from pfa_gate.graph.cost import Stored, macs, stored
from pfa_gate.model import Batch
from pfa_gate.model.subject import build
from pfa_gate.model.torch_module import forward
from pfa_gate.runtime.onnx_module import OnnxModel
from pfa_gate.runtime.onnx_size import onnx_size
from pfa_gate.runtime.session import onnx_session, require_runtime, runtime_version


@dataclass(frozen=True)
class Origin:
    """Where a candidate comes from.

    Attributes:
        form: onnx, pt2 or factory.
        source: the file or the factory, as it is named.
        sha256: of its files, in order; empty where it has none.
        file_bytes: of these files; None where it has none.
        runtime: what it runs in, for people.
    """

    form: str
    source: str
    sha256: str
    file_bytes: int | None
    runtime: str


@dataclass(frozen=True)
class Candidate:
    """A model that another tool made, ready to be judged.

    Attributes:
        model: is called like the full model.
        origin: where it comes from.
        stored: elements of its weights, and bytes of all that it stores.
        macs: multiply-accumulates of one sample; None where they cannot be counted.
        uncounted: why not.
        content: of an ONNX file, for a session of its own; None of other forms.
    """

    model: nn.Module
    origin: Origin
    stored: Stored
    macs: int | None
    uncounted: str = ""
    content: bytes | str | None = None

    @property
    def batch(self) -> int | None:
        """How many samples a call of it takes; None for any number."""
        if isinstance(self.model, OnnxModel):
            return self.model.batch
        return self.model.size if isinstance(self.model, FixedBatch) else None

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was done to make the data fit, so far."""
        if isinstance(self.model, OnnxModel):
            return tuple(self.model.remarks)
        return () if self.batch is None else (f"the file runs on {self.batch} samples at a time",)


def load_candidate(config: CandidateConfig, folder: Path, example: Batch, full: nn.Module | None = None) -> Candidate:
    """Read a candidate, run it on an example, and count it.

    Args:
        config: names it.
        folder: of pfa.yaml.
        example: two samples of the probe.
        full: the model whose outputs' structure an ONNX file's outputs are given in; None for none.

    Raises:
        CandidateError: it cannot be read, does not run here, or does not take the example.
        FactoryError: its factory does not import, raises, or gives no model.
        CheckpointError: its weights cannot be read, or do not fit.
    """
    files = candidate_files(folder, config.files)
    if config.form == "onnx":
        return _of_onnx(config, files, example, full)
    if config.form == "pt2":
        content = read_file(files[0], config.source)
        return _of_module(config, read_exported(content, config.source), (content,), example)
    model = _of_factory(config, folder)
    return _of_module(config, model, tuple(read_file(file, file.name) for file in files), example)


def _of_onnx(config: CandidateConfig, files: tuple[Path, ...], example: Batch, full: nn.Module | None) -> Candidate:
    name = config.source
    require_runtime(name)
    contents = tuple(read_file(file, file.name if at else name) for at, file in enumerate(files))
    # Tensors in other files are found from the file's own path.
    given: bytes | str = str(files[0]) if len(files) > 1 else contents[0]
    model = OnnxModel(onnx_session(given, name), name)
    if full is not None:
        model.answer_as(forward(full, example))
    forward(model, example)
    size = onnx_size(_proto(files[0], name), name, one_sample(example))
    return Candidate(model, _origin(config, contents, f"{runtime_version()}, on the CPU"), size.stored, size.macs,
                     size.reason, given)  # fmt: skip


def _proto(path: Path, name: str) -> Any:
    try:
        return importlib.import_module("onnx").load(str(path))
    except Exception as error:  # the reader refuses in exceptions of several libraries
        raise CandidateError(f"{name} cannot be read as an ONNX file: {type(error).__name__}.") from error


def one_sample(example: Batch) -> Callable[[OnnxModel], int]:
    """Calls a model with one sample, or with all of an example if it takes no single one, and says with how many."""

    def run(model: OnnxModel) -> int:
        for batch in (example.take(slice(1)), example):
            try:
                forward(model, batch)
            except CandidateError as error:
                failure = error
            else:
                return batch.size
        raise failure

    return run


def _of_factory(config: CandidateConfig, folder: Path) -> nn.Module:
    arguments = {"factory": config.factory, "arguments": config.arguments or {}}
    named = {key: value for key in ("checkpoint", "checkpoint_key") if (value := getattr(config, key)) is not None}
    asked = ModelConfig.model_validate({**arguments, **named})
    model = build(asked, folder, 0)
    if asked.checkpoint is not None:
        from pfa_gate.model.checkpoint import load_weights  # noqa: PLC0415  many a factory loads its own

        load_weights(model, folder / asked.checkpoint, asked.checkpoint_key)
    return model


def _of_module(config: CandidateConfig, model: nn.Module, contents: tuple[bytes, ...], example: Batch) -> Candidate:
    try:
        forward(model, example)
    except DataError as error:
        raise CandidateError(
            f"{config.source}: {error.fact}", remedy="It must take what the full model takes."
        ) from error
    held, origin = _stored(model, example), _origin(config, contents, f"torch {torch.__version__}")
    samples = model.size if isinstance(model, FixedBatch) else 1  # of a call with one
    try:
        return Candidate(model, origin, held, macs(model, example) // samples)
    except DataError as error:
        return Candidate(model, origin, held, None, error.fact.rstrip("."))


def _stored(model: nn.Module, example: Batch) -> Stored:
    """What a module stores; where it cannot be followed, all of its whole numbers may be weights, and are counted."""
    try:
        return stored(model, record_model(model, *inputs_of(example)).unpacked)
    except TraceError:
        buffers = dict(model.named_buffers(remove_duplicate=False))
        whole = [name for name, buffer in buffers.items() if not buffer.is_floating_point() and buffer.ndim]
        return stored(model, whole)


def _origin(config: CandidateConfig, contents: tuple[bytes, ...], runtime: str) -> Origin:
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content)
    size = sum(map(len, contents)) if contents else None
    return Origin(config.form, config.source, digest.hexdigest() if contents else "", size, runtime)
