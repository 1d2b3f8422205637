"""The plan of a cut: how many filters each group keeps, and which; in one go, or in rounds with spectra taken anew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Protocol

import numpy as np

from pfa_gate.compress.full_rows import FullRows
from pfa_gate.compress.select import Evidence, Orders, Selection, criterion, keep_last, reader_losses, too_wide
from pfa_gate.compress.select.reconstruction import Losses
from pfa_gate.config import GateConfig
from pfa_gate.config.quantity import Limit
from pfa_gate.config.recipe import RecipeConfig
from pfa_gate.errors import TargetError
from pfa_gate.graph import Coupling, Layer
from pfa_gate.graph.cost import Cost
from pfa_gate.graph.group import Indices
from pfa_gate.model import Subject
from pfa_gate.pipeline.job import GateJob
from pfa_gate.pipeline.measure_and_cut import cut_exactly, measure_again
from pfa_gate.pipeline.recovery_steps import compensate_on_device, compensate_settings, compensates
from pfa_gate.pipeline.sensitivity import measured_losses
from pfa_gate.pipeline.spectra import Spectra
from pfa_gate.pipeline.trace import ModelGraph
from pfa_gate.recipe import Recipe, Rule, recipe, recipe_by_losses
from pfa_gate.record import RoundedForecast
from pfa_gate.record.choice import SelectionChoice
from pfa_gate.record.search import SearchRecord


class StoredBytes(Protocol):
    """What a file other than the floating one stores."""

    @property
    def whole(self) -> int:
        """Bytes of the full model's file."""
        ...

    def bytes(self, coupling: Coupling, counts: Mapping[str, int]) -> int:
        """Those of a cut model's file."""
        ...


@dataclass(frozen=True)
class MeasuredGraph:
    """A model as the probe sees it, and what the full model costs.

    Attributes:
        widths: group name -> filters in the full model, where this is one that was cut.
        stored: what another file of the full model stores, where that is what `bytes` are of.
    """

    graph: ModelGraph
    spectra: Spectra
    full: Cost
    widths: Mapping[str, int] = field(default_factory=dict)
    stored: StoredBytes | None = None

    def size(self, measure: str, counts: Mapping[str, int]) -> float:
        """What the model has of a measure when each group keeps so many filters."""
        if self.stored is not None and measure == "bytes":
            return self.stored.bytes(self.graph.coupling, counts)
        return float(getattr(self.graph.coupling.footprint(counts), measure))


@dataclass(frozen=True)
class CutPlan:
    """The plan of a cut, complete before anything is cut.

    Attributes:
        recipe: how many filters each group keeps in the end.
        selection: which ones, as indices of the full model.
        rounds: filters kept per group after each round.
        search: the trials that led to it, for the strategy `score`.
        choice: how its selection was chosen, for the selection `auto`.
        by_norm: why a group that `reconstruction` was to order is ordered by the L1 norm of its weights.
        forecast: bytes of the int8 file, where they are the recipe's target.
    """

    recipe: Recipe
    selection: Selection
    rounds: tuple[Mapping[str, int], ...]
    by_norm: Mapping[str, str] = field(default_factory=dict)
    search: SearchRecord | None = None
    choice: SelectionChoice | None = None
    forecast: int | None = None


@dataclass(frozen=True)
class Planner:
    """Plans cuts of one model, any number of them: what only the full model decides is computed once.

    Args:
        job: the gate; its stages are timed as deciding, selecting, and measuring again.
        measured: the full model.
        chosen: the layers that are measured again between rounds.
        kept: where a selection keeps values of the full model that compensation needs.
        choice: how the selection was chosen; None where pfa.yaml names it.
    """

    job: GateJob
    measured: MeasuredGraph
    chosen: Sequence[Layer]
    kept: FullRows | None = None
    choice: SelectionChoice | None = None

    def plan(self, wanted: RecipeConfig, stored: StoredBytes | None = None) -> CutPlan:
        """The recipe and the selection; with `rounds`, PFA applied again to what it has left.

        Between rounds a copy of the model is cut, compensated where `recovery` has that step, and measured anew. A size
        target is approached in equal ratios. The copies only serve to decide: what is kept are filters of the full
        model.

        Args:
            wanted: the recipe, of any strategy but `score`.
            stored: what another file of the full model stores, of which `bytes` are then.

        Raises:
            TargetError: its size is out of reach.
        """
        indices = {name: np.arange(spectrum.filters) for name, spectrum in self.measured.spectra.groups.items()}
        widths = {name: len(each) for name, each in indices.items()}
        now, rounds, stored = self.measured, list[Mapping[str, int]](), stored or self.measured.stored
        while True:
            plan, selected = self._round(replace(now, stored=stored), wanted, len(rounds) + 1)
            indices |= {name: indices[name][each] for name, each in selected.indices.items()}
            rounds.append({name: len(each) for name, each in indices.items()})
            if len(rounds) == wanted.rounds:
                whole = replace(plan, counts=dict(rounds[-1]), widths=widths)
                made = CutPlan(whole, Selection(indices), tuple(rounds), self._by_norm, choice=self.choice)
                return replace(made, forecast=self._forecast(rounds[-1], stored))
            with self.job.stages.stage("measuring again", "recipe", "rounds"):
                now = _cut_and_measured(self.job, self.measured, indices, self.chosen)

    def of_counts(self, counts: Mapping[str, int]) -> CutPlan:
        """The plan that keeps so many filters of each group, wherever the counts come from."""
        widths = {name: spectrum.filters for name, spectrum in self.measured.spectra.groups.items()}
        with self.job.stages.stage("selecting", "selection"):
            selected = keep_last(self._orders, dict(counts))
        made = Recipe("parameters", None, dict(counts), widths=widths)
        return CutPlan(made, selected, (counts,), self._by_norm, choice=self.choice)

    def _forecast(self, counts: Mapping[str, int], stored: StoredBytes | None) -> int | None:
        """Bytes of the int8 file, where they are what the recipe is for."""
        return None if stored is None else stored.bytes(self.measured.graph.coupling, counts)

    def _round(self, now: MeasuredGraph, wanted: RecipeConfig, number: int) -> tuple[Recipe, Selection]:
        job, first = self.job, number == 1
        config = job.config.model_copy(update={"recipe": wanted})
        known = self._losses(wanted.statistic) if first else None
        with job.stages.stage("deciding", "recipe"):
            plan = plan_recipe(config, job.subject, replace(now, full=self.measured.full), number, known)
        with job.stages.stage("selecting", "selection"):
            orders = self._orders if first else criterion(config.selection)(evidence_of(config, job.subject, now))
            return plan, keep_last(orders, plan.counts)

    def rounded(self, plan: CutPlan, macs: int) -> RoundedForecast | None:
        """What the recipe would be with `round_to: auto`: counts and sizes, before anything is cut by it.

        Args:
            plan: the recipe as it is.
            macs: of the model that it gave: for the strategy `score`, at whose size it is asked what multiples give.

        Returns:
            None where the recipe keeps such counts already, or has rounds, each of which measures anew.
        """
        wanted = self.job.config.recipe
        if wanted.round_to == "auto" or wanted.rounds > 1:
            return None
        if wanted.strategy == "score":
            size = Limit(float(macs), "absolute", str(macs))
            wanted = wanted.model_copy(update={"strategy": "macs", "macs": size})
        config = self.job.config.model_copy(update={"recipe": wanted.model_copy(update={"round_to": "auto"})})
        try:
            found = plan_recipe(config, self.job.subject, self.measured, losses=self._losses(wanted.statistic))
        except TargetError:  # no multiples are so few
            return None
        keep = {**plan.recipe.counts, **found.counts}
        if keep == plan.recipe.counts:
            return None
        size_of = self.measured.graph.coupling.footprint(keep)
        return RoundedForecast(size_of.parameters, size_of.macs, keep)

    @cached_property
    def _orders(self) -> Orders:
        return criterion(self.job.config.selection)(replace(self._evidence, kept=self.kept))

    def _losses(self, statistic: str | None) -> Mapping[str, Losses] | None:
        """What a removal costs, by a statistic that is no spectrum; taken once for all recipes."""
        if statistic not in ("reconstruction", "measured"):
            return None
        return self.reader_losses if statistic == "reconstruction" else self._moved

    @cached_property
    def reader_losses(self) -> Mapping[str, Losses]:
        """What the readers of each group lose with every further filter removed."""
        with self.job.stages.stage("deciding", "recipe"):
            return reader_losses(self._evidence)

    @cached_property
    def _moved(self) -> Mapping[str, Losses]:
        job, coupling = self.job, self.measured.graph.coupling
        with job.stages.stage("cutting group by group", "recipe", "statistic"):
            report = partial(job.stages.report, "cutting group by group")
            return measured_losses(self._evidence, coupling, job.config.selection, report)

    @cached_property
    def _by_norm(self) -> Mapping[str, str]:
        return too_wide(self._evidence) if self.job.config.selection == "reconstruction" else {}

    @property
    def _evidence(self) -> Evidence:
        return evidence_of(self.job.config, self.job.subject, self.measured)


def plan_recipe(
    config: GateConfig,
    subject: Subject,
    measured: MeasuredGraph,
    number: int | None = None,
    losses: Mapping[str, Losses] | None = None,
) -> Recipe:
    """The recipe of pfa.yaml's strategy, its sizes counted through the coupling.

    Args:
        config: the gate.
        subject: its probe, for a recipe by what the readers lose.
        measured: the model as it is, and what the full one costs.
        number: of the round, from 1; the last one unless given.
        losses: what the readers lose, for a recipe by it; measured unless given.
    """
    wanted, groups = config.recipe, measured.spectra.groups
    if wanted.strategy == "score":
        raise TypeError("The strategy score asks for recipes of sizes; it is none itself.")
    target = _target(wanted, measured, number or wanted.rounds)
    rule = Rule(wanted.strategy, wanted.energy, target, wanted.round_to, wanted.minimum, measured.widths)
    measure = wanted.strategy if target is not None else "macs"  # which rounding must not raise: it is to save time

    def size(keep: Mapping[str, int]) -> float:
        return measured.size(measure, keep)

    if wanted.statistic == "reconstruction":
        known = reader_losses(evidence_of(config, subject, measured)) if losses is None else losses
        return recipe_by_losses(known, {name: each.filters for name, each in groups.items()}, size, rule)
    if wanted.statistic == "measured":
        asked = evidence_of(config, subject, measured), measured.graph.coupling, config.selection
        known = measured_losses(*asked) if losses is None else losses
        return recipe_by_losses(known, {name: each.filters for name, each in groups.items()}, size, rule)
    if wanted.statistic == "standardised":
        groups = {name: each.standardised for name, each in groups.items()}
    return recipe(groups, size, rule)


def _target(wanted: RecipeConfig, measured: MeasuredGraph, number: int) -> float | None:
    """The size to reach in a round: in equal ratios from what the full model has; None for no size."""
    limit = {"parameters": wanted.parameters, "bytes": wanted.bytes, "macs": wanted.macs}.get(wanted.strategy)
    if limit is None:
        return None
    whole = getattr(measured.full, wanted.strategy)
    start = measured.stored.whole if measured.stored is not None and wanted.strategy == "bytes" else whole
    return float(start * (limit.of(whole) / start) ** (number / wanted.rounds))


def evidence_of(config: GateConfig, subject: Subject, measured: MeasuredGraph) -> Evidence:
    """A model as selections see it, with all of the probe."""
    spectra = measured.spectra.groups
    groups = [group for group in measured.graph.coupling.groups if group.name in spectra]
    return Evidence(measured.graph.program, groups, spectra, subject.probe, config.probe.seed, subject.device)


def _cut_and_measured(
    job: GateJob, full: MeasuredGraph, indices: Mapping[str, Indices], chosen: Sequence[Layer]
) -> MeasuredGraph:
    """The model as cut so far, measured anew; a group that was put back, or that is another one now, is left as is."""
    _, smaller = cut_exactly(job, full.graph.coupling, indices, full.spectra.inactive)
    model = smaller.model
    step = next((step for step in job.config.recovery if compensates(step)), None)
    if step is not None:
        settings = compensate_settings(step, job.config.probe.seed)
        model, _ = compensate_on_device(job.subject, full.graph.program, smaller, model, settings)
    graph = ModelGraph.of(model, job.subject.example, job.config.recipe.residual)
    found = measure_again(job, chosen, graph)
    same = {name: each for name, each in found.groups.items() if name in indices and each.filters == len(indices[name])}
    widths = {name: each.filters for name, each in full.spectra.groups.items()}
    return MeasuredGraph(graph, replace(found, groups=same), full.full, widths, full.stored)
