"""The strategy `score`: the smallest model whose score falls by no more than a limit, found by trials.

Each trial is a whole model: cut, recovered and scored on samples that the gate does not report.
"""

from dataclasses import dataclass, field, replace

from torch import nn

from pfa_gate.budget.wording import amount, percent, plural, significant, trimmed
from pfa_gate.config.quantity import Limit
from pfa_gate.config.recipe import RecipeConfig
from pfa_gate.errors import ConfigError, DataError, MetricError, TargetError
from pfa_gate.graph.cost import Cost, cost
from pfa_gate.model.device import model_on
from pfa_gate.model.evaluation import Score
from pfa_gate.pipeline.factorized import factorizing
from pfa_gate.pipeline.halves import halves
from pfa_gate.pipeline.job import LOCAL, GateJob, evaluation_of
from pfa_gate.pipeline.measure_and_cut import cut_exactly, score_model, scores_record
from pfa_gate.pipeline.plan import CutPlan, Planner
from pfa_gate.pipeline.recovery_steps import recover
from pfa_gate.pipeline.smallest import MOST, TriedSize, narrow_down
from pfa_gate.record import Scores, finite
from pfa_gate.record.search import HALF, SearchRecord, SearchTrial
from pfa_gate.runtime.latency import modules_ratio

TOLERANCE = 1e-9  # of a limit, so that the rounding of a difference moves no verdict


def searching(job: GateJob) -> tuple[GateJob, GateJob, str]:
    """The gate with the samples of the search, with those of the report, and what the former are.

    Only this process works on either: other ranks know nothing of the division.

    Raises:
        DataError: there is no evaluation, or too little of it.
    """
    subject = job.subject
    whole = evaluation_of(subject)
    if subject.search is not None:
        searched, name = subject.search, subject.search.name
        reported = whole
    else:
        with job.stages.stage("dividing the evaluation", "evaluation", "data"):
            searched, reported = halves(whole, job.config.probe.seed)
        name = HALF
    one, other = (replace(subject, evaluation=each) for each in (searched, reported))
    return replace(job, subject=one, backend=LOCAL), replace(job, subject=other, backend=LOCAL), name


@dataclass
class Search:
    """A search under way.

    Args:
        job: the gate with the samples of the search.
        planner: of the full model.
        full: the full model's score on these samples.
    """

    job: GateJob
    planner: Planner
    full: Score
    trials: list[SearchTrial] = field(default_factory=list)
    plans: list[CutPlan] = field(default_factory=list)

    def attempt(self, share: float) -> TriedSize | None:
        """Try the counts that come to a share of the full model's size; earlier trials are not tried anew."""
        try:
            plan = self.planner.plan(self._of_size(share))
        except TargetError:
            return None
        index, fresh = self.take(plan)
        whole = getattr(self.planner.measured.full, self._counted)
        return TriedSize(getattr(self.trials[index], self._counted) / whole, self.trials[index].holds, fresh)

    def take(self, plan: CutPlan) -> tuple[int, bool]:
        """Try a plan unless one with the same counts was tried: the index of its trial, and whether it is a new one."""
        known = [each.recipe.counts for each in self.plans]
        if plan.recipe.counts in known:
            return known.index(plan.recipe.counts), False
        self.job.stages.report("searching", len(known), MOST)
        self.trials.append(self.tried(plan))
        self.plans.append(plan)
        return len(known), True

    def chosen(self) -> int:
        """The index of the smallest trial that holds; of two as small, that which falls less.

        Raises:
            TargetError: none holds.
        """
        of = self.job.config.recipe.of or "parameters"
        held = [index for index, trial in enumerate(self.trials) if trial.holds]
        if not held:
            raise self._unreachable()
        return min(held, key=lambda index: (self.trials[index].size(of), self.trials[index].drop))

    @property
    def _counted(self) -> str:
        """The size that is asked for: latency cannot be told from counts, MACs come nearest to it."""
        of = self.job.config.recipe.of or "parameters"
        return "macs" if of == "latency" else of

    def _of_size(self, share: float) -> RecipeConfig:
        size = share * getattr(self.planner.measured.full, self._counted)
        target = Limit(size, "absolute", f"{size:.0f}")
        return self.job.config.recipe.model_copy(update={"strategy": self._counted, self._counted: target})

    def tried(self, plan: CutPlan) -> SearchTrial:
        """Cut, recover and score what a plan says."""
        job, graph, spectra = self.job, self.planner.measured.graph, self.planner.measured.spectra
        with job.stages.stage("searching", "recipe"):
            _, smaller = cut_exactly(
                job, self.planner.measured.graph.coupling, plan.selection.indices, spectra.inactive
            )
        unscored = replace(job, subject=replace(job.subject, evaluation=None))
        factorize = factorizing(job, self.planner, plan)
        model = recover(unscored, graph.program, smaller, self.planner.kept, factorize).compressed.model
        with job.stages.stage("searching", "recipe"):
            size = cost(model, job.subject.example)
        score = score_model(job, model, in_parts=True)
        if score is None:
            raise TypeError("A search has an evaluation.")
        return _trial(job, plan, size, _latency(job, model), scores_record(job.config, self.full, score))

    def _unreachable(self) -> TargetError:
        recipe, full = self.job.config.recipe, self.planner.measured.full
        if not self.trials:
            return TargetError("The strategy score found nothing to cut.", remedy="Choose other layers under layers.")
        best = min(self.trials, key=lambda trial: _bound(trial, recipe))
        limit, sure = recipe.score.text if recipe.score else "", ""
        if recipe.confident and best.interval is not None:
            sure = f"; the upper end of its interval, {self._points(best.interval[1])}, has to keep the limit"
        fact = (
            f"None of {plural(len(self.trials), 'trial')} keeps the fall of the score within {limit}. The best has "
            f"{amount(best.parameters)} parameters ({percent(best.parameters / full.parameters)}), and its score falls "
            f"by {self._points(best.drop)} on {self.full.samples:,} samples{sure}."
        )
        return TargetError(fact, remedy=f"Raise recipe.score, {_more(recipe)} or add a recovery step such as distill.")

    def _points(self, fall: float) -> str:
        return f"{trimmed(100 * fall, 2)} pp" if self.full.share else significant(fall)


def _bound(trial: SearchTrial, recipe: RecipeConfig) -> float:
    """What has to keep the limit: the fall, or the upper end of its interval."""
    return trial.interval[1] if recipe.confident and trial.interval is not None else trial.drop


def _more(recipe: RecipeConfig) -> str:
    return "give more samples to evaluate," if recipe.confident else "give more samples to the probe,"


def _trial(job: GateJob, plan: CutPlan, size: Cost, latency: float | None, scores: Scores | None) -> SearchTrial:
    recipe = job.config.recipe
    if scores is None or scores.compressed is None or scores.drop is None or recipe.score is None:
        raise TypeError("A trial has a score and a limit.")
    found = SearchTrial(
        parameters=size.parameters,
        bytes=size.bytes,
        macs=size.macs,
        latency=latency,
        energy=finite(plan.recipe.energy),
        score=scores.compressed,
        drop=scores.drop,
        interval=scores.interval,
        holds=False,
    )
    return replace(found, holds=_bound(found, recipe) <= _limit(recipe) + TOLERANCE)


def _limit(recipe: RecipeConfig) -> float:
    """Most that the score may fall by: a share where it was written in percentage points."""
    limit = recipe.score
    if limit is None:
        raise TypeError("The strategy score has its limit.")
    return limit.value / 100 if limit.unit == "pp" else limit.value


def _latency(job: GateJob, model: nn.Module) -> float | None:
    if job.config.recipe.of != "latency":
        return None
    subject = job.subject
    with job.stages.stage("timing", "recipe", "of"):
        full, small = model_on(subject.model, subject.device), model_on(model, subject.device)
        return modules_ratio(full, small, subject.example.to(subject.device))


def search(job: GateJob, planner: Planner, data: str) -> CutPlan:
    """Look for the smallest model whose score falls by no more than pfa.yaml allows.

    Args:
        job: the gate with the samples of the search.
        planner: of the full model.
        data: what these samples are, for people.

    Returns:
        The plan of the trial that was taken, with the record of all.

    Raises:
        TargetError: no trial keeps the limit; says what the best one had.
        DataError: the full model is no better than chance, so that no fall says anything.
        MetricError: the upper end of an interval has to keep the limit, and the metric gives no interval.
    """
    full, recipe = score_model(job, job.subject.model, in_parts=True), job.config.recipe
    if full is None:
        raise TypeError("A search has an evaluation.")
    with job.stages.stage("searching", "recipe", "score"):
        _require_a_scale(job, full)
    found = Search(job, planner, full)
    narrow_down(found.attempt)
    with job.stages.stage("searching", "recipe", "score"):
        chosen = found.chosen()
    record = SearchRecord(
        of=recipe.of or "parameters",
        limit=_limit(recipe),
        confident=bool(recipe.confident),
        data=data,
        samples=full.samples,
        full=full.value,
        trials=tuple(found.trials),
        chosen=chosen,
    )
    return replace(found.plans[chosen], search=record)


def _require_a_scale(job: GateJob, full: Score) -> None:
    """Refuse what no fall can be judged by."""
    limit = job.config.recipe.score
    if limit is not None and limit.unit == "pp" and not full.share:
        fact = f"recipe.score is in percentage points, and {job.config.evaluation and job.config.evaluation.metric!r}"
        raise ConfigError(f"{fact} gives plain numbers.", remedy="Write a number in the metric's own unit, say 0.01.")
    alone = scores_record(job.config, full, None)
    if alone is not None and alone.chance:
        raise DataError(f"The strategy score has nothing to hold: {alone.chance}")
    if job.config.recipe.confident and not full.has_interval:
        reason = full.no_parts or "the metric gives none"
        raise MetricError(
            f"recipe.confident needs an interval of the fall, and there is none: {reason}.",
            remedy="Remove it, or give more samples to evaluate.",
        )
