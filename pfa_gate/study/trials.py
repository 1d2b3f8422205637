"""The trials of a task: each a model that is cut, proved, recovered and scored."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from pfa_gate.compress.prune import PrunedModel
from pfa_gate.compress.select import criterion, keep_last
from pfa_gate.config import GateConfig
from pfa_gate.errors import PFAGateError, TargetError
from pfa_gate.graph.cost import cost
from pfa_gate.pipeline.answers import summary
from pfa_gate.pipeline.demands import demanded
from pfa_gate.pipeline.job import GateJob, Stages
from pfa_gate.pipeline.measure_and_cut import cut_exactly
from pfa_gate.pipeline.recovery_steps import recover
from pfa_gate.record import RecoveryStep, Size, finite
from pfa_gate.record.study import Counts, StudyPlan, Trial
from pfa_gate.study.context import TaskContext, scored, stderr_of
from pfa_gate.study.options import Steps, StudyOptions, chains, steps_of, with_strategy
from pfa_gate.study.recipes import TOLERANCE, random, uniform

_TRIAL_ERRORS = (PFAGateError, RuntimeError)


@dataclass(frozen=True)
class TrialSeries:
    """All that is asked of one task.

    Attributes:
        ask: what to compare.
        runs: recoveries that one run serves, the first with all the steps.
        baseline: those of the uniform and the random recipes: the first recovery, and what is on the way to it.
    """

    ask: StudyOptions
    runs: tuple[tuple[str, ...], ...]
    baseline: tuple[str, ...]

    @classmethod
    def of(cls, config: GateConfig, ask: StudyOptions) -> "TrialSeries":
        """Check every word of what is asked, before anything runs.

        Raises:
            ConfigError: there is no such strategy, selection or recovery.
        """
        for strategy in ask.strategies:
            with_strategy(config, strategy)
        for selection in ask.selections:
            criterion(selection)
        first = ask.recoveries[0]
        on_the_way = [each for each in ask.recoveries if steps_of(first)[: len(steps_of(each))] == steps_of(each)]
        return cls(ask, chains(ask.recoveries), chains(on_the_way)[0])

    @property
    def models(self) -> int:
        """Models that are cut and recovered for one task."""
        methods = sum(len(self.ask.seeds_of(selection)) for selection in self.ask.selections) * len(self.runs)
        return len(self.ask.strategies) * (methods + self.ask.uniform + self.ask.random)

    @property
    def trials(self) -> int:
        """Scores of one task: a model is scored after each recovery on its way."""
        methods = sum(len(self.ask.seeds_of(selection)) for selection in self.ask.selections)
        others = (self.ask.uniform + self.ask.random) * len(self.baseline)
        return len(self.ask.strategies) * (methods * len(self.ask.recoveries) + others)


@dataclass(frozen=True)
class _ModelSpec:
    """What makes the models of some trials differ from others: counts, selection and their draws."""

    plan: StudyPlan
    counts: Counts = "pfa"
    draw: int = 0
    selection: str = ""
    seed: int = 0

    def trial(self, recovery: str, keep: Mapping[str, int], reason: str | None = None) -> Trial:
        plan, selection = self.plan, self.selection
        return Trial(
            plan.task, plan.strategy, self.counts, self.draw, selection, self.seed, recovery,
            dict(keep), None, None, None, 0.0, reason,
        )  # fmt: skip


def plans(context: TaskContext, strategies: Sequence[str]) -> Iterator[StudyPlan]:
    """What each strategy makes of a task; a strategy that cannot has the reason."""
    for strategy in strategies:
        try:
            keep = context.plan(strategy).counts
        except PFAGateError as error:
            yield StudyPlan(context.task.name, strategy, 0, None, {}, error.fact)
            continue
        size = context.graph.coupling.footprint(keep)
        filters = sum(keep.values())
        yield StudyPlan(context.task.name, strategy, filters, Size(size.parameters, size.bytes, size.macs), keep)


def trials(context: TaskContext, series: TrialSeries, made: Sequence[StudyPlan], stages: Stages) -> Iterator[Trial]:
    """Every trial of a task, one after the other.

    An error of one is a trial with the reason. Without a recipe of the strategy there is no number of parameters to
    compare at, so its uniform and random recipes are left out.
    """
    for plan in made:
        for selection in series.ask.selections:
            for seed in series.ask.seeds_of(selection):
                each = _ModelSpec(plan, "pfa", 0, selection, seed)
                for run in series.runs:
                    yield from _run(context, each, partial(_planned, plan), run, stages)
        if plan.size is not None:
            yield from _compared(context, series, plan, stages)


def _compared(context: TaskContext, series: TrialSeries, plan: StudyPlan, stages: Stages) -> Iterator[Trial]:
    """The uniform and the random recipes at the parameters of a plan."""
    space, target, seed = context.space, float(plan.size.parameters if plan.size else 0), context.config.probe.seed
    selection = series.ask.selections[0]
    if series.ask.uniform:
        recipe = partial(uniform, space, target)
        yield from _run(context, _ModelSpec(plan, "uniform", 0, selection), recipe, series.baseline, stages)
    for draw in range(series.ask.random):
        recipe = partial(random, space, target, seed, draw)
        yield from _run(context, _ModelSpec(plan, "random", draw, selection), recipe, series.baseline, stages)


def _planned(plan: StudyPlan) -> Mapping[str, int]:
    if plan.reason is not None:
        raise TargetError(plan.reason)
    return plan.keep


def _run(
    context: TaskContext, each: _ModelSpec, recipe: Callable[[], Mapping[str, int]], run: Sequence[str], stages: Stages
) -> Iterator[Trial]:
    """One model, scored after each recovery of a run; where the whole run fails, each recovery has its own."""
    keep: Mapping[str, int] = {}
    try:
        keep = recipe()
        yield from _scored(context, each, keep, run, stages)
    except _TRIAL_ERRORS as error:
        if len(run) > 1 and keep:
            for recovery in run:
                yield from _run(context, each, recipe, (recovery,), stages)
        else:
            yield from (each.trial(recovery, keep, reason_of(error)) for recovery in run)


def _scored(
    context: TaskContext, each: _ModelSpec, keep: Mapping[str, int], run: Sequence[str], stages: Stages
) -> list[Trial]:
    subject = context.subject
    chosen = keep_last(context.orders(each.selection, each.seed), dict(keep)).indices
    started = time.perf_counter()
    inactive = {name: spectrum.inactive for name, spectrum in context.spectra.groups.items()}
    job = GateJob(context.config, subject, stages)
    _, smaller = cut_exactly(job, context.graph.coupling, chosen, inactive)
    found = cost(smaller.model, subject.example)
    cutting = time.perf_counter() - started
    _check_equal(each, found.parameters)
    steps = _recovery(context, smaller, steps_of(run[0]), stages)
    size = Size(found.parameters, found.bytes, found.macs)
    size = demanded(size, smaller.model, subject.example, context.config.energy)
    blank = replace(each.trial("", keep), size=size)
    return [_ended(context, replace(blank, recovery=recovery), cutting, steps) for recovery in run]


def _recovery(context: TaskContext, smaller: PrunedModel, steps: Steps, stages: Stages) -> tuple[RecoveryStep, ...]:
    """The score after the cut and after each step."""
    if not steps:
        found = scored(context.subject, smaller.model, context.kept)
        return (RecoveryStep("cut", None if found is None else finite(found.value), 0.0, answers=summary(found)),)
    config = context.config.model_copy(update={"recovery": steps})
    job = GateJob(config, context.subject, stages, kept=context.kept)
    return recover(job, context.graph.program, smaller).steps


def _ended(context: TaskContext, trial: Trial, cutting: float, steps: Sequence[RecoveryStep]) -> Trial:
    """A trial with what was found when its last step was done."""
    done = steps[: 1 + len(steps_of(trial.recovery))]
    accuracy = done[-1].accuracy
    known = context.task.stderr is not None and accuracy is not None
    return replace(
        trial,
        accuracy=accuracy,
        stderr=stderr_of(accuracy, context.task.evaluation) if known and accuracy is not None else None,
        seconds=round(cutting + sum(step.seconds for step in done), 3),
        answers=done[-1].answers,
        reason="its score is not a finite number" if accuracy is None else None,
    )


def _check_equal(each: _ModelSpec, parameters: int) -> None:
    target = each.plan.size.parameters if each.plan.size else 0
    if each.counts != "pfa" and abs(parameters - target) > TOLERANCE * target:
        raise TargetError(f"The model has {parameters:,} parameters; {target:,} were wanted, within {TOLERANCE:.0%}.")


def reason_of(error: Exception) -> str:
    r"""The fact of an error of ours, or the first line of torch's.

    Example:
        >>> reason_of(TargetError("The smallest recipe has 3 parameters.")), reason_of(RuntimeError("a\nb"))
        ('The smallest recipe has 3 parameters.', 'RuntimeError: a')
    """
    if isinstance(error, PFAGateError):
        return error.fact
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
