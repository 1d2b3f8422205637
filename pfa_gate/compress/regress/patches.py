"""What a layer reads at drawn positions: its input patches as rows, and what was made there."""

from functools import lru_cache

import torch
from torch import Tensor

from pfa_gate.graph.calls import Call, Geometry

# Most layers of a network have as many places as another; 64 sets of so many positions take 32 MiB.
_MOST_HELD = 2**16


def draw(samples: int, places: int, count: int, seed: int) -> Tensor:
    """Positions in each sample, without repetition, int64 [samples, min(count, places)]; not to be written into.

    Of one seed, fewer of them are the first of more.

    Example:
        >>> draw(2, 3, 5, seed=0).sort(1).values.tolist()
        [[0, 1, 2], [0, 1, 2]]
    """
    return (_drawn if samples * min(count, places) > _MOST_HELD else _held)(samples, places, count, seed)


def _drawn(samples: int, places: int, count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((samples, places), generator=generator).topk(min(count, places), dim=1).indices


_held = lru_cache(maxsize=64)(_drawn)


def spread(count: int) -> list[int]:
    """The numbers below `count` in an order whose first lie evenly among them, as a probe may be sorted.

    Example:
        >>> spread(10)
        [0, 5, 2, 7, 4, 9, 1, 6, 3, 8]
    """
    golden = (5**0.5 - 1) / 2
    return sorted(range(count), key=lambda number: number * golden % 1)


def patches(call: Call, value: Tensor, shape: tuple[int, ...], positions: Tensor) -> Tensor:
    """What the call reads to make its output at `positions`.

    Args:
        call: of a layer.
        value: its input, [N, C, …] of a convolution, [N, …, C] of a linear.
        shape: of its output.
        positions: int64 [N, P] into the output's axes that are neither sample nor filter, flattened.

    Returns:
        [groups, N P, taps x C / groups], taps first, zeros where a tap lies in the padding.

    Example:
        >>> linear = Call(None, None, "weight", None, None)
        >>> patches(linear, torch.eye(3)[None], (1, 3, 5), torch.tensor([[2]])).tolist()
        [[[0.0, 0.0, 1.0]]]
    """
    positions = positions.to(value.device)
    if call.geometry is None:
        rows = value.reshape(len(value), -1, value.shape[-1])
        return _picked(rows, positions).flatten(0, 1)[None]
    index, inside = _sources(call.geometry, positions, tuple(value.shape[2:]), shape[2:])
    read = _picked(value.flatten(2).transpose(1, 2), index).mul_(inside[..., None])
    grouped = read.reshape(positions.numel(), index.shape[2], call.groups, -1)
    return grouped.permute(2, 0, 1, 3).reshape(call.groups, positions.numel(), -1)


def outputs(call: Call, value: Tensor, positions: Tensor) -> Tensor:
    """An output, or anything of its layout, at `positions`: [N P, filters].

    Example:
        >>> linear = Call(None, None, "weight", None, None)
        >>> outputs(linear, torch.eye(3)[None], torch.tensor([[2, 0]])).tolist()
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    rows = value.reshape(len(value), -1, value.shape[-1]) if call.geometry is None else value.flatten(2).transpose(1, 2)
    return _picked(rows, positions.to(value.device)).flatten(0, 1)


def places(call: Call, shape: tuple[int, ...]) -> int:
    """Positions in one sample of an output of this shape."""
    sizes = shape[1:-1] if call.geometry is None else shape[2:]
    count = 1
    for size in sizes:
        count *= size
    return count


def _picked(rows: Tensor, positions: Tensor) -> Tensor:
    """Of rows [N, n, C] those at positions [N, …], [N, …, C]."""
    samples = torch.arange(len(rows), device=rows.device).reshape(-1, *(1,) * (positions.ndim - 1))
    return rows[samples, positions]


def _sources(
    geometry: Geometry, positions: Tensor, read: tuple[int, ...], made: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """For each position and tap the input it meets, flattened, and whether there is one; both [N, P, taps]."""
    index = torch.zeros_like(positions[..., None])
    inside = torch.ones_like(index, dtype=torch.bool)
    rest = positions
    coordinates = []
    for size in reversed(made):
        coordinates.append(rest % size)
        rest = rest // size
    for axis, coordinate in enumerate(reversed(coordinates)):
        place, there = _along(geometry, axis, coordinate[:, :, None])
        there = there & (place >= 0) & (place < read[axis])
        index = (index[..., None] * read[axis] + place.clamp(0, read[axis] - 1)[:, :, None]).flatten(2)
        inside = (inside[..., None] & there[:, :, None]).flatten(2)
    return index, inside


def _along(geometry: Geometry, axis: int, coordinate: Tensor) -> tuple[Tensor, Tensor]:
    taps = torch.arange(geometry.kernel[axis], device=coordinate.device) * geometry.dilation[axis]
    stride, padding = geometry.stride[axis], geometry.padding[axis]
    if not geometry.transposed:
        place = coordinate * stride - padding + taps
        return place, torch.ones_like(place, dtype=torch.bool)
    reach = coordinate + padding - taps
    return reach.div(stride, rounding_mode="floor"), reach % stride == 0
