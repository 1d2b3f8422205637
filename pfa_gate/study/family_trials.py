"""The trials of a study of families: each a model that is made as the gate makes it, and measured as its file."""

import hashlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import torch

from pfa_gate.artifacts import ModelFiles
from pfa_gate.budget import Answers
from pfa_gate.compress.full_rows import FullRows
from pfa_gate.errors import CandidateError, PFAGateError, TargetError, TraceError
from pfa_gate.model.evaluation import Score
from pfa_gate.pipeline.answers import summary
from pfa_gate.pipeline.auto_selection import choose_selection
from pfa_gate.pipeline.bit_forecast import few_bits_inventory
from pfa_gate.pipeline.cut import Cut
from pfa_gate.pipeline.deployed import deploy, quantize_files
from pfa_gate.pipeline.examine import carry_out
from pfa_gate.pipeline.int8_forecast import fitted, int8_inventory
from pfa_gate.pipeline.job import GateJob
from pfa_gate.pipeline.latency import NoFileError, as_file, opened
from pfa_gate.pipeline.measure_and_cut import Measured, measure, score_both, score_model, trace
from pfa_gate.pipeline.plan import CutPlan, MeasuredGraph, Planner, StoredBytes
from pfa_gate.pipeline.recovery_steps import kept_for_compensation, kept_of_probe
from pfa_gate.pipeline.trace import ModelGraph
from pfa_gate.record import AnswerSummary, BatchTiming, finite
from pfa_gate.record.families import FamilyRule, FamilyTrial
from pfa_gate.report.ownership import FEW_BITS, INT8, ONNX, WEIGHTS
from pfa_gate.runtime.int8_inventory import Int8Inventory
from pfa_gate.runtime.latency import files_timer, timed_batches
from pfa_gate.runtime.onnx_module import OnnxModel
from pfa_gate.runtime.onnx_size import onnx_stored
from pfa_gate.runtime.session import onnx_session
from pfa_gate.study.context import stderr_of
from pfa_gate.study.families import Family, yaml_line
from pfa_gate.study.recipes import RecipeSpace, random, uniform
from pfa_gate.study.trials import reason_of

_LONGEST = 10.0  # CPU seconds of a timing: of the ratio's standard error 1 % is reached well before
_FAULTS = (PFAGateError, RuntimeError)


@dataclass(frozen=True)
class FamilySpec:
    """A model to make.

    Attributes:
        family: how.
        asked: share of the full model's bytes; None where nothing of the family can be moved.
        rule: what divides the size among the layers.
        draw: which of the random recipes.
    """

    family: Family
    asked: float | None
    rule: FamilyRule = "own"
    draw: int = 0

    def trial(self) -> FamilyTrial:
        """Without anything measured."""
        own = yaml_line(self.family.sections(self.asked)) if self.rule == "own" else ""
        return FamilyTrial(self.family.name, self.rule, self.draw, self.asked, own)


@dataclass(frozen=True)
class _Made:
    """A model and its floating file, which the files of all widths of its weights are made of."""

    cut: Cut
    files: ModelFiles
    folder: Path


@dataclass
class FamilyContext:
    """What all families share: the full model, measured once, and what was made last.

    Attributes:
        job: the gate, without any family.
        planner: of all cuts.
        full_score: of the full model.
        folder: for files that are measured and thrown away.
    """

    job: GateJob
    planner: Planner
    full_score: Score
    folder: Path
    _stored: dict[str, StoredBytes | None] = field(default_factory=dict)
    _last: tuple[object, _Made] | None = None
    _timed: dict[bytes, BatchTiming | str] = field(default_factory=dict)

    @classmethod
    def of(cls, job: GateJob, folder: Path) -> "FamilyContext":
        """Trace, measure and score the full model.

        Raises:
            TraceError: the model cannot be followed.
            PFAGateError: it cannot be measured or scored.
        """
        job = replace(job, config=job.config.model_copy(update={"artifacts": ("onnx",)}))
        traced = trace(job)
        if traced.graph is None:
            raise traced.error or TraceError("The model cannot be followed.")
        kept = kept_of_probe(job, traced.graph.program)
        measured = measure(job, traced, kept.observe if kept else None)
        full_score = score_model(job, job.subject.model, in_parts=True)
        if full_score is None:
            raise TypeError("The gate has no evaluation.")
        planner = _planner(job, traced.graph, measured, kept)
        job = replace(job, config=job.config.model_copy(update={"selection": planner.job.config.selection}))
        return cls(job, planner, full_score, folder)

    @cached_property
    def full_file(self) -> OnnxModel | str:
        """The full model as a file that is open to be timed, or why there is none."""
        try:
            return as_file(self.job.subject.model, self.job.subject.example, changing=True)
        except NoFileError as failure:
            return str(failure)

    def planned(self, job: GateJob, spec: FamilySpec) -> CutPlan:
        """Which filters stay.

        Raises:
            TargetError: the size is out of reach.
        """
        stored = self._inventory(job)
        if spec.rule == "own":
            plan = self.planner.plan(job.config.recipe, stored)
            return fitted(job, self.planner, plan, stored) if isinstance(stored, Int8Inventory) else plan
        target = (spec.asked or 1.0) * self.planner.measured.full.bytes
        space, seed = self._space(job, stored), job.config.probe.seed
        counts = uniform(space, target) if spec.rule == "uniform" else random(space, target, seed, spec.draw)
        return self.planner.of_counts(counts)

    def _inventory(self, job: GateJob) -> StoredBytes | None:
        """What the file with few bits stores of the full model, where a recipe asks for its bytes."""
        if job.config.quantize is None or job.config.recipe.strategy != "bytes":
            return None
        key = repr(job.config.quantize)
        if key not in self._stored:
            graph = self.planner.measured.graph
            self._stored[key] = int8_inventory(job, graph) if job.config.int8 else few_bits_inventory(job, graph)
        return self._stored[key]

    def _space(self, job: GateJob, stored: StoredBytes | None) -> RecipeSpace:
        whole, wanted = replace(self.planner.measured, stored=stored), job.config.recipe
        widths = {name: spectrum.filters for name, spectrum in whole.spectra.groups.items()}
        return RecipeSpace(widths, partial(whole.size, "bytes"), wanted.round_to, wanted.minimum, "bytes")

    def made(self, job: GateJob, plan: CutPlan) -> _Made:
        """The model of a plan and its floating file; the last one is at hand, for other widths of its weights."""
        config = job.config
        floating = config.model_copy(update={"quantize": None})
        key = (tuple(sorted(plan.recipe.counts.items())), repr(_but_recipe(floating)))
        if self._last is None or self._last[0] != key:
            fresh = Path(tempfile.mkdtemp(dir=self.folder))
            cut = carry_out(replace(job, config=floating), self.planner, plan, self.full_score)
            self._last = key, _Made(cut, deploy(fresh, fresh, cut, None).files, fresh)
        return self._last[1]

    def time(self, content: bytes, name: str) -> BatchTiming | str:
        """The time of a file against the full model's; or why it was not taken."""
        key = hashlib.sha256(content).digest()
        if key not in self._timed:
            self._timed[key] = self._time(content, name)
        return self._timed[key]

    def _time(self, content: bytes, name: str) -> BatchTiming | str:
        full, asked, first = self.full_file, self.job.config.latency, next(iter(self.job.subject.probe))
        if isinstance(full, str):
            return full
        try:
            small = opened(content, name)
            size = small.batch or full.batch or asked.batch
            batch = first.take(torch.arange(size) % first.size).to(torch.device("cpu"))
            seconds = min(asked.seconds, _LONGEST)
            with self.job.stages.stage("timing", "latency"):
                (found,), _ = timed_batches(files_timer(full, small), [batch], size, seconds)
        except (NoFileError, CandidateError) as failure:
            return str(failure)
        return found


def _planner(job: GateJob, graph: ModelGraph, measured: Measured, known: FullRows | None) -> Planner:
    kept = kept_for_compensation(job, graph.program, known)
    planner = Planner(job, MeasuredGraph(graph, measured.spectra, measured.cost), measured.chosen, kept)
    if job.config.selection == "auto" and job.subject.apart is not None:
        _, planner = choose_selection(planner, job.subject.apart)
    return planner


def _but_recipe(config: object) -> list[tuple[str, object]]:
    """What else than the recipe a model depends on."""
    return [(name, value) for name, value in vars(config).items() if name != "recipe"]


def family_trials(context: FamilyContext, specs: Iterator[FamilySpec]) -> Iterator[FamilyTrial]:
    """Every trial, one after the other; an error of one is a trial with the reason."""
    for spec in specs:
        started = time.perf_counter()
        try:
            found = _measured(context, spec)
        except TargetError as error:
            found = replace(spec.trial(), reason=error.fact)
        except _FAULTS as error:
            found = replace(spec.trial(), reason=reason_of(error), failed=True)
        yield replace(found, seconds=round(time.perf_counter() - started, 3))


def _measured(context: FamilyContext, spec: FamilySpec) -> FamilyTrial:
    config = spec.family.config(context.job.config, spec.asked)
    job = replace(context.job, config=config)
    plan = context.planned(job, spec)
    made = context.made(job, plan)
    counted = {name: count for name, count in plan.recipe.counts.items() if count < plan.recipe.widths.get(name, count)}
    trial = replace(spec.trial(), counts=counted, macs=made.cut.cost.macs)
    if config.quantize is not None:
        return _with_few_bits(context, replace(made, cut=replace(made.cut, job=job)), trial)
    return _floating(context, made, trial)


def _floating(context: FamilyContext, made: _Made, trial: FamilyTrial) -> FamilyTrial:
    """The floating file as it runs; the weights alone where it has no ONNX form."""
    content = made.files.onnx
    if content is None:
        (_, score) = made.cut.scores or (None, None)
        size, name, untimed = made.cut.cost, WEIGHTS, f"{ONNX} was not made: {made.files.why_not(ONNX)}"
        trial = replace(trial, parameters=size.parameters, bytes=size.bytes, untimed=untimed)
    else:
        import onnx  # noqa: PLC0415  an extra

        stored, name = onnx_stored(onnx.load_from_string(content)), ONNX
        scores = score_both(made.cut.job, OnnxModel(onnx_session(content, ONNX), ONNX), full=context.full_score)
        score = scores[1] if scores else None
        trial = replace(trial, parameters=stored.parameters, bytes=stored.bytes)
        trial = _timed(trial, context.time(content, ONNX), ONNX)
    if score is None:
        raise TypeError("The gate has no evaluation.")
    return _scored(context, replace(trial, file=name), finite(score.value), summary(score))


def _with_few_bits(context: FamilyContext, made: _Made, trial: FamilyTrial) -> FamilyTrial:
    found = quantize_files(made.cut, made.files, made.folder)
    record = found.record if found is not None else None
    if found is None or record is None or record.scores is None:
        return replace(trial, reason=found.reason if found else "The gate asks for no file with few bits.")
    trial = replace(trial, parameters=record.parameters, bytes=record.bytes)
    if record.scheme == "packed":  # no runtime runs it: what runs are floating copies of its weights
        trial = replace(trial, file=FEW_BITS)
        if made.files.onnx is None:
            trial = replace(trial, untimed=f"{ONNX} was not made: {made.files.why_not(ONNX)}")
        else:
            trial = _timed(trial, context.time(made.files.onnx, ONNX), ONNX)
    else:
        trial = replace(trial, file=INT8)
        trial = _timed(trial, context.time((made.folder / INT8).read_bytes(), INT8), INT8)
    return _scored(context, trial, finite(record.scores.compressed), _summary_of(record.answers))


def _timed(trial: FamilyTrial, found: BatchTiming | str, file: str) -> FamilyTrial:
    return replace(trial, untimed=found) if isinstance(found, str) else replace(trial, time=found, timed=file)


def _scored(
    context: FamilyContext, trial: FamilyTrial, accuracy: float | None, answers: AnswerSummary | None
) -> FamilyTrial:
    full = context.full_score
    stderr = None if accuracy is None or full.outcomes is None else stderr_of(accuracy, full.samples)
    reason = "its score is not a finite number" if accuracy is None else None
    return replace(trial, accuracy=accuracy, stderr=stderr, answers=answers, reason=reason)


def _summary_of(found: Answers | None) -> AnswerSummary | None:
    """Answers in four numbers."""
    if found is None:
        return None
    worst = found.judged_classes
    agreement, divergence, error = (
        None if each is None else finite(each.value) for each in (found.agreement, found.divergence, found.output_error)
    )
    return AnswerSummary(agreement, divergence, error, worst[0].fall / 100 if worst else None)
