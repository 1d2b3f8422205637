"""The file of few bits of the compressed model: planned, rounded, written, read back, and judged as it was read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import nn

from pfa_gate.analysis.layer_patterns import any_matches, names_of, require_matched
from pfa_gate.artifacts.few_bits_file import PackedWeight, put_into, read_few_bits, write_few_bits
from pfa_gate.artifacts.folders import written_to
from pfa_gate.compress.quantize import FewBits, WeightLayer, Width, rounded, weight_layers
from pfa_gate.compress.recover import CompensateSettings, compensate
from pfa_gate.config.quantize import QuantizeConfig
from pfa_gate.errors import DataError, TraceError
from pfa_gate.files import sha256_of
from pfa_gate.graph.calls import calls
from pfa_gate.graph.cost import stored
from pfa_gate.model.copies import copied
from pfa_gate.model.device import CPU, model_on
from pfa_gate.model.evaluation import Score
from pfa_gate.pipeline.answers import compare_answers
from pfa_gate.pipeline.bit_plan import BitPlan, target_of, uniform, within_bytes
from pfa_gate.pipeline.bit_sensitivity import BitSensitivity
from pfa_gate.pipeline.cut import Cut
from pfa_gate.pipeline.measure_and_cut import score_both, scores_record
from pfa_gate.pipeline.quantized import QuantizedFindings
from pfa_gate.pipeline.trace import ModelGraph
from pfa_gate.record import BitsRecord, LayerBits, QuantizedRecord, finite
from pfa_gate.report.ownership import FEW_BITS

_STAGE = "choosing bits"
RUNS_IN = "torch, from floating copies of its weights"


@dataclass(frozen=True)
class _Rounding:
    """A model whose weights of few bits are numbers times scales.

    Attributes:
        model: the weights among all that stays floating.
        weights: name of a weight -> its numbers.
        distance: of its answers from those of the compressed model; None where it was not measured.
    """

    model: nn.Module
    weights: Mapping[str, PackedWeight]
    distance: float | None = None


@dataclass(frozen=True)
class _Work:
    """What the file is made of.

    Attributes:
        cut: the compressed model.
        graph: it as a program.
        layers: that get few bits.
        sensitivity: of the model; None where the probe has too few samples, for the reason `unmeasured`.
    """

    cut: Cut
    config: QuantizeConfig
    graph: ModelGraph
    layers: Sequence[WeightLayer]
    sensitivity: BitSensitivity | None
    unmeasured: str = ""

    @property
    def model(self) -> nn.Module:
        """The compressed model."""
        return self.cut.compressed.model


def few_bits(cut: Cut, places: tuple[Path, Path]) -> QuantizedFindings:
    """Make the file of few bits of a compressed model, and measure it.

    Args:
        cut: the compressed model.
        places: the gate's new folder, and the one whose place it takes.

    Raises:
        LayerPatternError: a pattern of `quantize.layers` matches no layer.
        TargetError: its bytes are out of reach.
        DataError: the probe has too few samples to allocate bits by.
        ArtifactError: the disk is full.
    """
    job, config = cut.job, cut.job.config.quantize
    if config is None:
        raise TypeError("The gate has no section quantize.")
    with job.stages.stage(_STAGE, "quantize"):
        try:
            graph = ModelGraph.of(cut.compressed.model, job.subject.example)
        except TraceError as error:
            return QuantizedFindings(None, f"The compressed model cannot be followed: {error.fact}")
        patterns = config.layers.exclude
        named = partial(names_of, full=job.subject.model)
        layers, floating = weight_layers(
            cut.compressed.model, graph.coupling, lambda name: any_matches(named(name), patterns)
        )
        every = [name for each in (*(layer.name for layer in layers), *floating) for name in named(each)]
        require_matched(patterns, every, "quantize.layers.exclude")
        if not layers:
            return QuantizedFindings(None, "No layer is left whose weights could have few bits.")
        work = _work(cut, config, graph, layers)
        plan = _planned(work)
    with job.stages.stage("quantizing", "quantize"):
        made, bits = _rounded(work, plan)
    fresh, folder = places
    with written_to(folder):
        write_few_bits(fresh / FEW_BITS, made.model, made.weights, job.config.name)
    return _measured(cut, fresh / FEW_BITS, bits, floating)


def _work(cut: Cut, config: QuantizeConfig, graph: ModelGraph, layers: Sequence[WeightLayer]) -> _Work:
    try:
        sensitivity = BitSensitivity(
            cut.job.subject, cut.compressed.model, graph.program, cut.bit_effects, feedback=True
        )
    except DataError as error:
        if config.bits == "auto":
            raise
        return _Work(cut, config, graph, layers, None, error.fact)
    return _Work(cut, config, graph, layers, sensitivity)


def _planned(work: _Work) -> BitPlan:
    if work.config.bits != "auto" or work.sensitivity is None:
        return uniform(work.layers, work.config.width)
    job = work.cut.job
    full = stored(job.subject.model, work.cut.coupling.program.unpacked).bytes
    target, held = target_of(work.config, work.model, work.layers, full)

    def progress(done: int, total: int) -> None:
        job.stages.report(_STAGE, done, total)

    return within_bytes(work.layers, work.sensitivity, target, held, progress)


def _rounded(work: _Work, plan: BitPlan) -> tuple[_Rounding, BitsRecord]:
    """The nearest numbers, or those with error feedback where they come closer on samples not fitted on."""
    near, fed, reason = _nearest(work, plan), None, work.unmeasured
    if work.sensitivity is not None:
        near = replace(near, distance=work.sensitivity.of(near.model.state_dict()).distance)
        try:
            fed = _with_feedback(work, plan, near)
        except TraceError as error:
            reason = error.fact
    used = fed is not None and fed.distance is not None and near.distance is not None and fed.distance < near.distance
    made = fed if fed is not None and used else near
    bits = BitsRecord(
        layers=tuple(_layer_bits(layer, plan, made) for layer in work.layers),
        target=plan.target,
        measure=work.sensitivity.measure if work.sensitivity else "divergence",
        samples=work.sensitivity.samples if work.sensitivity else 0,
        nearest=finite(near.distance),
        fed_back=finite(fed.distance) if fed else None,
        feedback=used,
        reason=reason,
    )
    return made, bits


def _layer_bits(layer: WeightLayer, plan: BitPlan, made: _Rounding) -> LayerBits:
    width = plan.widths[layer.name]
    grid = made.weights[layer.weight].rounded.grid
    alone = plan.alone.get(layer.name)
    return LayerBits(layer.name, str(width), layer.count, layer.bytes(width), finite(alone), grid.levels)


def _nearest(work: _Work, plan: BitPlan) -> _Rounding:
    own = dict(work.model.named_parameters(remove_duplicate=False))
    weights = {layer.weight: _stored(layer, plan.widths[layer.name], own[layer.weight]) for layer in work.layers}
    return _Rounding(_with_weights(work.model, weights), weights)


def _stored(layer: WeightLayer, width: Width, weight: nn.Parameter) -> PackedWeight:
    return PackedWeight(layer, width, rounded(weight, width, layer.axis))


def _with_weights(model: nn.Module, weights: Mapping[str, PackedWeight]) -> nn.Module:
    """A copy with these weights, as they are stored."""
    model = copied(model)
    own = dict(model.named_parameters(remove_duplicate=False))
    for name, held in weights.items():
        own[name].data.copy_(held.weight(own[name].dtype))
    return model


def _with_feedback(work: _Work, plan: BitPlan, near: _Rounding) -> _Rounding | None:
    """Layers rounded one after the other, each with what those before it lost made good; None where none can be."""
    job, sensitivity = work.cut.job, work.sensitivity
    solvable = {
        call.weight: call.layer
        for call in calls(work.graph.program)
        if call.fault is None and call.readable and call.outputs == 0
    }
    layers = [layer for layer in work.layers if layer.weight in solvable and layer.axis == 0]
    if not layers or sensitivity is None:
        return None
    own = dict(work.model.named_parameters(remove_duplicate=False))
    constraint = FewBits(
        {solvable[layer.weight]: plan.widths[layer.name] for layer in layers},
        {solvable[layer.weight]: own[layer.weight].detach() for layer in layers},
    )
    alone = {name: held for name, held in near.weights.items() if name not in {layer.weight for layer in layers}}
    start = model_on(_with_weights(work.model, alone), job.subject.device)
    full = work.graph.program.on(job.subject.device)
    settings = CompensateSettings(job.config.probe.seed, constraint=constraint)
    model, _ = compensate(full, start, {}, sensitivity.split.fitted, settings)
    found = {
        layer.weight: replace(near.weights[layer.weight], rounded=constraint.rounded[solvable[layer.weight]])
        for layer in layers
        if solvable[layer.weight] in constraint.rounded
    }
    weights = {**near.weights, **found}
    made = _with_weights(model_on(model, CPU), weights)
    return _Rounding(made, weights, sensitivity.of(made.state_dict()).distance)


def _measured(cut: Cut, path: Path, bits: BitsRecord, floating: Mapping[str, str]) -> QuantizedFindings:
    """What is read back from the file, judged."""
    job, config = cut.job, cut.job.config
    held, model = read_few_bits(path), copied(cut.compressed.model)
    put_into(model, held)
    scores = score_both(job, model, full=cut.scores[0] if cut.scores else None)
    answers = compare_answers(job, model, scores)
    full, small = scores or (None, None)
    record = QuantizedRecord(
        sha256=sha256_of(path),
        file_bytes=path.stat().st_size,
        runtime=RUNS_IN,
        bits=config.quantize.bits if config.quantize else 8,
        scheme="packed",
        reason="",
        samples=0,
        parameters=cut.cost.parameters,
        bytes=held.bytes,
        answers=answers,
        scores=scores_record(config, full, small),
        floating=dict(sorted(floating.items())),
        plan=bits,
    )
    return QuantizedFindings(record, samples=full.samples if isinstance(full, Score) else 0)
