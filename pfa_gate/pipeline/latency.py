"""The time of what ships against the full model: of the files in their runtime, of modules where there is no file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from pfa_gate.artifacts import ModelFiles
from pfa_gate.artifacts.model_files import installed
from pfa_gate.errors import CandidateError
from pfa_gate.graph import inputs_of
from pfa_gate.graph.cost import latency_ratio
from pfa_gate.model import Batch
from pfa_gate.model.device import CPU, device_label, input_device, model_on
from pfa_gate.model.user_frames import raised
from pfa_gate.pipeline.cut import Cut, FileLatencies
from pfa_gate.pipeline.job import GateJob
from pfa_gate.record import BatchTiming, TimingRecord
from pfa_gate.report.ownership import ONNX
from pfa_gate.runtime.latency import Timer, files_timer, modules_timer, session_of, timed_batches
from pfa_gate.runtime.onnx_module import OnnxModel
from pfa_gate.runtime.session import runtime_version

EAGER = "torch, eager"
_WALL, _CPU_TIME = "wall clock", "CPU time"


def file_latencies(cut: Cut, files: ModelFiles, int8: Path | None) -> FileLatencies:
    """Time what budgets ask for.

    Args:
        cut: the compressed model.
        files: what was written of it.
        int8: its int8 file; None where there is none.
    """
    limits, full = cut.job.config.budgets, _FullFile(cut.job, files)
    found = FileLatencies()
    if limits.compressed.latency is not None:
        with cut.job.stages.stage("timing", "budgets", "compressed", "latency"):
            timing = _compressed(cut, files, full)
            found = replace(found, compressed=timing, rounded=cut.rounded() if saves_no_time(cut, timing) else None)
    if limits.quantized.latency is not None and int8 is not None:
        with cut.job.stages.stage("timing", "budgets", "quantized", "latency"):
            try:
                found = replace(found, quantized=timed_files(cut.job, full.session(), opened(int8)))
            except NoFileError as failure:
                found = replace(found, untimed=str(failure))
    return found


def saves_no_time(cut: Cut, timing: TimingRecord) -> bool:
    """Whether the time saved is less than half of the share of MACs saved, even at the favourable end of its interval.

    Of a model that loses less than a twentieth of its MACs nothing is said.
    """
    full = cut.full_macs
    return full > 0 and timing.saves_less_than_macs(cut.cost.macs / full)


class NoFileError(Exception):
    """No file can be timed; the message says why."""


def _compressed(cut: Cut, files: ModelFiles, full: "_FullFile") -> TimingRecord:
    job = cut.job
    models = job.subject.model, cut.compressed.model
    if job.subject.device.type == "cuda":
        return timed_modules(job, *models, f"the gate runs on {device_label(job.subject.device)}")
    try:
        small = opened(_written(files))  # the full model is not exported where there is nothing to hold against it
        return timed_files(job, full.session(), small)
    except NoFileError as failure:
        return timed_modules(job, *models, str(failure))


def _written(files: ModelFiles) -> Path:
    if ONNX in files.names:
        return files.folder / ONNX
    if not installed():
        raise NoFileError("the extra onnx is not installed")
    reason = next((gap.reason for gap in files.gaps if gap.what == ONNX), "")
    raise NoFileError(f"{ONNX} was {reason}" if reason else "artifacts leaves out onnx")


@dataclass
class _FullFile:
    """The full model as an ONNX file, made when it is first asked for."""

    job: GateJob
    files: ModelFiles
    _opened: OnnxModel | None = None

    def session(self) -> OnnxModel:
        if self._opened is None:
            changing = any(isinstance(size, str) for shape in self.files.sizes.values() for size in shape[1:])
            self._opened = as_file(self.job.subject.model, self.job.subject.example, changing=changing)
        return self._opened


def as_file(model: nn.Module, example: Batch, *, changing: bool = False) -> OnnxModel:
    """A model as an ONNX file that is open to be timed.

    Args:
        model: in eval mode.
        example: what it is called with.
        changing: whether other sizes than the batch may change.

    Raises:
        NoFileError: it has no such form, or the extra `onnx` is not installed.
    """
    if not installed():
        raise NoFileError("the extra onnx is not installed")
    from pfa_gate.artifacts.export import ExportFailedError  # noqa: PLC0415  for files that are timed
    from pfa_gate.artifacts.onnx_model import onnx_content  # noqa: PLC0415
    from pfa_gate.artifacts.program import program_of, trials  # noqa: PLC0415
    from pfa_gate.artifacts.sizes import FIXED, free_sizes  # noqa: PLC0415

    model, inputs = model_on(model, CPU), inputs_of(example.to(CPU))
    try:
        export = program_of(model, inputs, free_sizes(model, inputs) if changing else FIXED)
        content = onnx_content(export, model, trials(export, model, inputs))
    except ExportFailedError as failure:
        raise NoFileError(f"the full model cannot be written as an ONNX file: {failure}") from failure
    return opened(content, "the full model")


def opened(content: Path | bytes | str, name: str = "") -> OnnxModel:
    """An ONNX file that is open to be timed.

    Raises:
        NoFileError: the runtime does not take it.
    """
    try:
        if isinstance(content, Path):
            return session_of(str(content), content.name)
        return session_of(content, name)
    except CandidateError as failure:
        raise NoFileError(failure.fact.rstrip(".")) from failure


def timed_files(job: GateJob, full: OnnxModel, small: OnnxModel) -> TimingRecord:
    """Time two files in ONNX Runtime, for the sizes of a call that the gate asks for.

    Raises:
        NoFileError: a file does not take the gate's data.
    """
    fixed = small.batch or full.batch
    batches = [_of_size(job, fixed)] if fixed else list(_sizes(job))
    try:
        return _taken(job, files_timer(full, small), batches, (small.name, runtime_version(), ""))
    except CandidateError as failure:
        raise NoFileError(failure.fact.rstrip(".")) from failure


def timed_modules(job: GateJob, full: nn.Module, small: nn.Module, reason: str) -> TimingRecord:
    """Time two modules of torch: by CPU time on one thread, or on the gate's own device by the clock.

    Args:
        job: the gate.
        full: what the other is held against.
        small: the other.
        reason: why no file is timed; empty for who has none.
    """
    device = job.subject.device
    if device.type != "cuda":
        return _taken(job, modules_timer(full, small), _that_run(job, (full, small)), ("", EAGER, reason))
    example = job.subject.example.to(device)
    ratio = latency_ratio(model_on(full, device), model_on(small, device), example)
    batch = BatchTiming(example.size, ratio, None, None, None, None, 31)
    return TimingRecord("", EAGER, _WALL, device_label(device), example.size, (batch,), reason)


def _taken(job: GateJob, timer: Timer, batches: Sequence[Batch], how: tuple[str, str, str]) -> TimingRecord:
    asked, sizes = job.config.latency, [batch.size for batch in batches]
    judged = asked.batch if asked.batch in sizes else sizes[0]
    found, skipped = timed_batches(timer, batches, judged, asked.seconds)
    if judged != asked.batch:
        skipped[str(asked.batch)] = f"a call takes {' or '.join(map(str, sizes))} samples"
    file, runtime, reason = how
    return TimingRecord(file, runtime, _CPU_TIME, "CPU", judged, found, reason, skipped)


def _sizes(job: GateJob) -> Iterator[Batch]:
    """One sample, what pfa.yaml says, and a batch of the probe."""
    first = next(iter(job.subject.probe))
    for size in sorted({1, job.config.latency.batch, first.size}):
        yield first.take(torch.arange(size) % first.size).to(CPU)


def _of_size(job: GateJob, size: int) -> Batch:
    example = job.subject.example
    return example.take(torch.arange(size) % example.size).to(CPU)


def _that_run(job: GateJob, models: Sequence[nn.Module]) -> list[Batch]:
    """The batches that both models run on: a forward may be written for some sizes alone."""
    fit = [batch for batch in _sizes(job) if all(not _failure(model, batch) for model in models)]
    return fit or [job.subject.example.to(input_device(models[0]))]


def _failure(model: nn.Module, batch: Batch) -> str:
    try:
        with torch.no_grad():
            model(*batch.args, **batch.kwargs)
    except Exception as error:  # the user's forward may raise anything
        return raised(error)
    return ""
