"""Few bits for a weight: which whole numbers it may be, and the nearest of them times the scale that fits best.

Every filter has a scale of its own. Numbers lie on a grid that is symmetric about zero: all of -7 to 7, or the odd ones
of -15 to 15, both of 4 bits. The first one has a zero, which a weight with many of them needs; the second one has a
level more. Each weight gets the one that is closer to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Width = int | Literal["ternary", "binary"]
"""Bits of a weight by number, or its two or three values by name."""
WIDTHS: tuple[Width, ...] = ("binary", "ternary", 2, 3, 4, 5, 6, 8)
"""Those that are tried for each layer, fewest bits first."""
_STARTS = np.geomspace(0.06, 1, 20)  # scales that are tried, in terms of the one under which nothing is clipped
_STEPS, _MOST_STEPS = 2, 20
_ELEMENTS = 2**21  # that are looked at together
_SEARCHED = 512  # of a filter, by which a scale is looked for before it is settled on all
_TINY = float(torch.finfo(torch.float32).tiny)


@dataclass(frozen=True)
class Grid:
    """Whole numbers at equal distances: start, start + step, ... so many of them.

    Example:
        >>> Grid(-3, 2, 4).values
        (-3, -1, 1, 3)
    """

    start: int
    step: int
    levels: int

    @property
    def values(self) -> tuple[int, ...]:
        """All of them, ascending."""
        return tuple(range(self.start, self.start + self.step * self.levels, self.step))

    @property
    def has_zero(self) -> bool:
        """Whether a weight of this grid can be nothing."""
        return 0 in self.values

    def nearest(self, values: Tensor) -> Tensor:
        """The number nearest to each value, as floating numbers of the same type.

        Example:
            >>> Grid(-3, 2, 4).nearest(torch.tensor([-9.0, 0.3, 2.5])).tolist()
            [-3.0, 1.0, 3.0]
        """
        place = (values - self.start).div_(self.step).round_().clamp_(0, self.levels - 1)
        return place.mul_(self.step).add_(self.start)


@dataclass(frozen=True)
class Rounded:
    """A weight as whole numbers and scales.

    Attributes:
        grid: of the numbers.
        numbers: int16 [filters, ...], each of the grid.
        scale: float32 [filters].
    """

    grid: Grid
    numbers: Tensor
    scale: Tensor

    def weight(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """What the model multiplies by: number times scale in float32, and then rounded to `dtype`."""
        shape = (-1, *(1,) * (self.numbers.ndim - 1))
        return (self.numbers.float() * self.scale.view(shape)).to(dtype)


def grids(width: Width) -> tuple[Grid, ...]:
    """The grids of a width.

    Example:
        >>> [grid.values for grid in grids(2)], [grid.values for grid in grids("binary")]
        ([(-1, 0, 1), (-3, -1, 1, 3)], [(-1, 1)])
    """
    if width == "binary":
        return (Grid(-1, 2, 2),)
    if width == "ternary":
        return (Grid(-1, 1, 3),)
    half = 2 ** (int(width) - 1)
    return Grid(1 - half, 1, 2 * half - 1), Grid(1 - 2 * half, 2, 2 * half)


def bits_in(width: Width) -> float:
    """Bits that a number of a width takes: five ternary ones share a byte.

    Example:
        >>> bits_in("ternary"), bits_in(4)
        (1.6, 4.0)
    """
    return {"binary": 1.0, "ternary": 1.6}.get(str(width)) or float(width)


def is_sparse(weight: Tensor) -> bool:
    """Whether a weight [filters, ...] has zeros in a filter that is not all zero.

    Example:
        >>> is_sparse(torch.tensor([[0.0, 1.0]])), is_sparse(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
        (True, False)
    """
    zero = weight.reshape(len(weight), -1) == 0
    return bool((zero.any(1) & ~zero.all(1)).any())


def rounded(weight: Tensor, width: Width, axis: int = 0, *, sparse: bool | None = None) -> Rounded:
    """The nearest numbers of a width, each filter's scale the one with the least squared error that is found.

    A filter's scale is the least squares one of its numbers, and its numbers are the nearest at its scale: neither can
    be bettered alone. The filters that come first are those of `axis`, which is moved to the front.

    Args:
        weight: finite, of two axes or more.
        width: of its numbers.
        axis: along which its filters lie.
        sparse: whether it has zeros that are to stay; as it looks unless given.

    Example:
        >>> found = rounded(torch.tensor([[0.5, -1.5, 1.0, 0.0]]), 3)
        >>> found.numbers.tolist(), found.scale.tolist()
        ([[1, -3, 2, 0]], [0.5])
    """
    values = weight.detach().double().movedim(axis, 0)
    flat = values.reshape(len(values), -1)
    # A zero that was made, by a pattern of them say, stays one where the width has a grid for it.
    with_zero = tuple(grid for grid in grids(width) if grid.has_zero)
    chosen = with_zero if with_zero and (is_sparse(flat) if sparse is None else sparse) else grids(width)
    found = [(grid, *_fitted(flat, grid)) for grid in chosen]
    grid, numbers, scale, _ = min(found, key=lambda each: float(each[3]))
    return Rounded(grid, numbers.to(torch.int16).reshape(values.shape), scale.float())


def _fitted(flat: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers, scales and the squared error of all filters, some of them at a time."""
    count = max(1, _ELEMENTS // max(1, flat.shape[1]))
    parts = [_fitted_part(part, grid) for part in torch.split(flat, count)]
    numbers, scales, errors = (torch.cat(list(each)) for each in zip(*parts, strict=True))
    return numbers, scales, errors.sum()


def _fitted_part(flat: Tensor, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
    largest = flat.abs().amax(1, keepdim=True) / max(map(abs, (grid.values[0], grid.values[-1])))
    few = flat[:, :: max(1, flat.shape[1] // _SEARCHED)]
    found = _best([_settled(few, largest * float(start), grid, _STEPS) for start in _STARTS], few, grid)
    settled = [stored(_settled(flat, start, grid, steps)) for start, steps in ((found, _MOST_STEPS), (largest, 1))]
    scale = _best(settled, flat, grid)
    numbers = grid.nearest(flat / _divisor(scale))
    return numbers, scale[:, 0], (flat - numbers * scale).square().sum(1)


def _best(scales: Sequence[Tensor], flat: Tensor, grid: Grid) -> Tensor:
    """For each filter the scale of least squared error; the first of equals."""
    best, least = scales[0], torch.full_like(scales[0], torch.inf)
    for scale in scales:
        error = (flat - grid.nearest(flat / _divisor(scale)) * scale).square().sum(1, keepdim=True)
        best, least = torch.where(error < least, scale, best), torch.minimum(error, least)
    return best


def _settled(flat: Tensor, scale: Tensor, grid: Grid, steps: int) -> Tensor:
    """Numbers by the scale and the scale by the numbers in turn, until neither changes; the error never grows."""
    for _ in range(steps):
        numbers = grid.nearest(flat / _divisor(scale))
        fresh = (flat * numbers).sum(1, keepdim=True) / numbers.square().sum(1, keepdim=True).clamp_min(1)
        fresh = torch.where(fresh > 0, fresh, scale)
        if torch.equal(fresh, scale):
            break
        scale = fresh
    return scale


def stored(scale: Tensor) -> Tensor:
    """Scales as float32 holds them, in their own type: that of a filter of zeros is 0, none else is below normal.

    Example:
        >>> stored(torch.tensor([0.1, 0.0, 1e-60], dtype=torch.float64)).float().tolist()
        [0.10000000149011612, 0.0, 1.1754943508222875e-38]
    """
    return torch.where(scale > 0, scale.clamp_min(_TINY), 0.0).float().to(scale.dtype)


def _divisor(scale: Tensor) -> Tensor:
    return torch.where(scale > 0, scale, 1.0)
