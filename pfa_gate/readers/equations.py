"""Normal equations of a layer's reconstruction, kept in folds so that they can judge themselves.

Sums are taken about the first batch's mean, so that a large mean never swallows a small spread.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

FOLDS = 4


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

    Example:
        >>> equations = Equations(1, 2, 1)
        >>> rows = torch.randn(40, 2, dtype=torch.float64)
        >>> equations.add(rows[None], rows[None, :, :1], torch.arange(40) % FOLDS)
        >>> equations.total().count
        40
    """

    def __init__(self, groups: int, columns: int, filters: int) -> None:
        self._counts = [0] * FOLDS
        self._read = torch.zeros(FOLDS, groups, columns, dtype=torch.float64)
        self._made = torch.zeros(FOLDS, groups, filters, dtype=torch.float64)
        self._gram = torch.zeros(FOLDS, groups, columns, columns, dtype=torch.float64)
        self._cross = torch.zeros(FOLDS, groups, columns, filters, dtype=torch.float64)
        self._square = torch.zeros(FOLDS, groups, filters, dtype=torch.float64)
        self._centre: tuple[Tensor, Tensor] | None = None

    def add(self, rows: Tensor, targets: Tensor, folds: Tensor) -> None:
        """Take rows [G, n, D] and targets [G, n, O], any floating dtype; `folds` int64 [n] says where each goes."""
        if self._centre is None:
            self._centre = rows.double().mean(1, keepdim=True), targets.double().mean(1, keepdim=True)
        order, counts = folds.argsort(stable=True), folds.bincount(minlength=FOLDS).tolist()
        read_parts = torch.split(rows[:, order].double() - self._centre[0], counts, 1)
        made_parts = torch.split(targets[:, order].double() - self._centre[1], counts, 1)
        for fold, (read, made) in enumerate(zip(read_parts, made_parts, strict=True)):
            self._counts[fold] += counts[fold]
            self._read[fold] += read.sum(1)
            self._made[fold] += made.sum(1)
            self._gram[fold].baddbmm_(read.transpose(1, 2), read)
            self._cross[fold].baddbmm_(read.transpose(1, 2), made)
            self._square[fold] += made.square().sum(1)

    def total(self) -> Sums:
        """All folds together."""
        return self.part(range(FOLDS))

    def part(self, folds: Sequence[int]) -> Sums:
        """Some of the folds together."""
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
