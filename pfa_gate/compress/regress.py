"""Least squares of a layer's output on what the layer reads: input patches at drawn positions, and normal equations.

The equations keep the sums of some rows apart, so that a solution can be judged on rows it has not seen. Sums are about
the first rows' mean, so that a large mean never swallows a small spread. Rows of single or half precision are
multiplied in float32, some at a time, and summed in float64: what rounding leaves, about 1e-7 of the diagonal, is less
than the smallest ridge.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor

from pfa_gate.graph.calls import Call, Geometry
from pfa_gate.model.device import CPU

FOLDS = 4  # what is held out is one in so many samples
ONE_HELD_OUT = 2  # parts: the fold that is held out, and the others
FIRST = 48  # rows for each column of a layer, with which it begins
FEWEST = 768  # samples that rows come from, however few there are of these
SCARCE = 8  # rows for each column, for which more samples are read
_ROWS = 2048  # multiplied at a time
_BLOCK = 144  # columns of a product, which is symmetric: those on and above the diagonal are computed
# Most layers of a network have as many places as another; 64 sets of so many positions take 32 MiB.
_MOST_HELD = 2**16


@dataclass(frozen=True)
class Sums:
    """Centred sums over n rows, one matrix for each group.

    Attributes:
        count: n.
        row_mean: of the rows, float64 [groups, D].
        target_mean: of the targets, float64 [groups, O].
        gram: X'X of centred rows, [groups, D, D].
        cross: X'Y, [groups, D, O].
        square: Y'Y of each output, [groups, O].
    """

    count: int
    row_mean: Tensor
    target_mean: Tensor
    gram: Tensor
    cross: Tensor
    square: Tensor


class Equations:
    """Adds up rows and targets in parts; memory is that of the matrices, however many rows come.

    Args:
        groups, columns, filters: G, D and O.
        device: of the rows; the sums stay there.
        parts: how many are kept apart: all folds, each of which is held out in turn; the one that is held out, and the
            others; or 1 where none is.

    Example:
        >>> equations = Equations(1, 2, 1)
        >>> rows = torch.randn(40, 2, dtype=torch.float64)
        >>> read = equations.add(rows[None], rows[None, :, :1])
        >>> equations.total().count
        40
    """

    def __init__(self, groups: int, columns: int, filters: int, device: torch.device = CPU, parts: int = FOLDS) -> None:
        zeros = partial(torch.zeros, dtype=torch.float64, device=device)
        self._counts = [0] * parts
        self._read = zeros(parts, groups, columns)
        self._made = zeros(parts, groups, filters)
        self._gram = zeros(parts, groups, columns, columns)
        self._cross = zeros(parts, groups, columns, filters)
        self._square = zeros(parts, groups, filters)
        self._centre: tuple[Tensor, Tensor] | None = None

    @property
    def parts(self) -> range:
        """The parts that are kept apart."""
        return range(len(self._counts))

    @property
    def held_out(self) -> range:
        """Those of them that are held out in turn."""
        return self.parts[:1] if len(self.parts) == ONE_HELD_OUT else self.parts

    def part_of(self, fold: int) -> int:
        """The part that a fold belongs to."""
        return min(fold, len(self.parts) - 1)

    @property
    def centre(self) -> Tensor:
        """What rows are taken about, float64 [groups, 1, D]."""
        return self._centred_about()[0]

    def add(self, rows: Tensor, targets: Tensor, part: int = 0) -> Tensor:
        """Take rows [G, n, D] and targets [G, n, O] of one part, any floating dtype; gives the rows about the centre.

        What it gives is in float32, or in float64 where the rows are.
        """
        dtype = torch.float64 if rows.dtype == torch.float64 else torch.float32
        if self._centre is None:
            self._centre = _middle(rows, dtype), _middle(targets, dtype)
        read, made = rows.to(dtype) - self.centre.to(dtype), (targets - self._centre[1]).to(dtype)
        self._counts[part] += rows.shape[1]
        for few in zip(torch.split(read, _ROWS, 1), torch.split(made, _ROWS, 1), strict=True):
            self._take(part, *few)
        return read

    def _take(self, part: int, read: Tensor, made: Tensor) -> None:
        across = read.transpose(1, 2)
        self._read[part] += read.sum(1)
        self._made[part] += made.sum(1)
        self._square[part] += made.square().sum(1)
        self._cross[part] += across @ made
        self._gram[part] += _products(read)

    def _centred_about(self) -> tuple[Tensor, Tensor]:
        if self._centre is None:
            raise ValueError("No rows were added.")
        return self._centre

    def total(self) -> Sums:
        """All parts together."""
        return self.of(self.parts)

    def all_but(self, part: int) -> Sums:
        """All parts but one."""
        return self.of([each for each in self.parts if each != part])

    def of(self, parts: Sequence[int]) -> Sums:
        """Some of the parts together."""
        count = sum(self._counts[part] for part in parts)
        read, made = (_added(sums, parts) / max(count, 1) for sums in (self._read, self._made))
        gram, cross = _added(self._gram, parts), _added(self._cross, parts)
        centre = self._centred_about()
        return Sums(
            count=count,
            row_mean=read + centre[0][:, 0],
            target_mean=made + centre[1][:, 0],
            gram=gram.baddbmm_(read[:, :, None], read[:, None, :], alpha=-count),
            cross=cross.baddbmm_(read[:, :, None], made[:, None, :], alpha=-count),
            square=_added(self._square, parts) - count * made.square(),
        )


def _products(rows: Tensor) -> Tensor:
    """X'X of each group, [G, D, D], of which the blocks below the diagonal are those above it.

    By torch, whose threads are those that run the model: NumPy's library would set up others beside them.
    """
    columns, across = rows.shape[2], rows.transpose(1, 2)
    if columns <= _BLOCK:
        return across @ rows
    products = rows.new_empty(len(rows), columns, columns)
    for start in range(0, columns, _BLOCK):
        block = slice(start, start + _BLOCK)
        products[:, block, start:] = across[:, block] @ rows[:, :, start:]
        products[:, start:, block] = products[:, block, start:].transpose(1, 2)
    return products


def _middle(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """The mean of rows, float64, of as many digits as `dtype` holds: rows lose nothing of what is subtracted."""
    return rows.mean(1, keepdim=True, dtype=torch.float64).to(dtype).double()


def _added(sums: Tensor, parts: Sequence[int]) -> Tensor:
    """A new tensor, and no other beside it: the matrices of a wide layer are large."""
    total = sums[parts[0]].clone()
    for part in parts[1:]:
        total += sums[part]
    return total


def errors(sums: Sums, weights: Tensor, offset: Tensor) -> Tensor:
    """Sum of squares of target - (row @ weights + offset), of each output, float64 [groups, O], at least 0.

    `weights` are [groups, D, O], `offset` is [groups, O].
    """
    centred = sums.square - 2 * (weights * sums.cross).sum(1) + (weights * (sums.gram @ weights)).sum(1)
    step = sums.target_mean - (sums.row_mean[:, None] @ weights)[:, 0] - offset
    return centred.clamp_min(0) + sums.count * step.square()


def offset_of(sums: Sums, weights: Tensor) -> Tensor:
    """The offset with which `weights` meet the mean of the targets, [groups, O]."""
    return sums.target_mean - (sums.row_mean[:, None] @ weights)[:, 0]


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


def position_count(call: Call, shape: tuple[int, ...]) -> int:
    """Positions in one sample of an output of this shape."""
    return math.prod(shape[1:-1] if call.geometry is None else shape[2:])


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
