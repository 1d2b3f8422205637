"""Normal equations of a layer's reconstruction, kept in folds so that they can judge themselves.

Sums are taken about the first batch's mean, so that a large mean never swallows a small spread. Rows of single or half
precision are multiplied in float32, some at a time, and summed in float64: what rounding leaves, about 1e-7 of the
diagonal, is less than the smallest ridge.

PYTEST_DONT_REWRITE
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pfa_gate.model.device import CPU

FOLDS = 4
_ROWS = 2048  # multiplied at a time
_BLOCK = 144  # columns: of a symmetric matrix only the blocks on and above the diagonal are computed


@dataclass(frozen=True)
class Sums:
    """Centred sums over n rows, one matrix for each group.

    Attributes:
        count: n.
        read: mean of the rows read, float64 [groups, D].
        made: mean of the targets, float64 [groups, O].
        gram: X'X of centred rows, [groups, D, D].
        cross: X'Y, [groups, D, O].
        square: Y'Y of each output, [groups, O].
    """

    count: int
    read: Tensor
    made: Tensor
    gram: Tensor
    cross: Tensor
    square: Tensor


class Equations:
    """Adds up rows and targets by fold; memory is that of the matrices, however many rows come.

    Args:
        groups, columns, filters: G, D and O.
        device: of the rows; the sums stay there.
        folds: that are told apart.

    Example:
        >>> equations = Equations(1, 2, 1)
        >>> rows = torch.randn(40, 2, dtype=torch.float64)
        >>> read = equations.add(rows[None], rows[None, :, :1])
        >>> equations.total().count
        40
    """

    def __init__(self, groups: int, columns: int, filters: int, device: torch.device = CPU, folds: int = FOLDS) -> None:
        zeros = partial(torch.zeros, dtype=torch.float64, device=device)
        self._counts = [0] * folds
        self._read = zeros(folds, groups, columns)
        self._made = zeros(folds, groups, filters)
        self._gram = zeros(folds, groups, columns, columns)
        self._cross = zeros(folds, groups, columns, filters)
        self._square = zeros(folds, groups, filters)
        self._centre: tuple[Tensor, Tensor] | None = None
        self._mirrored = True

    @property
    def centre(self) -> Tensor:
        """What rows are taken about, float64 [groups, 1, D]."""
        assert self._centre is not None
        return self._centre[0]

    def add(self, rows: Tensor, targets: Tensor, fold: int = 0) -> Tensor:
        """Take rows [G, n, D] and targets [G, n, O] of one fold, any floating dtype; gives the rows about the centre.

        What it gives is in float32, or in float64 where the rows are.
        """
        dtype = torch.float64 if rows.dtype == torch.float64 else torch.float32
        if self._centre is None:
            self._centre = _middle(rows, dtype), _middle(targets, dtype)
        read, made = rows.to(dtype) - self.centre.to(dtype), (targets - self._centre[1]).to(dtype)
        self._counts[fold] += rows.shape[1]
        for few in zip(torch.split(read, _ROWS, 1), torch.split(made, _ROWS, 1), strict=True):
            self._take(fold, *few)
        self._mirrored = False
        return read

    def _take(self, fold: int, read: Tensor, made: Tensor) -> None:
        across = read.transpose(1, 2)
        self._read[fold] += read.sum(1)
        self._made[fold] += made.sum(1)
        self._square[fold] += made.square().sum(1)
        self._cross[fold] += across @ made
        for start in range(0, read.shape[2], _BLOCK):
            block = slice(start, start + _BLOCK)
            self._gram[fold, :, block, start:] += across[:, block] @ read[:, :, start:]

    def _mirror(self) -> None:
        """The blocks below the diagonal from those above it."""
        for start in range(0, self._gram.shape[2], _BLOCK):
            end = start + _BLOCK
            self._gram[:, :, end:, start:end] = self._gram[:, :, start:end, end:].transpose(2, 3)
        self._mirrored = True

    def total(self) -> Sums:
        """All folds together."""
        return self.part(range(len(self._counts)))

    def part(self, folds: Sequence[int]) -> Sums:
        """Some of the folds together."""
        if not self._mirrored:
            self._mirror()
        count = sum(self._counts[fold] for fold in folds)
        read, made = (_added(sums, folds) / max(count, 1) for sums in (self._read, self._made))
        gram, cross = _added(self._gram, folds), _added(self._cross, folds)
        assert self._centre is not None
        return Sums(
            count=count,
            read=read + self._centre[0][:, 0],
            made=made + self._centre[1][:, 0],
            gram=gram.baddbmm_(read[:, :, None], read[:, None, :], alpha=-count),
            cross=cross.baddbmm_(read[:, :, None], made[:, None, :], alpha=-count),
            square=_added(self._square, folds) - count * made.square(),
        )


def _middle(rows: Tensor, dtype: torch.dtype) -> Tensor:
    """The mean of rows, float64, of as many digits as `dtype` holds: rows lose nothing of what is subtracted."""
    return rows.mean(1, keepdim=True, dtype=torch.float64).to(dtype).double()


def _added(sums: Tensor, folds: Sequence[int]) -> Tensor:
    """A new tensor, and no other beside it: the matrices of a wide layer are large."""
    total = sums[folds[0]].clone()
    for fold in folds[1:]:
        total += sums[fold]
    return total


def errors(sums: Sums, weights: Tensor, offset: Tensor) -> Tensor:
    """Sum of squares of target - (row @ weights + offset), for each output.

    Args:
        sums: over n rows.
        weights: float64 [groups, D, O].
        offset: float64 [groups, O].

    Returns:
        float64 [groups, O], at least 0.
    """
    centred = sums.square - 2 * (weights * sums.cross).sum(1) + (weights * (sums.gram @ weights)).sum(1)
    step = sums.made - (sums.read[:, None] @ weights)[:, 0] - offset
    return centred.clamp_min(0) + sums.count * step.square()


def offset_of(sums: Sums, weights: Tensor) -> Tensor:
    """The offset with which `weights` meet the mean of the targets, [groups, O]."""
    return sums.made - (sums.read[:, None] @ weights)[:, 0]
