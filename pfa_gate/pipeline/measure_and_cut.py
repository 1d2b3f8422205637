"""From a loaded model to all that can be found out about it: spectra, and a smaller model where one can be proved."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pfa_gate.analysis.responses import chosen_layers, hooked_layers, settled
from pfa_gate.compress.prune import PrunedModel
from pfa_gate.config import GateConfig
from pfa_gate.errors import TraceError
from pfa_gate.graph import Coupling, Layer, Program, export_model, inputs_of, trace_program
from pfa_gate.graph.cost import Cost, cost, latency_ratio
from pfa_gate.model import Batch, Subject
from pfa_gate.model.device import placed
from pfa_gate.model.evaluation import Score
from pfa_gate.pipeline.backend import LOCAL, MeasurementBackend, ProbePass
from pfa_gate.pipeline.findings import Cut, Findings
from pfa_gate.pipeline.plan import Measured, cut_exactly, decide
from pfa_gate.pipeline.recovery_steps import recover
from pfa_gate.pipeline.sample_counts import SampleSupply
from pfa_gate.pipeline.spectra import Spectra, read_layers, spectra
from pfa_gate.pipeline.stages import Stages

__all__ = ["cut_exactly", "examine", "probed"]


def examine(config: GateConfig, subject: Subject, stages: Stages, hands: MeasurementBackend = LOCAL) -> Findings:
    """Measure the layers and build the compressed model; only measure where the model cannot be exported.

    Args:
        config: the gate.
        subject: the model and its data.
        stages: timed.
        hands: who measures.
    """
    try:
        with stages.stage("tracing", "model", "factory"):
            program = export_model(subject.model, *inputs_of(subject.example))
            coupling = trace_program(program, config.recipe.residual)
    except TraceError as error:
        return _only_measured(config, subject, stages, f"{error.fact} {error.remedy}".strip(), hands)
    layers, full, found = probed(config, subject, stages, (program, coupling), hands)
    work = ProbePass(config, subject, layers, (program, coupling))
    cut = _cut(work, Measured(program, coupling, found, full), stages, hands)
    return Findings(config, listed(coupling.layers, layers), layers, found, full, cut)


def probed(
    config: GateConfig,
    subject: Subject,
    stages: Stages,
    traced: tuple[Program, Coupling],
    hands: MeasurementBackend = LOCAL,
) -> tuple[tuple[Layer, ...], Cost, Spectra]:
    """The layers that pfa.yaml chooses, what the full model costs, and the spectra, from one pass over the probe."""
    program, coupling = traced
    layers, full = _chosen(config, subject, stages, coupling.layers, program)
    with stages.stage("probing", "probe", "data"):
        moments = hands.moments(ProbePass(config, subject, layers, traced), _counted(config, subject, stages))
    with stages.stage("taking spectra", "probe"):
        return layers, full, spectra(coupling.groups, layers, moments, SampleSupply.of(config, subject.probe))


def _only_measured(
    config: GateConfig, subject: Subject, stages: Stages, reason: str, hands: MeasurementBackend
) -> Findings:
    every = hooked_layers(subject.model)
    layers, full = _chosen(config, subject, stages, every)
    with stages.stage("probing", "probe", "data"):
        moments = hands.moments(ProbePass(config, subject, layers, None), _counted(config, subject, stages))
    with stages.stage("taking spectra", "probe"):
        layers = settled(subject.model, subject.probe, layers, read_layers(layers, moments))
        found = spectra((), layers, moments, SampleSupply.of(config, subject.probe))
    score = _full_score(subject, stages, hands)
    return Findings(config, listed(every, layers), layers, found, full, None, reason, score)


def listed(layers: Sequence[Layer], chosen: Sequence[Layer]) -> tuple[Layer, ...]:
    """Every layer of a model, those that were chosen as they are now; one that is not followed comes last."""
    now = {layer.name: layer for layer in chosen}
    names = {layer.name for layer in layers}
    return (*(now.get(each.name, each) for each in layers), *(each for each in chosen if each.name not in names))


def _chosen(
    config: GateConfig, subject: Subject, stages: Stages, layers: Sequence[Layer], program: Program | None = None
) -> tuple[tuple[Layer, ...], Cost]:
    with stages.stage("choosing layers", "layers"):
        chosen = chosen_layers(subject.model, layers, config.layers.include, config.layers.exclude, subject.example)
        return chosen, cost(subject.model, subject.example, program)


def _counted(config: GateConfig, subject: Subject, stages: Stages) -> Iterator[Batch]:
    """The probe's batches, each reported; how many there are is known beforehand where pfa.yaml says so."""
    most = -(-(config.probe.samples or 0) // config.probe.batch_size)
    return stages.counted("probing", subject.probe.first_pass(), most)


def _cut(work: ProbePass, measured: Measured, stages: Stages, hands: MeasurementBackend) -> Cut:
    config, subject = work.config, work.subject
    names = {layer.name for layer in work.layers}

    def again(program: Program, coupling: Coupling) -> Spectra:
        same = [layer for layer in coupling.layers if layer.name in names]
        smaller = replace(work, layers=same, traced=(program, coupling))
        supply = SampleSupply.of(config, subject.probe)
        return spectra(coupling.groups, same, smaller.moments(subject.probe), supply)

    decision = decide(config, subject, measured, again, stages)
    with stages.stage("cutting and proving", "recipe"):
        inactive = measured.spectra.inactive
        coupling, smaller = cut_exactly(config, subject, measured.coupling, decision.selection.indices, inactive)
    smaller, steps, last = recover(config, subject, (measured.program, smaller), stages, hands)
    with stages.stage("counting", "budgets", "compressed"):
        small = cost(smaller.model, subject.example)
    scores = _scores(subject, smaller, last, stages, hands)
    return Cut(coupling, decision, smaller, small, scores, _latency(config, subject, smaller, stages), steps)


def _scores(
    subject: Subject, smaller: PrunedModel, last: Score | None, stages: Stages, hands: MeasurementBackend
) -> tuple[Score, Score] | None:
    """Of both models; `last` is that of the smaller one where recovery has taken it already."""
    full = _full_score(subject, stages, hands)
    if full is None:
        return None
    with stages.stage("scoring", "evaluation", "metric"):
        return full, last or hands.score(subject, smaller.model, in_parts=True)


def _full_score(subject: Subject, stages: Stages, hands: MeasurementBackend) -> Score | None:
    if subject.evaluation is None:
        return None
    with stages.stage("scoring", "evaluation", "metric"):
        return hands.score(subject, subject.model, in_parts=True)


def _latency(config: GateConfig, subject: Subject, smaller: PrunedModel, stages: Stages) -> float | None:
    if config.budgets.compressed.latency is None:
        return None
    with stages.stage("timing", "budgets", "compressed", "latency"):
        full, small = placed(subject.model, subject.device), placed(smaller.model, subject.device)
        return latency_ratio(full, small, subject.example.to(subject.device))
