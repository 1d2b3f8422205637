"""The recovery steps in the order written, with `factorize` among them, each timed and scored."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from pfa_gate.budget.wording import plural
from pfa_gate.compress.full_rows import FullRows
from pfa_gate.compress.prune import PrunedModel
from pfa_gate.compress.repair import Repair
from pfa_gate.config.recovery import CompensateStep, DistillOptions, DistillStep, FinetuneStep, Step
from pfa_gate.config.sparsify import SparsifyConfig
from pfa_gate.errors import TraceError
from pfa_gate.graph import Program
from pfa_gate.model import Subject
from pfa_gate.model.device import CPU, model_on
from pfa_gate.model.evaluation import Score
from pfa_gate.model.import_callable import resolve
from pfa_gate.pipeline.answers import summary
from pfa_gate.pipeline.finetune import finetune
from pfa_gate.pipeline.job import GateJob, Stages
from pfa_gate.pipeline.measure_and_cut import score_model
from pfa_gate.record import FactorizedRecord, RecoveryStep, finite

if TYPE_CHECKING:
    from pfa_gate.compress.recover import CompensateSettings, Constraint, DistillResult, Forecast

_OWN_SECTIONS = {"factorize": "factorizing", "sparsify": "sparsify"}
"""Steps that pfa.yaml has a section for, beside `recovery`, and what their stage is called."""


@dataclass(frozen=True)
class StepResult:
    """A model after a step, and what the step did: in one line, layer by layer, and which layers it left, and why."""

    model: nn.Module
    detail: str
    repairs: tuple[Repair, ...] = ()
    spared: Mapping[str, str] = field(default_factory=dict)
    factorized: FactorizedRecord | None = None


Task = Callable[[nn.Module], StepResult]
Solve = Callable[[nn.Module, "Constraint"], tuple[nn.Module, tuple[Repair, ...]]]
"""Solves the layers of a model under a constraint."""
Factorize = Callable[[PrunedModel, nn.Module, Solve], StepResult]
"""Given what the cut left of each parameter, puts layers of a model in two."""


@dataclass(frozen=True)
class Recovered:
    """The compressed model after the last step.

    Attributes:
        compressed: the model; that of the cut where there is no step.
        steps: what the cut and each step left of the score; empty without any step.
        score: after the last step; None without any step or evaluation.
        factorized: the layers that became two; None without this step.
    """

    compressed: PrunedModel
    steps: tuple[RecoveryStep, ...] = ()
    score: Score | None = None
    factorized: FactorizedRecord | None = None


def kept_of_probe(job: GateJob, program: Program) -> FullRows | None:
    """Where the pass over the probe may keep what compensation would compute again; None where nothing would read it.

    Args:
        job: the gate.
        program: of the full model.
    """
    most = job.config.probe.samples or job.subject.probe.total
    if most is None or not _compensated_by_rows(job, program):
        return None
    return FullRows(program, most, job.config.probe.seed, whole=True)


def kept_for_compensation(job: GateJob, program: Program, known: FullRows | None = None) -> FullRows | None:
    """Where the pass of a selection may keep what compensation would compute again.

    Args:
        job: the gate.
        program: of the full model.
        known: what the pass over the probe has kept.

    Returns:
        `known` where the selection makes no pass; None where nothing is kept.
    """
    if job.config.selection not in ("reconstruction", "auto") or not _compensated_by_rows(job, program):
        return known
    return FullRows(program, job.subject.probe.samples, job.config.probe.seed, others=known)


def _compensated_by_rows(job: GateJob, program: Program) -> bool:
    return program.dynamic and any(compensates(step) for step in job.config.recovery)


def recover(
    job: GateJob,
    full: Program,
    compressed: PrunedModel,
    kept: FullRows | None = None,
    factorize: Factorize | None = None,
) -> Recovered:
    """Run the steps of pfa.yaml on a proved smaller model.

    Args:
        job: the gate; its stages are timed under the steps' names.
        full: the full model's program.
        compressed: the smaller model; it is not changed.
        kept: values of the full model that the selection's pass has kept.
        factorize: what the gate's section of this name asks for; None where it has none.
    """
    tasks = list(_steps(job, full, compressed, kept))
    if factorize is not None:
        place = next((place for place, (name, _) in enumerate(tasks) if name != "compensate"), len(tasks))
        solve = _solver(job, full, compressed, kept)
        tasks.insert(place, ("factorize", lambda model: factorize(compressed, model, solve)))
    if not tasks:
        return Recovered(compressed)
    model, factorized = compressed.model, None
    score = score_model(job, model)
    steps = [RecoveryStep("cut", _value(score), 0.0, answers=summary(score))]
    for name, step in tasks:
        started = time.perf_counter()
        with job.stages.stage(_OWN_SECTIONS.get(name, name), name if name in _OWN_SECTIONS else "recovery"):
            result = step(model)
        seconds, model = round(time.perf_counter() - started, 3), result.model
        factorized = result.factorized or factorized
        score = score_model(job, model, in_parts=len(steps) == len(tasks))
        done = RecoveryStep(name, _value(score), seconds, result.detail, result.repairs, summary(score), result.spared)
        steps.append(done)
    return Recovered(replace(compressed, model=model), tuple(steps), score, factorized)


def _solver(job: GateJob, full: Program, compressed: PrunedModel, kept: FullRows | None) -> Solve:
    def solve(model: nn.Module, constraint: "Constraint") -> tuple[nn.Module, tuple[Repair, ...]]:
        from pfa_gate.compress.recover import CompensateSettings  # noqa: PLC0415  for gates with a constraint

        settings = CompensateSettings(job.config.probe.seed, kept=kept, constraint=constraint)
        solved, repairs = compensate_on_device(job.subject, full, compressed, model, settings)
        return solved, tuple(_recorded(repair) for repair in repairs)

    return solve


def compensate_on_device(
    subject: Subject, full: Program, compressed: PrunedModel, model: nn.Module, settings: "CompensateSettings"
) -> tuple[nn.Module, tuple[Repair, ...]]:
    """Compensate on the subject's probe and device.

    Args:
        subject: the full model and its probe.
        full: its program.
        compressed: what pruning left of each parameter.
        model: the compressed model as it is now; it is not changed.
        settings: see `compensate`.

    Returns:
        A new model, on the CPU, and what was done to each layer.
    """
    from pfa_gate.compress.recover import compensate  # noqa: PLC0415  for gates with this step

    model = model_on(model, subject.device)
    compensated, repairs = compensate(full.on(subject.device), model, compressed.axis_indices, subject.probe, settings)
    return model_on(compensated, CPU), repairs


def _value(score: Score | None) -> float | None:
    return None if score is None else finite(score.value)


def _steps(job: GateJob, full: Program, compressed: PrunedModel, kept: FullRows | None) -> Iterator[tuple[str, Task]]:
    subject, stages, seed = job.subject, job.stages, job.config.probe.seed

    def recalibrated(model: nn.Module) -> StepResult:
        from pfa_gate.compress.recover import recalibrate  # noqa: PLC0415  for gates with this step

        fresh, count = recalibrate(model_on(model, subject.device), subject.probe)
        return StepResult(model_on(fresh, CPU), f"{count} batch norms")

    for step in job.config.recovery:
        if step == "recalibrate":
            yield "recalibrate", recalibrated
        elif step == "distill":
            yield "distill", _distilled(DistillOptions(), subject, stages, seed)
        elif isinstance(step, DistillStep):
            yield "distill", _distilled(step.distill, subject, stages, seed)
        elif isinstance(step, FinetuneStep):
            yield "finetune", _finetuned(step.finetune, subject, stages.folder, seed)
        else:
            settings = replace(compensate_settings(step, seed), kept=kept)
            yield "compensate", _compensated(job, full, compressed, settings)
    if job.config.sparsify is not None:
        yield "sparsify", _sparsified(job, job.config.sparsify)


def _sparsified(job: GateJob, config: SparsifyConfig) -> Task:
    def step(model: nn.Module) -> StepResult:
        from pfa_gate.pipeline.sparsified import sparsified  # noqa: PLC0415  for gates with this section

        found, repairs, spared = sparsified(job, model, config)
        made = sum(repair.layer not in spared for repair in repairs)
        detail = f"{config.pattern} in {made} of {plural(made + len(spared), 'layer')}"
        return StepResult(found, detail, tuple(_recorded(repair) for repair in repairs), spared)

    return step


def compensates(step: Step) -> bool:
    """Whether a step of pfa.yaml is compensation.

    Example:
        >>> compensates("compensate"), compensates("distill")
        (True, False)
    """
    return step == "compensate" or isinstance(step, CompensateStep)


def compensate_settings(step: Step, seed: int) -> "CompensateSettings":
    """How a step compensates."""
    from pfa_gate.compress.recover import CompensateSettings  # noqa: PLC0415  for gates with this step

    return CompensateSettings(seed, step.compensate.seconds if isinstance(step, CompensateStep) else None)


def _compensated(job: GateJob, full: Program, compressed: PrunedModel, settings: "CompensateSettings") -> Task:
    def progress(found: "Forecast", done: int, total: int) -> None:
        job.stages.report(f"compensate, {_foreseen(found)}", done, total)

    def compensated(model: nn.Module) -> StepResult:
        told = replace(settings, progress=progress)
        try:
            better, repairs = compensate_on_device(job.subject, full, compressed, model, told)
        except TraceError as error:
            if "recovery" in job.config.model_fields_set:
                raise
            return StepResult(model, f"left out: {error.fact}")  # nobody asked for it
        return StepResult(better, _summary(repairs), tuple(_recorded(repair) for repair in repairs))

    return compensated


def _foreseen(found: "Forecast") -> str:
    """What a step will take, in words."""
    return f"about {max(found.seconds, 1):,.0f} s and {max(found.memory / 1e6, 1):,.0f} MB"


def _distilled(options: DistillOptions, subject: Subject, stages: Stages, seed: int) -> Task:
    from pfa_gate.compress.recover import DistillSettings, distill  # noqa: PLC0415  for gates with this step

    def step(model: nn.Module) -> StepResult:
        augment = resolve(options.augment, stages.folder) if options.augment else None
        settings = DistillSettings(
            options.steps, options.rate, statistics=options.statistics, seed=seed, augment=augment
        )
        progress = partial(stages.report, "distill")
        full, pupil = model_on(subject.model, subject.device), model_on(model, subject.device)
        found = distill(full, pupil, subject.probe, settings, progress)
        return StepResult(model_on(found.model, CPU), _learnt(found, settings.steps))

    return step


def _learnt(found: "DistillResult", steps: int) -> str:
    if found.before is None or found.after is None:
        return f"{steps} steps; no sample was held out"
    gaps = f"squared error on held-out answers {found.before:.2%} -> {found.after:.2%}"
    return f"{steps} steps; {gaps}" + ("; undone, as it came no closer" if found.undone else "")


def _finetuned(name: str, subject: Subject, folder: Path, seed: int) -> Task:
    def step(model: nn.Module) -> StepResult:
        return StepResult(finetune(model, subject.probe, resolve(name, folder), seed), name)

    return step


def _recorded(repair: Repair) -> Repair:
    return replace(repair, before=finite(repair.before), after=finite(repair.after), ridge=finite(repair.ridge))


def _summary(repairs: Sequence[Repair]) -> str:
    if not repairs:
        return "nothing to solve: no layer reads anything else than before"
    solved = [repair for repair in repairs if repair.solved]
    rows = sum(repair.rows for repair in solved)
    return f"{len(solved)} of {len(repairs)} layers solved anew on {rows:,} patches"
