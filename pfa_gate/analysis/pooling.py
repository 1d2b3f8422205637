"""From the output of a layer to its responses: samples first, each map pooled or read at drawn positions."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import prod
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.config.sections import ProbeConfig
from pfa_gate.graph.program import growth_of, shape_of

Pooling = Literal["max", "mean"]
Responses = Mapping[str, Tensor]
"""Place -> responses [n, C], or [n, m, C] where each of the n samples gives m."""


class ResponseReader(Protocol):
    """How responses are taken from an output [maps, …] with the filters on one axis.

    The responses to one sample are given together, so that no jackknife parts them. A sample may have several maps, as
    windows and flattened tokens are; where their number does not fit the samples, maps stand for samples.
    """

    def __call__(self, output: Tensor, axis: int, samples: range) -> Tensor:
        """Give [samples, C], or [samples, m, C] with m of each; `samples` are their numbers in the whole probe."""


@dataclass(frozen=True)
class PooledMaps:
    """One response of each map, pooled over all its positions (paper 3.1).

    Example:
        >>> PooledMaps()(torch.zeros(6, 5, 4, 4), 1, range(10, 12)).shape
        torch.Size([2, 3, 5])
    """

    pooling: Pooling = "max"

    def __call__(self, output: Tensor, axis: int, samples: range) -> Tensor:
        """Give [samples, C], or [samples, m, C] where each has m maps."""
        responses = pooled(output, axis, self.pooling)
        if len(responses) == len(samples) or len(responses) % len(samples):
            return responses
        return responses.reshape(len(samples), -1, responses.shape[-1])


MAX = PooledMaps()
"""As the paper has it."""


@dataclass(frozen=True)
class SampledPositions:
    """The responses at some positions of each sample's maps, drawn without replacement; all if it has no more.

    The draw depends on the seed, the number of the sample and how many positions it has alone: not on the batch, the
    device, or the process that measures. Layers with maps of one size are read at the same positions.

    Attributes:
        positions: of each sample.
        seed: of the draw.

    Example:
        >>> maps = torch.arange(24.0).reshape(2, 3, 4)  # of 2 samples, 3 filters, 4 positions
        >>> SampledPositions(9)(maps, 1, range(2))[0].tolist()
        [[0.0, 4.0, 8.0], [1.0, 5.0, 9.0], [2.0, 6.0, 10.0], [3.0, 7.0, 11.0]]
        >>> torch.equal(SampledPositions(2)(maps, 1, range(2))[1:], SampledPositions(2)(maps[1:], 1, range(1, 2)))
        True
    """

    positions: int
    seed: int = 0

    def __call__(self, output: Tensor, axis: int, samples: range) -> Tensor:
        """Give [samples, m, C]."""
        maps, number = len(output), len(samples)
        first = samples.start * maps // number
        if maps > number and maps % number == 0:
            output, axis, first = output.reshape(number, -1, *output.shape[1:]), axis + 1, samples.start
        flat = output.movedim(axis, 1).flatten(2) if output.ndim > 2 else output.unsqueeze(2)
        count, _, places = flat.shape
        if places <= self.positions:
            return flat.transpose(1, 2)
        chosen = _drawn(self.seed, self.positions, (first, count), places).to(flat.device)
        return flat[torch.arange(count, device=flat.device)[:, None], :, chosen]


@lru_cache(maxsize=4)
def _drawn(seed: int, positions: int, samples: tuple[int, int], places: int) -> Tensor:
    """Positions of samples (the first, how many), int64 [samples, positions]; cached for layers of one size."""
    first, count = samples
    numbers = range(first, first + count)
    draws = [np.random.default_rng((seed, n)).choice(places, positions, replace=False, shuffle=False) for n in numbers]
    return torch.from_numpy(np.stack(draws))


def reader_of(probe: ProbeConfig) -> ResponseReader:
    """The reader of responses that pfa.yaml asks for.

    Example:
        >>> reader_of(ProbeConfig(data="net:probe")), reader_of(ProbeConfig(data="net:probe", positions=8, seed=3))
        (PooledMaps(pooling='max'), SampledPositions(positions=8, seed=3))
    """
    return PooledMaps(probe.pooling) if probe.positions is None else SampledPositions(probe.positions, probe.seed)


def joined(calls: list[Tensor]) -> Tensor:
    """The responses to several calls of a layer on the same samples, those of one sample together.

    Example:
        >>> joined([torch.zeros(4, 5), torch.zeros(4, 2, 5)]).shape
        torch.Size([4, 3, 5])
    """
    if len(calls) == 1:
        return calls[0]
    if len({len(call) for call in calls}) > 1:
        return torch.cat([call.flatten(0, -2) for call in calls])
    return torch.cat([call if call.ndim == 3 else call[:, None] for call in calls], 1)


def pooled(output: Tensor, axis: int, pooling: Pooling = "max") -> Tensor:
    """Pool an output, or the sizes of complex numbers, over every axis that is neither batch (0) nor filter (`axis`).

    Example:
        >>> pooled(torch.tensor([[[1.0, 5.0], [2.0, 0.0]]]), axis=1).tolist()
        [[5.0, 2.0]]
        >>> pooled(torch.tensor([[[3 + 4j, 1j], [2 + 0j, 0j]]]), axis=1).tolist()
        [[5.0, 2.0]]
    """
    output = output.abs() if output.is_complex() else output
    over = [other for other in range(1, output.ndim) if other != axis]
    if not over:
        return output
    if pooling == "max":
        return _maxima(output, axis, over)
    # A mean of half precision would be rounded to it again.
    return output.mean(over, dtype=torch.promote_types(output.dtype, torch.float32))


_SMALL_MAPS = range(10, 32)  # positions, whose maxima torch finds one by one; by halves it takes half the time
_VECTOR = 32  # torch is ten times slower on places whose filters, side by side, are no multiple of so many


def _maxima(output: Tensor, axis: int, over: list[int]) -> Tensor:
    """The maxima over some axes: by torch, or by halves where it is slow."""
    if axis == 1 and output.device.type == "cpu":
        if output.ndim == 4 and output.is_contiguous(memory_format=torch.channels_last):
            places = output.permute(0, 2, 3, 1).flatten(1, 2)
            return _halved(places, 1) if places.shape[2] % _VECTOR else places.amax(1)
        if output.is_contiguous() and prod(output.shape[2:]) in _SMALL_MAPS:
            return _halved(output.flatten(2), 2)
    return output.amax(over)


def _halved(maps: Tensor, axis: int) -> Tensor:
    """The maxima over an axis: of its two halves, which may overlap, then of the halves of these.

    Example:
        >>> _halved(torch.tensor([[[1.0, 5.0, 2.0]]]), 2).tolist()
        [[5.0]]
    """
    while (positions := maps.shape[axis]) > 1:
        half = (positions + 1) // 2
        maps = torch.maximum(maps.narrow(axis, 0, half), maps.narrow(axis, positions - half, half))
    return maps.squeeze(axis)


_ATEN = torch.ops.aten
_RESHAPES = (
    _ATEN.view.default,
    _ATEN.reshape.default,
    _ATEN._unsafe_view.default,
    _ATEN.flatten.using_ints,
)


def batch_first(node: Node, value: Tensor, axis: int, samples: int) -> tuple[Tensor, int]:
    """A value with its samples on axis 0, where torch's own attention does not have them, and its axis of filters then.

    Args:
        node: of the graph; its recorded shape tells which axis grows with the batch.
        value: what it gave.
        axis: that of the filters.
        samples: of the batch.
    """
    batch_axis = _growing(node)
    if batch_axis is None:
        return value, axis
    if batch_axis > 0:
        return value.movedim(batch_axis, 0), axis + (axis < batch_axis)
    before = _before_the_batch(node)
    if before > 1 and len(value) % (before * samples) == 0:
        value = value.reshape(before, samples, -1, *value.shape[1:]).movedim(1, 0).flatten(0, 2)
    return value, axis


def _growing(node: Node) -> int | None:
    """The one axis that grows with the batch; None if it is not known."""
    axes = list(growth_of(node))
    return axes[0] if len(axes) == 1 else None


def _before_the_batch(node: Node) -> int:
    """Where axes were flattened into the first one: how many rows each sample has before the next axis is the batch.

    1 if the samples lie one after the other, or it cannot be known.
    """
    current, wanted = node, growth_of(node).get(0, Fraction(1))
    while wanted != 1:  # the batch alone grows by one; flattened with six tokens it grows by six
        source = next((source_of for source_of in current.all_input_nodes if growth_of(source_of)), None)
        if source is None:
            return 1
        if growth_of(source).get(0) != wanted:
            axis = _growing(source)
            if current.target not in _RESHAPES or axis is None:
                return 1
            if axis > 0:
                return prod(shape_of(source)[:axis])
            wanted = growth_of(source)[0]
        current = source
    return 1
