"""Measuring a model on the probe, and cutting it: constant filters are folded, and what cannot be proved stays."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy.typing as npt
from torch import nn

from pfa_gate.analysis.responses import chosen_layers, with_unread_explained
from pfa_gate.compress.prune import PrunedModel, compress, fold_constants, removed_and_inactive
from pfa_gate.graph import Coupling, Layer, inputs_of
from pfa_gate.graph.cost import Cost, cost, latency_ratio
from pfa_gate.model import Batch
from pfa_gate.model.device import model_on
from pfa_gate.pipeline.backend import GateJob, ProbePass
from pfa_gate.pipeline.spectra import SampleSupply, Spectra, read_layers, spectra
from pfa_gate.pipeline.trace import ModelGraph, Traced, trace_model

Filters = Mapping[str, npt.ArrayLike]


@dataclass(frozen=True)
class Measured:
    """What the probe says of the full model.

    Attributes:
        layers: every layer of the model, in the order of the forward pass.
        chosen: those that pfa.yaml chooses.
        cost: of the full model.
        spectra: of the chosen layers and of the groups that only they make.
    """

    layers: tuple[Layer, ...]
    chosen: tuple[Layer, ...]
    cost: Cost
    spectra: Spectra


def trace(job: GateJob) -> Traced:
    """Trace the gate's model."""
    with job.stages.stage("tracing", "model", "factory"):
        return trace_model(job.subject.model, job.subject.example, job.config.recipe.residual)


def measure(job: GateJob, traced: Traced) -> Measured:
    """Measure the chosen layers in one pass over the probe."""
    subject = job.subject
    chosen = choose_layers(job, traced)
    with job.stages.stage("choosing layers", "layers"):
        full = cost(subject.model, subject.example, traced.graph.program if traced.graph else None)
    with job.stages.stage("probing", "probe", "data"):
        moments = job.backend.moments(ProbePass(job.config, subject, chosen, traced.graph), _batches(job))
    with job.stages.stage("taking spectra", "probe"):
        if traced.graph is None:
            chosen = with_unread_explained(subject.model, subject.probe, chosen, read_layers(chosen, moments))
        groups = traced.graph.coupling.groups if traced.graph else ()
        found = spectra(groups, chosen, moments, SampleSupply.of(job.config, subject.probe))
    return Measured(listed(traced.layers, chosen), chosen, full, found)


def measure_again(job: GateJob, chosen: Sequence[Layer], graph: ModelGraph) -> Spectra:
    """Measure the same layers of a smaller model, by this process alone."""
    names = {layer.name for layer in chosen}
    layers = [layer for layer in graph.coupling.layers if layer.name in names]
    moments = ProbePass(job.config, job.subject, layers, graph).moments(job.subject.probe)
    return spectra(graph.coupling.groups, layers, moments, SampleSupply.of(job.config, job.subject.probe))


def choose_layers(job: GateJob, traced: Traced) -> tuple[Layer, ...]:
    """The layers that pfa.yaml chooses."""
    subject, wanted = job.subject, job.config.layers
    with job.stages.stage("choosing layers", "layers"):
        return chosen_layers(subject.model, traced.layers, wanted.include, wanted.exclude, subject.example)


def listed(layers: Sequence[Layer], chosen: Sequence[Layer]) -> tuple[Layer, ...]:
    """Every layer of a model, those that were chosen as they are now; one that is not followed comes last."""
    now = {layer.name: layer for layer in chosen}
    names = {layer.name for layer in layers}
    return (*(now.get(each.name, each) for each in layers), *(each for each in chosen if each.name not in names))


def cut_and_prove(job: GateJob, coupling: Coupling, keep: Filters, inactive: Filters) -> tuple[Coupling, PrunedModel]:
    """Cut the full model and prove the cut; see `cut_exactly`."""
    with job.stages.stage("cutting and proving", "recipe"):
        return cut_exactly(job, coupling, keep, inactive)


def cut_exactly(job: GateJob, coupling: Coupling, keep: Filters, inactive: Filters) -> tuple[Coupling, PrunedModel]:
    """Cut the full model; filters that are constant go into the biases of their readers first.

    Args:
        job: the gate.
        coupling: of the full model.
        keep: group name -> the filters that stay, ascending.
        inactive: group name -> bool [C], the filters that never move on the probe.

    Returns:
        The coupling of the model that was cut (the full one, or the one whose constants are folded), and the cut.
    """
    model, inputs = job.subject.model, inputs_of(job.subject.example)
    constant = dict(removed_and_inactive(keep, inactive))
    folded = fold_constants(model, coupling, constant, inputs) if constant else None
    if folded is None:
        return coupling, compress(model, coupling, keep, inputs)
    coupling = ModelGraph.of(folded.model, job.subject.example, job.config.recipe.residual).coupling
    return coupling, compress(folded.model, coupling, keep, inputs)


def compressed_cost(job: GateJob, model: nn.Module) -> Cost:
    """What the compressed model costs."""
    with job.stages.stage("counting", "budgets", "compressed"):
        return cost(model, job.subject.example)


def compressed_latency(job: GateJob, model: nn.Module) -> float | None:
    """The compressed model's time over the full model's; None where no budget asks for it."""
    if job.config.budgets.compressed.latency is None:
        return None
    subject = job.subject
    with job.stages.stage("timing", "budgets", "compressed", "latency"):
        full, small = model_on(subject.model, subject.device), model_on(model, subject.device)
        return latency_ratio(full, small, subject.example.to(subject.device))


def _batches(job: GateJob) -> Iterator[Batch]:
    """The probe's batches, each reported; how many there are is known beforehand where pfa.yaml says so."""
    most = -(-(job.config.probe.samples or 0) // job.config.probe.batch_size)
    return job.stages.counted("probing", job.subject.probe.first_pass(), most)
