"""`pfa-gate compare A B`: what one model stores, scores, answers and takes against another, without a config."""

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from torch import Tensor

from pfa_gate.artifacts.folders import write_comparison
from pfa_gate.budget import Measurements, Size, judge
from pfa_gate.candidate import Candidate, load_candidate
from pfa_gate.config import Document, GateConfig, Place
from pfa_gate.config.comparison import ComparisonRequest, default_metric
from pfa_gate.config.reader import ParsedYaml
from pfa_gate.errors import PFAGateError
from pfa_gate.model import Batches, Sampling, Subject
from pfa_gate.model.data import open_data
from pfa_gate.model.evaluation import class_scores
from pfa_gate.model.evaluation.kept_outputs import KeptOutputs
from pfa_gate.model.global_state import defaults_restored, freed_memory_kept
from pfa_gate.model.metric import metric_of
from pfa_gate.model.torch_module import forward
from pfa_gate.pipeline.answers import answer_budgets, compare_answers
from pfa_gate.pipeline.demands import demands
from pfa_gate.pipeline.findings import versions
from pfa_gate.pipeline.job import GateJob, Stages
from pfa_gate.pipeline.judged_candidate import NOT_ASKED, JudgedCandidate, Timing, timed
from pfa_gate.pipeline.measure_and_cut import score_both, scores_record
from pfa_gate.pipeline.parity import candidate_parity
from pfa_gate.record import CandidateRecord, Probe, Record, Unmeasured
from pfa_gate.record.comparison import dumps_comparison
from pfa_gate.report.candidate import UNCOUNTED
from pfa_gate.report.files import report_text
from pfa_gate.report.formatting import shows_unicode
from pfa_gate.report.ownership import HTML, MARKDOWN
from pfa_gate.report.result_folders import require_comparison
from pfa_gate.report.terminal import render
from pfa_gate.report.text import printable
from pfa_gate.study.progress import StudyProgress

BROKEN = 1
_ANYWHERE = Place(Path("command line"), 0, 0)


class _ComparisonStages(Stages):
    """Stages of a comparison, which has no config: an error says at which step it was."""

    def __init__(self, gate: GateConfig, progress: Callable[[str, int, int], None] | None) -> None:
        super().__init__(
            Document(Path.cwd() / "comparison", {gate.name: gate}, ParsedYaml(None, {}, ()), b""), gate.name
        )
        self._told = progress

    @contextmanager
    def stage(self, name: str, *keys: str) -> Iterator[None]:
        """Run a stage; an error in it is placed by its name."""
        del keys
        self.report(name, 0, 1)
        try:
            yield
        except PFAGateError as error:
            error.at(f"the step '{name}'")
            raise
        finally:
            self._pass(name)

    def report(self, name: str, done: int, total: int) -> None:
        """Tell the outside how far a stage is."""
        if self._told is not None:
            self._told(name, done, total)


@dataclass(frozen=True)
class ComparedModels:
    """What was found of two models.

    Attributes:
        full: where the first one comes from.
        record: of the second one against it.
    """

    full: CandidateRecord
    record: Record

    @property
    def kept(self) -> bool:
        """Whether every limit was judged and kept."""
        return all(finding.outcome == "kept" for finding in self.record.budgets)


def compare_command(ask: ComparisonRequest, output: Path | None) -> int:
    """Compare two models, print the table, write the files; 1 where a limit is not kept.

    Raises:
        PFAGateError: a model or the data cannot be read, or does not fit; or nothing can be written.
    """
    if output is not None:
        require_comparison(output)
    with StudyProgress() as bar:
        found = compared(ask, bar.show)
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    unicode = shows_unicode(sys.stdout.encoding)
    width = shutil.get_terminal_size().columns
    print(printable(render(found.record, width=width, colour=colour, unicode=unicode), styled=True), end="")
    if output is not None:
        texts = {
            "comparison.json": dumps_comparison(found.full, found.record),
            "comparison.md": report_text(found.record, MARKDOWN),
            "comparison.html": report_text(found.record, HTML),
        }
        print(printable(f"\nFiles: {', '.join(write_comparison(output, texts))}"))
    return 0 if found.kept else BROKEN


@defaults_restored()
@freed_memory_kept()
def compared(ask: ComparisonRequest, progress: Callable[[str, int, int], None] | None = None) -> ComparedModels:
    """Compare two models.

    Args:
        ask: for what; paths start at the current folder.
        progress: called as (stage, done, total).

    Raises:
        PFAGateError: a model or the data cannot be read, or does not fit.
    """
    folder = Path.cwd()
    gate, (first, second) = ask.gate(), ask.operands(folder)
    stages = _ComparisonStages(gate, progress)
    with stages.stage("reading the data"):
        data = open_data(ask.data, folder, Sampling(ask.samples, ask.batch_size))
        example = data.example()
    with stages.stage("loading the first model"):
        full = load_candidate(first, folder, example)
    with stages.stage("loading the second model"):
        other = load_candidate(second, folder, example, full.model)
    if gate.evaluation is None:
        gate = replace(ask, metric=default_metric(_labelled(full, data))).gate()
    metric = metric_of(gate, gate.evaluation, folder, lambda *keys: nullcontext("")) if gate.evaluation else "accuracy"
    subject = Subject(full.model, example, data, data, metric)
    job = GateJob(gate, subject, stages, kept=KeptOutputs("output_error" in answer_budgets(gate)))
    return _judged(ask, job, full, other)


def _labelled(full: Candidate, data: Batches) -> bool:
    """Whether the data has the number of a class for each sample, and the model gives class scores."""
    batch = next(iter(data))
    scores = class_scores(forward(full.model, batch))
    labels = batch.labels
    numbers = isinstance(labels, Tensor) and not labels.is_floating_point() and labels.shape == (batch.size,)
    return numbers and scores.ndim == 2 and len(scores) == batch.size and scores.shape[1] > 1


def _judged(ask: ComparisonRequest, job: GateJob, full: Candidate, other: Candidate) -> ComparedModels:
    gate = job.config
    scores = score_both(job, other.model) if gate.evaluation else None
    answers = compare_answers(job, other.model, scores, always=True)
    timing = _timed(job, full, other)
    found = JudgedCandidate(other, scores, timing, answers)
    told = scores_record(gate, *(scores or (None, None)))
    scored = (
        None
        if told is None or scores is None
        else replace(told.measure(), samples=scores[0].samples, interval=told.interval)
    )
    size = Size(full.stored.parameters, full.stored.bytes, full.macs or 0)
    demanded = demands(job, None, other, full)
    measurements = demanded.measurements(found.measurements(Measurements((), size, scores=scored)))
    if gate.budgets.compressed.parity is not None:
        parity = candidate_parity(job, other)
        measurements = replace(measurements, parity=parity.found, parity_reasons=parity.reasons)
    gaps = [Unmeasured(UNCOUNTED, full.uncounted)] if full.macs is None else []
    record = Record(
        gate=f"{ask.other} against {ask.full}",
        config="pfa-gate compare",
        versions=versions(),
        seconds=job.stages.seconds(),
        model=measurements.full,
        probe=Probe(job.subject.probe.samples, job.subject.probe.sha256),
        compressed=demanded.compressed_record(found.compressed_record()),
        demands=demanded.record(),
        scores=told,
        budgets=judge(gate, measurements, lambda keys: _ANYWHERE),
        unmeasured=(*gaps, *demanded.unmeasured("candidate"), *found.unmeasured()),
        answers=answers,
        parity=measurements.parity,
        candidate=found.record(),
        command=shlex.join(["pfa-gate", "compare", *ask.words()]),
        written=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    return ComparedModels(JudgedCandidate(full, None, Timing(None)).record(), record)


def _timed(job: GateJob, full: Candidate, other: Candidate) -> Timing:
    """The second model's time over the first one's, both in the same runtime."""
    if job.config.budgets.compressed.latency is None:
        return Timing(None, NOT_ASKED)
    with job.stages.stage("timing"):
        return timed(job, full, other)
