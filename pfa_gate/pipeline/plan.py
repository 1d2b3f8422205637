"""The plan of a cut: how many filters each group keeps, and which; in one go, or in rounds with spectra taken anew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pfa_gate.compress.full_rows import FullRows
from pfa_gate.compress.select import Evidence, Selection, criterion, keep_last, reader_losses, too_wide
from pfa_gate.config import GateConfig
from pfa_gate.graph import Layer
from pfa_gate.graph.cost import Cost
from pfa_gate.graph.group import Indices
from pfa_gate.model import Subject
from pfa_gate.pipeline.job import GateJob
from pfa_gate.pipeline.measure_and_cut import cut_exactly, measure_again
from pfa_gate.pipeline.recovery_steps import compensate_on_device, compensate_settings, compensates
from pfa_gate.pipeline.spectra import Spectra
from pfa_gate.pipeline.trace import ModelGraph
from pfa_gate.recipe import Recipe, Rule, recipe, recipe_by_losses


@dataclass(frozen=True)
class MeasuredGraph:
    """A model as the probe sees it, and what the full model costs."""

    graph: ModelGraph
    spectra: Spectra
    full: Cost


@dataclass(frozen=True)
class CutPlan:
    """The plan of a cut, complete before anything is cut.

    Attributes:
        recipe: how many filters each group keeps in the end.
        selection: which ones, as indices of the full model.
        rounds: filters kept per group after each round.
        by_norm: why a group that `reconstruction` was to order is ordered by the L1 norm of its weights.
    """

    recipe: Recipe
    selection: Selection
    rounds: tuple[Mapping[str, int], ...]
    by_norm: Mapping[str, str] = field(default_factory=dict)


def plan_cut(job: GateJob, measured: MeasuredGraph, chosen: Sequence[Layer], kept: FullRows | None = None) -> CutPlan:
    """The recipe and the selection; with `recipe.rounds`, PFA applied again to what it has left.

    Between rounds a copy of the model is cut, compensated where `recovery` has that step, and measured anew. A size
    target is approached in equal ratios. The copies only serve to decide: what is kept are filters of the full model.

    Args:
        job: the gate; its stages are timed as deciding, selecting, and measuring again.
        measured: the full model.
        chosen: the layers that are measured again between rounds.
        kept: where a selection keeps values of the full model that compensation needs.
    """
    indices = {name: np.arange(spectrum.filters) for name, spectrum in measured.spectra.groups.items()}
    widths = {name: len(each) for name, each in indices.items()}
    now, rounds = measured, list[Mapping[str, int]]()
    while True:
        with job.stages.stage("deciding", "recipe"):
            plan = plan_recipe(job.config, job.subject, replace(now, full=measured.full), len(rounds) + 1)
        with job.stages.stage("selecting", "selection"):
            selected = _selected(job, now, plan, kept if now is measured else None)
        indices |= {name: indices[name][each] for name, each in selected.indices.items()}
        rounds.append({name: len(each) for name, each in indices.items()})
        if len(rounds) == job.config.recipe.rounds:
            whole = replace(plan, counts=dict(rounds[-1]), widths=widths)
            return CutPlan(whole, Selection(indices), tuple(rounds), _by_norm(job, measured))
        with job.stages.stage("measuring again", "recipe", "rounds"):
            now = _cut_and_measured(job, measured, indices, chosen)


def plan_recipe(config: GateConfig, subject: Subject, measured: MeasuredGraph, number: int | None = None) -> Recipe:
    """The recipe of pfa.yaml's strategy, its sizes counted through the coupling.

    Args:
        config: the gate.
        subject: its probe, for a recipe by what the readers lose.
        measured: the model as it is, and what the full one costs.
        number: of the round, from 1; the last one unless given.
    """
    wanted, groups = config.recipe, measured.spectra.groups
    limit = {"parameters": wanted.parameters, "bytes": wanted.bytes, "macs": wanted.macs}.get(wanted.strategy)
    target = None
    if limit is not None:
        whole = getattr(measured.full, wanted.strategy)
        target = whole * (limit.of(whole) / whole) ** ((number or wanted.rounds) / wanted.rounds)
    rule = Rule(wanted.strategy, wanted.energy, target, wanted.round_to, wanted.minimum)
    measure = wanted.strategy if target is not None else "parameters"

    def size(keep: Mapping[str, int]) -> float:
        return float(getattr(measured.graph.coupling.footprint(keep), measure))

    if wanted.statistic == "reconstruction":
        losses = reader_losses(_evidence(config, subject, measured))
        return recipe_by_losses(losses, {name: each.filters for name, each in groups.items()}, size, rule)
    if wanted.statistic == "standardised":
        groups = {name: each.standardised for name, each in groups.items()}
    return recipe(groups, size, rule)


def _selected(job: GateJob, measured: MeasuredGraph, plan: Recipe, kept: FullRows | None) -> Selection:
    evidence = replace(_evidence(job.config, job.subject, measured), kept=kept)
    return keep_last(criterion(job.config.selection)(evidence), plan.counts)


def _by_norm(job: GateJob, measured: MeasuredGraph) -> Mapping[str, str]:
    asked = job.config.selection == "reconstruction"
    return too_wide(_evidence(job.config, job.subject, measured)) if asked else {}


def _evidence(config: GateConfig, subject: Subject, measured: MeasuredGraph) -> Evidence:
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
    return MeasuredGraph(graph, replace(found, groups=same), full.full)
