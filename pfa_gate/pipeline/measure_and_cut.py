"""Measuring a model on the probe and the evaluation, and cutting it; what cannot be proved stays."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy.typing as npt
from torch import nn

from pfa_gate.analysis.layer_patterns import require_matched, weighted_layers
from pfa_gate.analysis.responses import Watch, chosen_layers, with_unread_explained
from pfa_gate.compress.prune import PrunedModel, compress, fold_constants, removed_and_inactive
from pfa_gate.config import GateConfig
from pfa_gate.config.field_types import SHARES
from pfa_gate.graph import Coupling, Layer, Program, inputs_of
from pfa_gate.graph.cost import Cost, cost
from pfa_gate.model import Batch
from pfa_gate.model.evaluation import Score, at_chance, drop_interval, interval_basis
from pfa_gate.model.held_out import require_enough_held_out
from pfa_gate.pipeline.job import GateJob, ProbePass
from pfa_gate.pipeline.spectra import SampleSupply, Spectra, read_layers, spectra
from pfa_gate.pipeline.trace import ModelGraph, Traced, trace_model
from pfa_gate.record import Scores, Unmeasured

Filters = Mapping[str, npt.ArrayLike]


@dataclass(frozen=True)
class Measured:
    """What the probe says of the full model.

    Attributes:
        layers: every layer of the model, in the order of the forward pass.
        chosen: those that pfa.yaml chooses.
        cost: of the full model.
        spectra: of the chosen layers and of the groups that only they make.
        program: the model as operators; None where it cannot be followed.
    """

    layers: tuple[Layer, ...]
    chosen: tuple[Layer, ...]
    cost: Cost
    spectra: Spectra
    program: Program | None = None


def trace(job: GateJob) -> Traced:
    """Trace the gate's model."""
    with job.stages.stage("tracing", "model", "factory"):
        return trace_model(job.subject.model, job.subject.example, job.config.recipe.residual)


def measure(job: GateJob, traced: Traced, watch: Watch | None = None) -> Measured:
    """Measure the chosen layers in one pass over the probe.

    Args:
        job: the gate.
        traced: its model.
        watch: is shown all that the model computes, with the number of each batch, where this process runs it on all.
    """
    subject = job.subject
    chosen = choose_layers(job, traced)
    with job.stages.stage("choosing layers", "layers"):
        full = cost(subject.model, subject.example, traced.graph.program if traced.graph else None)
    with job.stages.stage("probing", "probe", "data"):
        moments = job.backend.moments(ProbePass(job.config, subject, chosen, traced.graph, watch), _batches(job))
    if subject.held_out is not None:
        with job.stages.stage("probing", "probe", "data"):
            require_enough_held_out(subject.held_out, subject.probe.samples)
    with job.stages.stage("taking spectra", "probe"):
        if traced.graph is None:
            chosen = with_unread_explained(subject.model, subject.probe, chosen, read_layers(chosen, moments))
        groups = traced.graph.coupling.groups if traced.graph else ()
        found = spectra(groups, chosen, moments, SampleSupply.of(job.config, subject))
    program = traced.graph.program if traced.graph else None
    return Measured(listed(traced.layers, chosen), chosen, full, found, program)


def measure_again(job: GateJob, chosen: Sequence[Layer], graph: ModelGraph) -> Spectra:
    """Measure the same layers of a smaller model, by this process alone."""
    names = {layer.name for layer in chosen}
    layers = [layer for layer in graph.coupling.layers if layer.name in names]
    moments = ProbePass(job.config, job.subject, layers, graph).moments(job.subject.probe)
    return spectra(graph.coupling.groups, layers, moments, SampleSupply.of(job.config, job.subject))


def choose_layers(job: GateJob, traced: Traced) -> tuple[Layer, ...]:
    """The layers that pfa.yaml chooses."""
    subject, wanted = job.subject, job.config.layers
    for name, section in (("sparsify", job.config.sparsify), ("quantize", job.config.quantize)):
        if section is not None and section.layers.exclude:
            with job.stages.stage("choosing layers", name, "layers", "exclude"):
                layers = weighted_layers(subject.model, traced.layers)
                require_matched(section.layers.exclude, layers, f"{name}.layers.exclude")
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


def _batches(job: GateJob) -> Iterator[Batch]:
    """The probe's batches, each reported; how many there are is known beforehand where pfa.yaml says so."""
    most = -(-(job.config.probe.samples or 0) // job.config.probe.batch_size)
    return job.stages.counted("probing", job.subject.probe.first_pass(), most)


Interval = tuple[float, float] | None


def score_model(job: GateJob, model: nn.Module, *, in_parts: bool = False) -> Score | None:
    """Score a model; None where the gate has no evaluation.

    Args:
        job: the gate.
        model: full or compressed, anywhere.
        in_parts: the score of each part of the evaluation is wanted too, for an interval.
    """
    if job.subject.evaluation is None:
        return None
    with job.stages.stage("scoring", "evaluation", "metric"):
        return job.backend.score(job.subject, model, in_parts=in_parts, kept=job.kept)


def score_both(
    job: GateJob, compressed: nn.Module, known: Score | None = None, full: Score | None = None
) -> tuple[Score, Score] | None:
    """The scores of both models; None where the gate has no evaluation.

    Args:
        job: the gate.
        compressed: the smaller model.
        known: its score, where recovery has taken it already.
        full: score of the full model, where it was taken already: before the other, whose answers are compared with it.
    """
    full = full or score_model(job, job.subject.model, in_parts=True)
    small = known or score_model(job, compressed, in_parts=True)
    return None if full is None or small is None else (full, small)


def scores_record(config: GateConfig, full: Score | None, smaller: Score | None) -> Scores | None:
    """The scores of both models; None where the gate has no evaluation.

    Args:
        config: the gate.
        full: of the full model; None without an evaluation.
        smaller: of the compressed model; None where there is none.

    Raises:
        DataError: the two scores are not of the same samples in the same order.
    """
    asked = config.evaluation
    if full is None or asked is None:
        return None
    interval = None if smaller is None else _worse(drop_interval(full, smaller), full.direction == "lower")
    found = Scores(
        metric=asked.metric,
        full=full.value,
        compressed=None if smaller is None else smaller.value,
        drop=None,
        interval=interval,
        direction=full.direction,
        unit="share" if full.share else "plain",
        chance=chance_of(config, full),
        basis="" if smaller is None or interval is None else interval_basis(full, smaller),
    )
    return Scores(**{**vars(found), "drop": found.measure().fall})


def unmeasured_interval(scores: Scores, both: Sequence[Score | None]) -> Iterator[Unmeasured]:
    """Why the drop of a score has no interval; nothing where it has one."""
    reasons = [score.no_parts for score in both if score is not None and score.no_parts]
    if reasons:
        yield Unmeasured("interval of the score", reasons[0])
    elif scores.interval is None and all(score is not None and score.has_interval for score in both):
        yield Unmeasured("interval of the score", "no draw of samples tells the two models apart")


def _worse(interval: Interval, lower: bool) -> Interval:
    """The interval of full minus compressed as that of how much worse the compressed model is."""
    return interval if interval is None or not lower else (-interval[1], -interval[0])


def chance_of(config: GateConfig, full: Score) -> str:
    """Why no drop is judged, as the full model is no better than chance; empty where one may be."""
    asked = config.evaluation
    fact = "" if asked is None or asked.allow_chance else at_chance(full, asked.metric)
    return chance_words(config, fact) if fact else ""


def chance_words(config: GateConfig, fact: str) -> str:
    """What to do about a full model that is no better than chance.

    Args:
        config: the gate.
        fact: that it is.
    """
    checkpoint, asked = config.model.checkpoint, config.evaluation
    weights = f"that {checkpoint} holds trained weights" if checkpoint else "model.checkpoint, which is not set"
    may_be_meant = asked is not None and asked.metric in SHARES
    meant = "; if this is meant, write evaluation: {allow_chance: true}" if may_be_meant else ""
    return f"{fact} A drop from there says nothing. Check {weights}, and inputs and labels{meant}."
