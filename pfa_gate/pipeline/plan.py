"""How many filters each group keeps, and which: in one go, or in rounds with the spectra taken anew."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pfa_gate.compress.prune import PrunedModel, compress, fold_constants, removed_and_inactive
from pfa_gate.compress.select import Evidence, Selection, criterion, keep_last, reader_losses
from pfa_gate.config import GateConfig
from pfa_gate.graph import Coupling, Program, export_model, inputs_of, trace_program
from pfa_gate.graph.cost import Cost
from pfa_gate.model import Subject
from pfa_gate.pipeline.compensation import mend
from pfa_gate.pipeline.spectra import Spectra
from pfa_gate.pipeline.stages import Stages
from pfa_gate.recipe import Recipe, Rule, recipe, recipe_by_losses

Indices = npt.NDArray[np.int64]
Probe = Callable[[Program, Coupling], Spectra]


@dataclass(frozen=True)
class Measured:
    """A model as the probe sees it, and what the full model costs."""

    program: Program
    coupling: Coupling
    spectra: Spectra
    full: Cost


@dataclass(frozen=True)
class Decision:
    """The plan of a cut, complete before anything is cut.

    Attributes:
        recipe: how many filters each group keeps in the end.
        selection: which ones, as indices of the full model.
        rounds: filters kept per group after each round.
    """

    recipe: Recipe
    selection: Selection
    rounds: tuple[Mapping[str, int], ...]


def decide(config: GateConfig, subject: Subject, measured: Measured, probe: Probe, stages: Stages) -> Decision:
    """The recipe and the selection; with `recipe.rounds`, PFA applied again to what it has left.

    Between rounds a copy of the model is cut, compensated where `recovery` has that step, and measured anew. A size
    target is approached in equal ratios. The copies only serve to decide: what is kept are filters of the full model.

    Args:
        config: the gate.
        subject: the full model and its probe.
        measured: the full model.
        probe: measures a smaller model.
        stages: timed as deciding, selecting, and measuring again.
    """
    kept = {name: np.arange(spectrum.filters) for name, spectrum in measured.spectra.groups.items()}
    widths = {name: len(indices) for name, indices in kept.items()}
    now, rounds = measured, list[Mapping[str, int]]()
    while True:
        with stages.stage("deciding", "recipe"):
            plan = planned(config, subject, replace(now, full=measured.full), len(rounds) + 1)
        with stages.stage("selecting", "selection"):
            chosen = _selected(config, subject, now, plan)
        kept |= {name: kept[name][indices] for name, indices in chosen.indices.items()}
        rounds.append({name: len(indices) for name, indices in kept.items()})
        if len(rounds) == config.recipe.rounds:
            return Decision(replace(plan, counts=dict(rounds[-1]), widths=widths), Selection(kept), tuple(rounds))
        with stages.stage("measuring again", "recipe", "rounds"):
            now = _again(config, subject, measured, kept, probe)


def planned(config: GateConfig, subject: Subject, measured: Measured, number: int | None = None) -> Recipe:
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
        return float(getattr(measured.coupling.footprint(keep), measure))

    if wanted.statistic == "reconstruction":
        losses = reader_losses(_evidence(config, subject, measured))
        return recipe_by_losses(losses, {name: each.filters for name, each in groups.items()}, size, rule)
    if wanted.statistic == "standardised":
        groups = {name: each.standardised for name, each in groups.items()}
    return recipe(groups, size, rule)


def cut_exactly(
    config: GateConfig,
    subject: Subject,
    coupling: Coupling,
    keep: Mapping[str, npt.ArrayLike],
    inactive: Mapping[str, npt.ArrayLike],
) -> tuple[Coupling, PrunedModel]:
    """Cut the full model; filters that are constant go into the biases of their readers first."""
    inputs = inputs_of(subject.example)
    constant = dict(removed_and_inactive(keep, inactive))
    folded = fold_constants(subject.model, coupling, constant, inputs) if constant else None
    if folded is None:
        return coupling, compress(subject.model, coupling, keep, inputs)
    coupling = trace_program(export_model(folded.model, *inputs), config.recipe.residual)
    return coupling, compress(folded.model, coupling, keep, inputs)


def _selected(config: GateConfig, subject: Subject, now: Measured, plan: Recipe) -> Selection:
    return keep_last(criterion(config.selection)(_evidence(config, subject, now)), plan.counts)


def _evidence(config: GateConfig, subject: Subject, now: Measured) -> Evidence:
    spectra = now.spectra.groups
    groups = [group for group in now.coupling.groups if group.name in spectra]
    return Evidence(now.program, groups, spectra, subject.probe, config.probe.seed, subject.device)


def _again(config: GateConfig, subject: Subject, full: Measured, kept: Mapping[str, Indices], probe: Probe) -> Measured:
    """The model as cut so far, measured anew; a group that was put back, or that is another one now, is left as is."""
    _, smaller = cut_exactly(config, subject, full.coupling, kept, full.spectra.inactive)
    model = smaller.model
    if "compensate" in config.recovery:
        model, _ = mend(subject, full.program, model, smaller.axis_indices, config.probe.seed)
    program = export_model(model, *inputs_of(subject.example))
    coupling = trace_program(program, config.recipe.residual)
    found = probe(program, coupling)
    same = {name: each for name, each in found.groups.items() if name in kept and each.filters == len(kept[name])}
    return Measured(program, coupling, replace(found, groups=same), full.full)
