"""A model made elsewhere, against the full model: what it stores, scores, answers and takes."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch import nn

from pfa_gate.budget import Answers, Measurements, PartSize
from pfa_gate.candidate import Candidate, load_candidate
from pfa_gate.config.candidate import CandidateConfig
from pfa_gate.errors import CandidateError
from pfa_gate.graph import inputs_of
from pfa_gate.graph.cost import latency_ratio
from pfa_gate.model import Batch
from pfa_gate.model.device import model_on
from pfa_gate.model.evaluation import Score
from pfa_gate.pipeline.answers import compare_answers
from pfa_gate.pipeline.job import GateJob
from pfa_gate.pipeline.measure_and_cut import score_both
from pfa_gate.record import CandidateRecord, CompressedRecord, Unmeasured, finite

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_ASKED = "no budget asks for it"


@dataclass(frozen=True)
class Timing:
    """A candidate's time over the full model's.

    Attributes:
        ratio: of the two; None where they were not timed.
        how: what both ran in.
        reason: why they were not timed.
    """

    ratio: float | None
    how: str = ""
    reason: str = ""


@dataclass(frozen=True)
class JudgedCandidate:
    """A candidate and what was measured of it.

    Attributes:
        candidate: the model, its size and where it comes from.
        scores: of the full model and of it; None without an evaluation.
        timing: its latency.
        answers: against the full model's; None where they were not compared.
    """

    candidate: Candidate
    scores: tuple[Score, Score] | None
    timing: Timing
    answers: Answers | None = None

    @property
    def size(self) -> PartSize:
        """What it stores and computes."""
        held = self.candidate.stored
        return PartSize(held.parameters, held.bytes, self.candidate.macs)

    def measurements(self, full: Measurements) -> Measurements:
        """What the budgets are judged on: what was measured of the full model and of the scores, and this."""
        return replace(
            full,
            compressed=self.size,
            scores_reason="" if self.scores else "pfa.yaml has no evaluation",
            latency=self.timing.ratio,
            latency_reason=self.timing.reason,
            compressed_reason="it was made elsewhere, so there is no cut to prove",
            uncounted=self.candidate.uncounted,
            smaller="candidate",
            answers=self.answers,
        )

    def compressed_record(self) -> CompressedRecord:
        """Its sizes, as those of a model that was cut here."""
        size, ratio = self.size, self.timing.ratio
        return CompressedRecord(size.parameters, size.bytes, size.macs, finite(ratio), exact=None)

    def record(self) -> CandidateRecord:
        """Where it comes from, as plain data."""
        origin = self.candidate.origin
        form = cast(Literal["onnx", "pt2", "factory"], origin.form)
        return CandidateRecord(
            form,
            origin.source,
            origin.sha256,
            origin.file_bytes,
            origin.runtime,
            self.timing.how,
            self.candidate.remarks,
        )

    def unmeasured(self) -> "Iterator[Unmeasured]":
        """What was not measured of it, and why."""
        if self.candidate.macs is None:
            yield Unmeasured("MACs of the candidate", self.candidate.uncounted)
        if self.timing.reason and self.timing.reason != NOT_ASKED:
            yield Unmeasured("latency of the candidate", self.timing.reason)


def loaded(job: GateJob) -> Candidate:
    """The gate's candidate, run once."""
    config, subject = _asked(job), job.subject
    with job.stages.stage("loading", "candidate", config.form):
        return load_candidate(config, job.stages.folder, subject.example, subject.model)


def _asked(job: GateJob) -> CandidateConfig:
    if job.config.candidate is None:
        raise TypeError("The gate has no candidate.")
    return job.config.candidate


def judged(job: GateJob, candidate: Candidate) -> JudgedCandidate:
    """Score and time a candidate against the full model."""
    scores = score_both(job, candidate.model)
    answers = compare_answers(job, candidate.model, scores)
    return JudgedCandidate(candidate, scores, _timed(job, candidate), answers)


def _timed(job: GateJob, candidate: Candidate) -> Timing:
    if job.config.budgets.compressed.latency is None:
        return Timing(None, reason=NOT_ASKED)
    subject = job.subject
    size = candidate.batch or subject.example.size
    example = subject.example.take(torch.arange(size) % subject.example.size)
    with job.stages.stage("timing", "budgets", "compressed", "latency"):
        if candidate.content is not None:
            return timed_in_runtime(subject.model, candidate, example)
        full, small = (model_on(model, subject.device) for model in (subject.model, candidate.model))
        ratio = latency_ratio(full, small, example.to(subject.device))
        return Timing(ratio, f"both as modules of torch, {size} samples a call")


def timed_in_runtime(full: nn.Module, candidate: Candidate, example: Batch) -> Timing:
    """Time an ONNX file against the full model written as one: both in ONNX Runtime, on one thread.

    Args:
        full: in eval mode, on the CPU.
        candidate: of an ONNX file.
        example: what both are called with.
    """
    from pfa_gate.artifacts.export import ExportFailedError  # noqa: PLC0415  for files that are timed
    from pfa_gate.artifacts.onnx_model import onnx_content  # noqa: PLC0415
    from pfa_gate.artifacts.program import program_of, trials  # noqa: PLC0415

    inputs = inputs_of(example)
    try:
        export = program_of(full, inputs)
        content = onnx_content(export, full, trials(export, full, inputs))
    except ExportFailedError as failure:
        return Timing(None, reason=f"the full model cannot be written as an ONNX file to be timed beside it: {failure}")
    return timed_files(content, candidate, example)


def timed_files(content: bytes | str, candidate: Candidate, example: Batch) -> Timing:
    """Time an ONNX file against another, both in ONNX Runtime, on one thread.

    Args:
        content: of the file of the full model, or its path.
        candidate: of an ONNX file.
        example: what both are called with.
    """
    from pfa_gate.runtime.onnx_module import OnnxModel  # noqa: PLC0415
    from pfa_gate.runtime.session import onnx_session, runtime_version  # noqa: PLC0415

    whole = OnnxModel(onnx_session(content, "the full model", 1), "the full model")
    small = OnnxModel(onnx_session(candidate.content or "", candidate.origin.source, 1), candidate.origin.source)
    try:
        ratio = latency_ratio(whole, small, example)
        return Timing(ratio, f"both in {runtime_version()}, on one thread of the CPU, {example.size} samples a call")
    except CandidateError as error:
        return Timing(None, reason=error.fact.rstrip("."))
