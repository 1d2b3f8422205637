"""The step `factorize`: ranks planned, layers solved with these ranks, each put in two, and the split proved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from torch import nn

from pfa_gate.analysis.layer_patterns import matches, require_matched
from pfa_gate.budget.wording import plural
from pfa_gate.compress.factorize import FactorableLayer, FactorableLayers, LowRank, RankPlan, SplitModel, factorable
from pfa_gate.compress.factorize.plan import (
    Lost,
    SizeGoal,
    by_energy,
    by_size,
    given_ranks,
    losses,
    provable,
    without_cheaper_cuts,
)
from pfa_gate.compress.factorize.split import split
from pfa_gate.compress.factorize.two_layers import WeightPair
from pfa_gate.compress.prune import PrunedModel
from pfa_gate.compress.repair import Repair
from pfa_gate.compress.select import Evidence
from pfa_gate.config.factorize import WAYS, FactorizeConfig
from pfa_gate.graph import Layer, Program, inputs_of, record_model
from pfa_gate.graph.cost import macs, stored
from pfa_gate.pipeline.job import GateJob
from pfa_gate.pipeline.recovery_steps import Factorize, Solve, StepResult
from pfa_gate.record import Exact, FactorizedLayer, FactorizedRecord, finite

if TYPE_CHECKING:
    from pfa_gate.pipeline.plan import CutPlan, Planner


@dataclass(frozen=True)
class Factorizer:
    """Factorizes models that were cut from one full model.

    Args:
        job: the gate.
        planner: of the cut: it has measured the full model.
        plan: of the cut.
    """

    job: GateJob
    planner: "Planner"
    plan: "CutPlan"

    @property
    def asked(self) -> FactorizeConfig:
        """The section of pfa.yaml.

        Raises:
            TypeError: there is none.
        """
        found = self.job.config.factorize
        if found is None:
            raise TypeError("The gate has no section factorize.")
        return found

    def factorize(self, compressed: PrunedModel, model: nn.Module, solve: Solve) -> StepResult:
        """Plan the ranks, solve the layers with them, put each in two, and prove it; what cannot be proved is one.

        Args:
            compressed: what pruning left of each parameter.
            model: the compressed model as it is now; it is not changed.
            solve: solves its layers under a constraint.
        """
        inputs = inputs_of(self.job.subject.example)
        program = record_model(model, *inputs)
        every = factorable(program, model)
        plan = self._plan(program, compressed, model, provable(model, every, self._wanted(every), inputs))
        while plan.ranks:
            constraint = LowRank(plan.ranks, every.layers)
            projected, repairs = solve(model, constraint)
            plan = plan.without(_unsolved(plan, constraint, repairs))
            if not plan.ranks:
                break
            found = split(projected, _pairs(every, constraint, projected, plan), inputs)
            if not found.failed:
                record = self._record(every, plan, found, constraint)
                return StepResult(found.model, _summary(record), repairs, factorized=record)
            plan = plan.without({name: f"its proof fails: {fault}" for name, fault in found.failed.items()})
        return StepResult(model, "no layer became two", factorized=self._record(every, plan))

    def _wanted(self, every: FactorableLayers) -> list[str]:
        """The layers that may become two."""
        names = [*every.layers, *every.whole]
        patterns = self.asked.layers or (tuple(self.asked.ranks) if self.asked.ranks else None)
        if patterns is not None:
            key = "factorize.layers" if self.asked.layers else "factorize.ranks"
            require_matched(patterns, names, key)
            return [name for name in names if matches(name, patterns)]
        return [layer.name for layer in self.planner.chosen if layer.name in names]

    def _plan(self, program: Program, compressed: PrunedModel, model: nn.Module, found: FactorableLayers) -> RankPlan:
        asked = self.asked
        if asked.ranks is not None:
            return given_ranks(found, {name: _last(asked.ranks, name) for name in found.layers})
        job, alone = self.job, asked.layers is not None and asked.energy is not None
        evidence = Evidence(program, [], {}, job.subject.probe, job.config.probe.seed, job.subject.device)
        lost = {} if alone else losses(evidence, found.layers)
        if asked.energy is not None:
            plan = partial(by_energy, shares=self._shares(compressed), energy=asked.energy)
        else:
            plan = partial(by_size, lost=lost, goal=self._goal(model))
        if asked.layers is not None:
            return plan(found)
        return without_cheaper_cuts(found, lost, plan, partial(self._cheaper_to_cut, compressed))

    def _goal(self, model: nn.Module) -> SizeGoal:
        full = self.planner.measured.full
        if self.asked.macs is not None:
            return SizeGoal("macs", macs(model, self.job.subject.example), _whole(self.asked.macs.of(full.macs)))
        if self.asked.parameters is not None:
            return SizeGoal("parameters", stored(model).parameters, _whole(self.asked.parameters.of(full.parameters)))
        raise TypeError("factorize has no size.")

    def _shares(self, compressed: PrunedModel) -> Lost:
        """What each direction of a layer's outputs carries, by the spectrum of the filters that are left of it."""
        found = {}
        for layer in self.planner.chosen:
            spectrum = self.planner.measured.spectra.layers.get(layer.name)
            left = compressed.axis_indices.get(layer.weight, {}).get(layer.axis)
            if spectrum is not None:
                found[layer.name] = spectrum.eigenvalues if left is None else spectrum.shares(layer.kept(left))
        return found

    def _cannot_be_cut(self, layer: Layer, compressed: PrunedModel) -> bool:
        kept_whole = {*self.planner.measured.spectra.whole, *compressed.put_back}
        return layer.frozen is not None or not layer.groups or not kept_whole.isdisjoint(layer.groups)

    def _cheaper_to_cut(self, compressed: PrunedModel, split_layer: FactorableLayer, rank: int, lost: float) -> bool:
        """Whether further filters of a layer can go that are as many parameters, at no more loss to what reads them.

        Where it is not known what a cut loses, the layer is left to the recipe.
        """
        layer = self._layers[split_layer.call.layer]
        if self._cannot_be_cut(layer, compressed):
            return False
        losses = self.planner.reader_losses.get(layer.groups[0])
        if losses is None or len(layer.groups) > 1:
            return True
        name, counts = layer.groups[0], self.plan.recipe.counts
        keep = counts.get(name, len(losses))
        gone = len(losses) - keep
        measure = "macs" if self.asked.macs is not None else "parameters"
        wanted = split_layer.size(measure) - split_layer.size(measure, rank)
        coupling = self.planner.measured.graph.coupling
        now = getattr(coupling.footprint(counts), measure)
        for more in range(1, keep):
            if now - getattr(coupling.footprint({**counts, name: keep - more}), measure) >= wanted:
                return bool(losses[gone : gone + more].sum() <= lost)
        return False

    @cached_property
    def _layers(self) -> Mapping[str, Layer]:
        return {layer.name: layer for layer in self.planner.measured.graph.coupling.layers}

    def _record(
        self, every: FactorableLayers, plan: RankPlan, found: SplitModel | None = None, solved: LowRank | None = None
    ) -> FactorizedRecord:
        asked, full = self.asked, self.planner.measured.full
        sizes = {"parameters": (asked.parameters, full.parameters), "macs": (asked.macs, full.macs)}
        targets = {way: float(_whole(limit.of(whole))) for way, (limit, whole) in sizes.items() if limit is not None}
        way: Any = next((key for key in WAYS if getattr(asked, key) is not None), "ranks")
        proof = found.proof if found is not None else None
        order = [*every.layers, *every.whole]
        return FactorizedRecord(
            way=way,
            target=targets.get(way, asked.energy),
            layers=tuple(
                _layer_record(every.layers[name], rank, plan.energy.get(name), solved.lost[name])
                for name, rank in plan.ranks.items()
                if solved is not None
            ),
            whole={name: plan.whole[name] for name in sorted(plan.whole, key=order.index)},
            exact=Exact(finite(proof.max_error), proof.passed) if proof else None,
            tolerance=proof.tolerance if proof else None,
            chosen=asked.layers is not None or asked.ranks is not None,
        )


def factorizing(job: GateJob, planner: "Planner", plan: "CutPlan") -> Factorize | None:
    """What factorizes a model that was cut by a plan; None where pfa.yaml has no section factorize."""
    return None if job.config.factorize is None else Factorizer(job, planner, plan).factorize


def _unsolved(plan: RankPlan, solved: LowRank, repairs: Sequence[Repair]) -> dict[str, str]:
    """Planned layers that were not solved, and why."""
    reasons = {repair.layer: repair.reason for repair in repairs}
    left = (name for name in plan.ranks if name not in solved.factors)
    return {name: f"it was not solved: {reasons.get(name) or 'it is no layer of the full model'}" for name in left}


def _summary(record: FactorizedRecord) -> str:
    """What the step did, in one line."""
    ranks = sorted(layer.rank for layer in record.layers)
    span = f"of rank {ranks[0]:,}" if ranks[0] == ranks[-1] else f"of ranks {ranks[0]:,} to {ranks[-1]:,}"
    fewer = sum(layer.parameters[0] - layer.parameters[1] for layer in record.layers)
    return f"{plural(len(ranks), 'layer')} became two each, {span}: {fewer:,} parameters fewer"


def _whole(size: float) -> int:
    return int(size + 1e-9)


def _last(ranks: Mapping[str, int], layer: str) -> int:
    """The rank of the last pattern that matches."""
    return [rank for pattern, rank in ranks.items() if matches(layer, [pattern])][-1]


def _pairs(every: FactorableLayers, solved: LowRank, model: nn.Module, plan: RankPlan) -> dict[str, WeightPair]:
    weights = dict(model.named_parameters(remove_duplicate=False))
    calls = {name: every.layers[name].call for name in plan.ranks}
    return {name: WeightPair.of(call, solved.factors[name], weights[call.weight]) for name, call in calls.items()}


def _layer_record(layer: FactorableLayer, rank: int, energy: float | None, lost: float) -> FactorizedLayer:
    return FactorizedLayer(
        name=layer.call.layer,
        kind=layer.kind,
        rank=rank,
        columns=layer.columns,
        filters=layer.filters,
        parameters=(layer.parameters(), layer.parameters(rank)),
        macs=(layer.macs(), layer.macs(rank)),
        energy=finite(energy),
        lost=lost,
    )
