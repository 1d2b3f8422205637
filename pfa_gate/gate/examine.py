"""From a loaded model to all that can be found out about it: spectra, and a smaller model where one can be proved."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pfa_gate.config import GateConfig
from pfa_gate.cost import Cost, cost, latency_ratio
from pfa_gate.coupling import Coupling, Group, Layer, Program, Tap, export_model, inputs_of, trace_program
from pfa_gate.errors import TraceError
from pfa_gate.evaluation import Score, score
from pfa_gate.gate.account import Cut, Findings
from pfa_gate.gate.decide import Measured, cut_exactly, decide
from pfa_gate.gate.elsewhere import Elsewhere
from pfa_gate.gate.measure import Shards, Spectra, responses, spectra
from pfa_gate.gate.recover import recover
from pfa_gate.gate.stages import Stages
from pfa_gate.loading import Batch, Subject
from pfa_gate.probe import chosen_layers, hooked_layers, respond, respond_by_hooks
from pfa_gate.surgery import Compressed

__all__ = ["cut_exactly", "examine", "probed", "read_at"]


def examine(config: GateConfig, subject: Subject, stages: Stages, elsewhere: Elsewhere | None = None) -> Findings:
    """Measure the layers and build the compressed model; only measure where the model cannot be exported.

    Args:
        config: the gate.
        subject: the model and its data.
        stages: timed.
        elsewhere: what other processes have measured; it stands in for the pass over the probe.
    """
    try:
        with stages.stage("tracing", "model", "factory"):
            program = export_model(subject.model, *inputs_of(subject.example))
            coupling = trace_program(program, config.recipe.residual)
    except TraceError as error:
        return _only_measured(config, subject, stages, error.fact, elsewhere)
    layers, full, found = probed(config, subject, stages, (program, coupling), elsewhere)
    cut = _cut(config, subject, stages, Measured(program, coupling, found, full), layers)
    return Findings(config, coupling.layers, layers, found, full, cut)


def probed(
    config: GateConfig,
    subject: Subject,
    stages: Stages,
    traced: tuple[Program, Coupling],
    elsewhere: Elsewhere | None = None,
) -> tuple[tuple[Layer, ...], Cost, Spectra]:
    """The layers that pfa.yaml chooses, what the full model costs, and the spectra, from one pass over the probe."""
    program, coupling = traced
    layers, full = _chosen(config, subject, stages, coupling.layers)
    with stages.stage("probing", "probe", "data"):
        if elsewhere is None:
            moments: Mapping[str, Shards] = _moments(config, _counted(config, subject, stages), layers, traced)
        else:
            moments = elsewhere.of(subject, program)
    with stages.stage("taking spectra", "probe"):
        return layers, full, spectra(coupling.groups, layers, moments)


def _moments(
    config: GateConfig, batches: Iterable[Batch], layers: Sequence[Layer], traced: tuple[Program, Coupling]
) -> dict[str, Shards]:
    program, coupling = traced
    groups, taps = read_at(layers, coupling)
    return responses(layers, groups, respond(program, batches, taps, config.probe.pooling))


def read_at(layers: Sequence[Layer], coupling: Coupling | None) -> tuple[list[Group], list[Tap]]:
    """The groups that only these layers make, and all places where layers and groups are read."""
    free = coupling.free if coupling is not None else ()
    groups = [group for group in free if _made_by(group.layers, layers)]
    taps = [tap for layer in layers for tap in layer.taps] + [tap for group in groups for tap in group.taps]
    return groups, taps


def _only_measured(
    config: GateConfig, subject: Subject, stages: Stages, reason: str, elsewhere: Elsewhere | None
) -> Findings:
    every = hooked_layers(subject.model)
    layers, full = _chosen(config, subject, stages, every)
    with stages.stage("probing", "probe", "data"):
        if elsewhere is None:
            batches = _counted(config, subject, stages)
            stream = respond_by_hooks(subject.model, batches, layers, config.probe.pooling)
            moments: Mapping[str, Shards] = responses(layers, (), stream)
        else:
            moments = elsewhere.of(subject, None)
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


def _cut(config: GateConfig, subject: Subject, stages: Stages, measured: Measured, layers: Sequence[Layer]) -> Cut:
    names = {layer.name for layer in layers}

    def again(program: Program, coupling: Coupling) -> Spectra:
        same = [layer for layer in coupling.layers if layer.name in names]
        return spectra(coupling.groups, same, _moments(config, subject.probe, same, (program, coupling)))

    decision = decide(config, subject, measured, again, stages)
    with stages.stage("cutting and proving", "recipe"):
        inactive = measured.spectra.inactive
        coupling, smaller = cut_exactly(config, subject, measured.coupling, decision.selection.kept, inactive)
        small = cost(smaller.model, subject.example)
    smaller, steps = recover(config, subject, (measured.program, smaller), stages)
    scores = _scores(subject, smaller, stages)
    return Cut(coupling, decision, smaller, small, scores, _latency(config, subject, smaller, stages), steps)


def _scores(subject: Subject, smaller: Compressed, stages: Stages) -> tuple[Score, Score] | None:
    if subject.evaluation is None:
        return None
    with stages.stage("scoring", "evaluation", "metric"):
        full = score(subject.model, subject.evaluation, subject.metric, in_parts=True)
        return full, score(smaller.model, subject.evaluation, subject.metric, in_parts=True)


def _latency(config: GateConfig, subject: Subject, smaller: Compressed, stages: Stages) -> float | None:
    if config.budgets.compressed.latency is None:
        return None
    with stages.stage("timing", "budgets", "compressed", "latency"):
        return latency_ratio(subject.model, smaller.model, subject.example)
