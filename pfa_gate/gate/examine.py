"""From a loaded model to all that can be found out about it: spectra, and a smaller model where one can be proved."""

from collections.abc import Iterator, Mapping, Sequence

import numpy.typing as npt

from pfa_gate.config import GateConfig
from pfa_gate.cost import Cost, cost, latency_ratio
from pfa_gate.coupling import Coupling, Layer, Program, export_model, inputs_of, trace_program
from pfa_gate.errors import TraceError
from pfa_gate.evaluation import Score, score
from pfa_gate.gate.account import Cut, Findings
from pfa_gate.gate.measure import Spectra, responses, spectra
from pfa_gate.gate.recover import recover
from pfa_gate.gate.stages import Stages
from pfa_gate.loading import Batch, Subject
from pfa_gate.probe import chosen_layers, hooked_layers, respond, respond_by_hooks
from pfa_gate.recipe import Recipe, Rule, recipe
from pfa_gate.selection import Evidence, criterion, keep_last
from pfa_gate.surgery import Compressed, compress, fold_constants, removed_and_inactive


def examine(config: GateConfig, subject: Subject, stages: Stages) -> Findings:
    """Measure the layers and build the compressed model; only measure where the model cannot be exported."""
    try:
        with stages.stage("tracing", "model", "factory"):
            program = export_model(subject.model, *inputs_of(subject.example))
            coupling = trace_program(program, config.recipe.residual)
    except TraceError as error:
        return _only_measured(config, subject, stages, error.fact)
    layers, full, found = probed(config, subject, stages, (program, coupling))
    cut = _cut(config, subject, stages, (program, coupling, found, full))
    return Findings(config, coupling.layers, layers, found, full, cut)


def probed(
    config: GateConfig, subject: Subject, stages: Stages, traced: tuple[Program, Coupling]
) -> tuple[tuple[Layer, ...], Cost, Spectra]:
    """The layers that pfa.yaml chooses, what the full model costs, and the spectra, from one pass over the probe."""
    program, coupling = traced
    layers, full = _chosen(config, subject, stages, coupling.layers)
    with stages.stage("probing", "probe", "data"):
        groups = [group for group in coupling.free if _made_by(group.layers, layers)]
        taps = [tap for layer in layers for tap in layer.taps] + [tap for group in groups for tap in group.taps]
        stream = respond(program, _counted(config, subject, stages), taps, config.probe.pooling)
        moments = responses(layers, groups, stream)
    with stages.stage("taking spectra", "probe"):
        return layers, full, spectra(coupling.groups, layers, moments)


def _only_measured(config: GateConfig, subject: Subject, stages: Stages, reason: str) -> Findings:
    every = hooked_layers(subject.model)
    layers, full = _chosen(config, subject, stages, every)
    with stages.stage("probing", "probe", "data"):
        batches = _counted(config, subject, stages)
        moments = responses(layers, (), respond_by_hooks(subject.model, batches, layers, config.probe.pooling))
    with stages.stage("taking spectra", "probe"):
        found = spectra((), layers, moments)
    return Findings(config, every, layers, found, full, None, reason)


def _chosen(
    config: GateConfig, subject: Subject, stages: Stages, layers: Sequence[Layer]
) -> tuple[tuple[Layer, ...], Cost]:
    with stages.stage("choosing layers", "layers"):
        chosen = chosen_layers(subject.model, layers, config.layers.include, config.layers.exclude)
        return chosen, cost(subject.model, subject.example)


def _counted(config: GateConfig, subject: Subject, stages: Stages) -> Iterator[Batch]:
    return stages.counted("probing", subject.probe, -(-subject.probe.samples // config.probe.batch_size))


def _made_by(makers: Sequence[str], layers: Sequence[Layer]) -> bool:
    return {layer.name for layer in layers}.issuperset(makers)


def _cut(
    config: GateConfig, subject: Subject, stages: Stages, measured: tuple[Program, Coupling, Spectra, Cost]
) -> Cut:
    program, coupling, found, full = measured
    with stages.stage("deciding", "recipe"):
        plan = planned(config, coupling, found, full)
    with stages.stage("selecting", "selection"):
        groups = [group for group in coupling.groups if group.name in found.groups]
        evidence = Evidence(program, groups, found.groups, subject.probe, config.probe.seed)
        selection = keep_last(criterion(config.selection)(evidence), plan.keep)
    with stages.stage("cutting and proving", "recipe"):
        inactive = {name: spectrum.inactive for name, spectrum in found.groups.items()}
        coupling, smaller = cut_exactly(config, subject, coupling, selection.kept, inactive)
        small = cost(smaller.model, subject.example)
    smaller, steps = recover(config, subject, (program, smaller), stages)
    scores = _scores(subject, smaller, stages)
    return Cut(coupling, plan, smaller, small, scores, _latency(config, subject, smaller, stages), steps)


def cut_exactly(
    config: GateConfig,
    subject: Subject,
    coupling: Coupling,
    keep: Mapping[str, npt.ArrayLike],
    inactive: Mapping[str, npt.ArrayLike],
) -> tuple[Coupling, Compressed]:
    """Cut the model; filters that are constant go into the biases of their readers first."""
    inputs = inputs_of(subject.example)
    constant = dict(removed_and_inactive(keep, inactive))
    folded = fold_constants(subject.model, coupling, constant, inputs) if constant else None
    if folded is None:
        return coupling, compress(subject.model, coupling, keep, inputs)
    coupling = trace_program(export_model(folded.model, *inputs), config.recipe.residual)
    return coupling, compress(folded.model, coupling, keep, inputs)


def planned(config: GateConfig, coupling: Coupling, found: Spectra, full: Cost) -> Recipe:
    """The recipe of pfa.yaml's strategy, its sizes counted through the coupling."""
    wanted = config.recipe
    limit = {"parameters": wanted.parameters, "bytes": wanted.bytes, "macs": wanted.macs}.get(wanted.strategy)
    target = limit.of(getattr(full, wanted.strategy)) if limit is not None else None
    rule = Rule(wanted.strategy, wanted.energy, target, wanted.round_to, wanted.minimum)
    measure = wanted.strategy if target is not None else "parameters"
    return recipe(found.groups, lambda keep: float(getattr(coupling.footprint(keep), measure)), rule)


def _scores(subject: Subject, smaller: Compressed, stages: Stages) -> tuple[Score, Score] | None:
    if subject.evaluation is None:
        return None
    with stages.stage("scoring", "evaluation", "metric"):
        full = score(subject.model, subject.evaluation, subject.metric)
        return full, score(smaller.model, subject.evaluation, subject.metric)


def _latency(config: GateConfig, subject: Subject, smaller: Compressed, stages: Stages) -> float | None:
    if config.budgets.compressed.latency is None:
        return None
    with stages.stage("timing", "budgets", "compressed", "latency"):
        return latency_ratio(subject.model, smaller.model, subject.example)
