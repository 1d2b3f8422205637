"""Which width each layer of a model gets: the one that pfa.yaml names, or those that harm least within its bytes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from pfa_gate.artifacts.few_bits_file import floating_bytes
from pfa_gate.compress.quantize import WeightLayer, Width, allocate
from pfa_gate.config.quantize import QuantizeConfig
from pfa_gate.errors import TargetError
from pfa_gate.pipeline.bit_sensitivity import BitSensitivity, Progress


@dataclass(frozen=True)
class BitPlan:
    """The width of every layer, complete before anything is rounded.

    Attributes:
        widths: layer -> width.
        alone: layer -> how far the answers move when it alone has that width; empty where it was not measured.
        target: bytes that the file was to have at most; None where pfa.yaml names the width.
    """

    widths: Mapping[str, Width]
    alone: Mapping[str, float] = field(default_factory=dict)
    target: int | None = None


def uniform(layers: Sequence[WeightLayer], width: Width) -> BitPlan:
    """The same width for every layer."""
    return BitPlan({layer.name: width for layer in layers})


def within_bytes(
    layers: Sequence[WeightLayer],
    sensitivity: BitSensitivity,
    target: int,
    held: int,
    progress: Progress | None = None,
) -> BitPlan:
    """The widths whose divergences, each measured alone, sum to the least within so many bytes.

    Args:
        layers: that get few bits.
        sensitivity: of the model.
        target: most bytes of the file's tensors.
        held: of them, what all but these weights takes.
        progress: called with how many widths of layers are measured, of how many.

    Raises:
        ValueError: it is out of reach.
    """
    table = sensitivity.table(layers, progress=progress)
    alone = {name: {width: effect.distance for width, effect in each.items()} for name, each in table.items()}
    costs = {layer.name: {width: layer.bytes(width) for width in layer.widths} for layer in layers}
    widths = allocate(costs, alone, target - held)
    return BitPlan(widths, {name: alone[name][width] for name, width in widths.items()}, target)


def target_of(config: QuantizeConfig, model: nn.Module, layers: Sequence[WeightLayer], full: int) -> tuple[int, int]:
    """Most bytes that the file may take, and those that all but the weights of few bits takes.

    Args:
        config: with a target.
        model: whose state the file holds.
        layers: whose weights get few bits.
        full: bytes of the full model.

    Raises:
        TargetError: not even the fewest bits for every layer are so few.
    """
    if config.bytes is None:
        raise TypeError("The section quantize has no bytes.")
    target = math.floor(config.bytes.of(full))
    held = floating_bytes(model, {layer.weight for layer in layers})
    least = held + sum(min(map(layer.bytes, layer.widths)) for layer in layers)
    if least > target:
        raise TargetError(
            f"quantize.bytes asks for {target:,} bytes, and with the fewest bits for every weight the file takes "
            f"{least:,}, {100 * least / full:.2g}% of the full model's {full:,}; {held:,} of them stay floating.",
            remedy=f"Write bytes: {math.ceil(1000 * least / full) / 10:g}% or more, or have the recipe cut more.",
        )
    return target, held
