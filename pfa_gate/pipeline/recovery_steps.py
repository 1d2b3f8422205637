"""The recovery steps in the order written, each timed and scored."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import nn

from pfa_gate.compress.prune import PrunedModel
from pfa_gate.compress.recover import DistillResult, DistillSettings
from pfa_gate.compress.recover.distill import distill
from pfa_gate.compress.recover.finetune import finetune
from pfa_gate.compress.recover.recalibrate import recalibrate
from pfa_gate.compress.repair import Repair
from pfa_gate.config import GateConfig
from pfa_gate.config.sections import DistillOptions, DistillStep, FinetuneStep
from pfa_gate.graph import Program
from pfa_gate.model import Subject
from pfa_gate.model.device import CPU, placed
from pfa_gate.model.evaluation import Score
from pfa_gate.model.import_callable import resolve
from pfa_gate.pipeline.backend import LOCAL, MeasurementBackend
from pfa_gate.pipeline.compensation import mend
from pfa_gate.pipeline.stages import Stages
from pfa_gate.record import RecoveryStep, finite


@dataclass(frozen=True)
class Done:
    """A model after a step, what the step did in one line, and layer by layer where it has layers."""

    model: nn.Module
    detail: str
    repairs: tuple[Repair, ...] = ()


Step = Callable[[nn.Module], Done]


def recover(
    config: GateConfig,
    subject: Subject,
    cut: tuple[Program, PrunedModel],
    stages: Stages,
    hands: MeasurementBackend = LOCAL,
) -> tuple[PrunedModel, tuple[RecoveryStep, ...], Score | None]:
    """Run the steps of pfa.yaml on a proved smaller model.

    Args:
        config: the gate.
        subject: the full model and its data.
        cut: the full model's program, and the smaller model.
        stages: timed under the step's name.
        hands: who scores.

    Returns:
        The smaller model after the last step, what each one bought (nothing without any step), and the model's score,
        or None without any step or evaluation.
    """
    full, compressed = cut
    if not config.recovery:
        return compressed, (), None
    model = compressed.model
    score = _scored(hands, subject, model, stages)
    found = [RecoveryStep("cut", _value(score), 0.0)]
    for name, step in _steps(config, subject, full, compressed, stages):
        started = time.perf_counter()
        with stages.stage(name, "recovery"):
            done = step(model)
        taken, model = time.perf_counter() - started, done.model
        score = _scored(hands, subject, model, stages, in_parts=len(found) == len(config.recovery))
        found.append(RecoveryStep(name, _value(score), round(taken, 3), done.detail, done.repairs))
    return replace(compressed, model=model), tuple(found), score


def _scored(
    hands: MeasurementBackend, subject: Subject, model: nn.Module, stages: Stages, *, in_parts: bool = False
) -> Score | None:
    if subject.evaluation is None:
        return None
    with stages.stage("scoring", "evaluation", "metric"):
        return hands.score(subject, model, in_parts=in_parts)


def _value(score: Score | None) -> float | None:
    return None if score is None else finite(score.value)


def _steps(
    config: GateConfig, subject: Subject, full: Program, compressed: PrunedModel, stages: Stages
) -> Iterator[tuple[str, Step]]:
    seed, probe = config.probe.seed, subject.probe

    def compensated(model: nn.Module) -> Done:
        mended, repairs = mend(subject, full, model, compressed.axis_indices, seed)
        return Done(mended, _told(repairs), tuple(_recorded(repair) for repair in repairs))

    def recalibrated(model: nn.Module) -> Done:
        fresh, count = recalibrate(placed(model, subject.device), probe)
        return Done(placed(fresh, CPU), f"{count} batch norms")

    known: dict[str, Step] = {"compensate": compensated, "recalibrate": recalibrated}
    for step in config.recovery:
        if step == "distill":
            yield "distill", _distilled(DistillOptions(), subject, stages, seed)
        elif isinstance(step, DistillStep):
            yield "distill", _distilled(step.distill, subject, stages, seed)
        elif isinstance(step, FinetuneStep):
            yield "finetune", _finetuned(step.finetune, subject, stages.folder, seed)
        else:
            yield step, known[step]


def _distilled(options: DistillOptions, subject: Subject, stages: Stages, seed: int) -> Step:
    def step(model: nn.Module) -> Done:
        augment = resolve(options.augment, stages.folder) if options.augment else None
        course = DistillSettings(options.steps, options.rate, statistics=options.statistics, seed=seed, augment=augment)
        told = partial(stages.report, "distill")
        full, pupil = placed(subject.model, subject.device), placed(model, subject.device)
        found = distill(full, pupil, subject.probe, course, told)
        return Done(placed(found.model, CPU), _learnt(found, course.steps))

    return step


def _learnt(found: DistillResult, steps: int) -> str:
    if found.before is None or found.after is None:
        return f"{steps} steps; no sample was held out"
    gaps = f"squared error on held-out answers {found.before:.2%} -> {found.after:.2%}"
    return f"{steps} steps; {gaps}" + ("; undone, as it came no closer" if found.undone else "")


def _finetuned(name: str, subject: Subject, folder: Path, seed: int) -> Step:
    def step(model: nn.Module) -> Done:
        return Done(finetune(model, subject.probe, resolve(name, folder), seed), name)

    return step


def _recorded(repair: Repair) -> Repair:
    return replace(repair, before=finite(repair.before), after=finite(repair.after), ridge=finite(repair.ridge))


def _told(repairs: Sequence[Repair]) -> str:
    solved = [repair for repair in repairs if repair.solved]
    rows = sum(repair.rows for repair in solved)
    return f"{len(solved)} of {len(repairs)} layers solved anew on {rows:,} patches"
