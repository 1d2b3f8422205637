"""A model made elsewhere, against the full model: what it stores, scores, answers and takes."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, cast

from torch import nn

from pfa_gate.budget import Answers, Measurements, PartSize
from pfa_gate.candidate import Candidate, load_candidate
from pfa_gate.config.candidate import CandidateConfig
from pfa_gate.model.evaluation import Score
from pfa_gate.pipeline.answers import compare_answers
from pfa_gate.pipeline.job import GateJob
from pfa_gate.pipeline.measure_and_cut import score_both
from pfa_gate.record import CandidateRecord, CompressedRecord, TimingRecord, Unmeasured

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_ASKED = "no budget asks for it"


@dataclass(frozen=True)
class Timing:
    """A candidate's time over the full model's.

    Attributes:
        found: the times; None where they were not taken.
        reason: why they were not.
    """

    found: TimingRecord | None
    reason: str = ""

    @property
    def ratio(self) -> float | None:
        """For the calls for which the budget is judged."""
        return self.found.ratio if self.found else None

    @property
    def how(self) -> str:
        """What both ran in, and on how many samples a call."""
        if self.found is None:
            return ""
        calls = f"{self.found.judged} {'sample' if self.found.judged == 1 else 'samples'} a call"
        if self.found.clock != "CPU time":
            return f"both as modules of torch on {self.found.device}, {calls}"
        both = f"in {self.found.runtime}" if self.found.file else "as modules of torch"
        return f"both {both}, by CPU time on one thread, {calls}"


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
            timed=self.timing.found.measure() if self.timing.found else None,
            compressed_reason="it was made elsewhere, so there is no cut to prove",
            uncounted=self.candidate.uncounted,
            smaller="candidate",
            answers=self.answers,
        )

    def compressed_record(self) -> CompressedRecord:
        """Its sizes, as those of a model that was cut here."""
        size, ratio = self.size, self.timing.ratio
        return CompressedRecord(size.parameters, size.bytes, size.macs, ratio, exact=None, timing=self.timing.found)

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
        return Timing(None, NOT_ASKED)
    with job.stages.stage("timing", "budgets", "compressed", "latency"):
        return timed(job, job.subject.model, candidate)


def timed(job: GateJob, full: nn.Module | Candidate, other: Candidate) -> Timing:
    """Time a candidate against a model or another candidate, both in the same runtime.

    Args:
        job: the gate, with the data.
        full: what the candidate is held against; a module is written as a file where the candidate is one.
        other: the candidate.
    """
    from pfa_gate.pipeline.latency import (  # noqa: PLC0415  for gates with such a budget
        NoFileError,
        as_file,
        opened,
        timed_files,
        timed_modules,
    )

    content = full.content if isinstance(full, Candidate) else None
    module = full.model if isinstance(full, Candidate) else full
    try:
        if other.content is None and content is None:
            return Timing(timed_modules(job, module, other.model, ""))
        if other.content is None:
            return Timing(None, "the first model is an ONNX file and the second is not: their runtimes differ")
        whole = as_file(module, job.subject.example) if content is None else opened(content, "the full model")
        return Timing(timed_files(job, whole, opened(other.content, other.origin.source)))
    except NoFileError as failure:
        return Timing(None, str(failure))
