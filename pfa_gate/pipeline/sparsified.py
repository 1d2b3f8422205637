"""The step that sets weights to zero in a pattern, and the zeros of both models, counted."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from pfa_gate.analysis.layer_patterns import any_matches, names_of
from pfa_gate.compress.sparsify import COUNTED, Pattern, PatternPlan, dense, groups_meeting, sparsify
from pfa_gate.config.sparsify import SparsifyConfig
from pfa_gate.errors import SurgeryError
from pfa_gate.graph import Layer, inputs_of, record_model
from pfa_gate.graph.group import layer_of
from pfa_gate.model.device import CPU, model_on
from pfa_gate.pipeline.job import GateJob
from pfa_gate.record import Repair, SparseLayer, SparsityRecord, ZeroCount

_BITS = 8


def sparsified(
    job: GateJob, model: nn.Module, config: SparsifyConfig
) -> tuple[nn.Module, tuple[Repair, ...], dict[str, str]]:
    """A model with zeros in the pattern of pfa.yaml; each layer is held to the outputs that it had before.

    Args:
        job: the gate.
        model: the compressed model after recovery, on the CPU; it is not changed.
        config: the pattern, and layers that stay whole.

    Returns:
        The model, what was done to each layer, and layer -> why all its weights stay.

    Raises:
        TraceError: the model cannot be followed.
        SurgeryError: a layer does not have the pattern in the end.
    """
    from pfa_gate.compress.recover import CompensateSettings  # noqa: PLC0415  for gates with this section

    subject, pattern = job.subject, Pattern.of_text(config.pattern)
    program = record_model(model, *inputs_of(subject.example))
    spared = config.layers.exclude
    plan = PatternPlan.of(program, pattern, lambda layer: any_matches(names_of(layer, subject.model), spared))
    settings = CompensateSettings(
        job.config.probe.seed, progress=lambda found, done, total: job.stages.report("sparsify", done, total)
    )
    found = sparsify(model_on(model, subject.device), program.on(subject.device), subject.probe, plan, settings)
    without = dense(plan, found, program)
    if without:
        raise SurgeryError(f"Layer '{without[0]}' does not have the pattern {pattern} after sparsify.")
    return model_on(found.model, CPU), found.repairs, dict(found.whole)


def sparsity_record(job: GateJob, layers: Sequence[Layer], smaller: "Smaller | None") -> SparsityRecord:
    """The zeros of both models, layer by layer.

    Args:
        job: the gate.
        layers: of the full model, in the order of the forward pass.
        smaller: the compressed model; None where there is none.
    """
    asked = job.config.sparsify.pattern if job.config.sparsify is not None and smaller is not None else ""
    patterns = tuple(dict.fromkeys((*COUNTED, *([Pattern.of_text(asked)] if asked else ()))))
    full, left = _weights(job.subject.model), _weights(smaller.model) if smaller is not None else {}
    places = [_Place(layer.name, layer.weight, _axis(job.subject.model, layer)) for layer in layers]
    # A layer that became several has new names.
    places += [_Place(layer_of(name), name) for name, weight in left.items() if name not in full and weight.ndim > 1]
    whole = smaller.whole if smaller is not None else {}
    of_full, of_smaller = ([_counted(place, own, patterns) for place in places] for own in (full, left))
    found = tuple(
        SparseLayer(place.layer, *counts, whole.get(place.layer, ""))
        for place, counts in zip(places, zip(of_full, of_smaller, strict=True), strict=True)
    )
    if not asked or smaller is None:
        return SparsityRecord(found)
    stored = dict(zip((place.weight for place in places), of_smaller, strict=True))  # a shared weight once
    saved = sum(_saved(left[name], count, Pattern.of_text(asked)) for name, count in stored.items() if count)
    return SparsityRecord(found, asked, smaller.bytes - saved)


@dataclass(frozen=True)
class Smaller:
    """The compressed model, its bytes, and layer -> why `sparsify` left all its weights."""

    model: nn.Module
    bytes: int
    whole: Mapping[str, str]


Axis = tuple[int, int] | None  # along which a weight's channels lie, and in how many blocks; None for a table


@dataclass(frozen=True)
class _Place:
    """A layer, the name of its weight, and where the channels lie that it reads."""

    layer: str
    weight: str
    axis: Axis = (1, 1)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """The weights whose elements can be looked at: not those that are packed, or loaded from elsewhere for a pass."""
    own: dict[str, Any] = dict(model.named_parameters(remove_duplicate=False))
    seen = (name for name, weight in own.items() if not weight.is_meta and not is_traceable_wrapper_subclass(weight))
    return {name: own[name] for name in seen}


def _axis(model: nn.Module, layer: Layer) -> Axis:
    if layer.kind == "embedding":
        return None
    module = dict(model.named_modules()).get(layer.name)
    return (1, 1) if layer.axis == 0 else (0, int(getattr(module, "groups", 1)))


def _counted(place: _Place, own: Mapping[str, Tensor], patterns: Sequence[Pattern]) -> ZeroCount | None:
    return _count(own[place.weight], place.axis, patterns) if place.weight in own else None


def _count(weight: Tensor, axis: Axis, patterns: Sequence[Pattern]) -> ZeroCount:
    zeros = weight.numel() - int(weight.count_nonzero())
    if axis is None:
        return ZeroCount(weight.numel(), zeros)
    place, blocks = axis
    blocks = blocks if weight.shape[place] % blocks == 0 else 1  # of a transposed convolution, cut with its groups
    wide = [pattern for pattern in patterns if weight.shape[place] // blocks >= pattern.of]
    counts = {str(pattern): groups_meeting(weight, place, pattern, blocks) for pattern in wide}
    return ZeroCount(weight.numel(), zeros, {name: (each.met, each.groups) for name, each in counts.items()})


def _saved(weight: Tensor, count: ZeroCount, pattern: Pattern) -> int:
    """Bytes that go if of each group the values that stay are stored, and the place of each among the others."""
    if not count.meets(str(pattern)):
        return 0
    kept = count.patterns[str(pattern)][1] * pattern.kept
    packed = kept * weight.element_size() + math.ceil(kept * math.ceil(math.log2(pattern.of)) / _BITS)
    return max(0, weight.numel() * weight.element_size() - packed)
