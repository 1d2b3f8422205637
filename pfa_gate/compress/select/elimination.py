"""Elimination: the filters of a group one after the other, cheapest for its readers first, the others refitted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pfa_gate.graph.group import Indices


@dataclass(frozen=True)
class GroupReader:
    """How one layer reads the filters of a group.

    Attributes:
        gram: X'X of the centred inputs, float64 [G, D, D].
        weights: float64 [G, D, O], each output times what follows scales it by.
        columns: int64 [C, m], the columns of each filter; columns of no filter here are never removed.
    """

    gram: Tensor
    weights: Tensor
    columns: Tensor


@dataclass(frozen=True)
class Elimination:
    """All filters of a group in the order in which they are removed.

    Attributes:
        order: int64 [C], a permutation.
        losses: float64 [C], the share of their own outputs, summed over readers, that each removal costs beyond those
            before it, the filters left being refitted.
    """

    order: Indices
    losses: npt.NDArray[np.float64]


def eliminate(readings: Sequence[GroupReader], width: int, ridge: float = 1e-3) -> Elimination:
    """All filters in the order in which they are removed, cheapest first, the others refitted each time.

    Args:
        readings: of the layers that read the group; each counts by the share of its own output that is lost.
        width: C, the filters of the group.
        ridge: added to the diagonal of each gram matrix, relative to its mean.

    Example:
        >>> rows = torch.randn(50, 3, dtype=torch.float64)
        >>> rows[:, 2] = rows[:, 0] + 1e-3 * rows[:, 2]
        >>> weights = torch.tensor([[[1.0], [1.0], [1.0]]], dtype=torch.float64)
        >>> reading = GroupReader((rows.T @ rows)[None], weights, torch.arange(3)[:, None])
        >>> found = eliminate([reading], 3)
        >>> int(found.order[0]) in (0, 2), bool(found.losses[0] < 1e-3)
        (True, True)
    """
    states = [_ReaderState(reading, ridge) for reading in readings]
    alive = list(range(width))
    order, losses = list[int](), list[float]()
    while alive:
        costs = np.zeros(len(alive))
        for state in states:
            costs += state.costs(len(alive)).numpy()
        place = int(np.lexsort((np.array(alive), costs))[0])
        losses.append(float(costs[place]))
        for state in states:
            state.remove(place, len(alive))
        alive[place], alive[-1] = alive[-1], alive[place]
        order.append(alive.pop())
    return Elimination(np.array(order, dtype=np.int64), np.array(losses))


class _ReaderState:
    """Weights and inverse gram of one reader while its columns go.

    The columns of no filter come first, then those of each filter, the filters still there before those that are gone:
    what is left is a corner of the matrix, and the work shrinks with it.
    """

    def __init__(self, reading: GroupReader, ridge: float) -> None:
        others = torch.ones(reading.gram.shape[1], dtype=torch.bool)
        others[reading.columns] = False
        order = torch.cat([others.nonzero().flatten(), reading.columns.flatten()])
        gram = reading.gram[:, order[:, None], order]
        diagonal = gram.diagonal(dim1=1, dim2=2)
        load = ridge * diagonal.mean(1, keepdim=True)
        diagonal.add_(load.clamp_min(torch.finfo(torch.float64).tiny))
        self._first, self._size = int(others.sum()), reading.columns.shape[1]
        self._weights = reading.weights[:, order]
        self._inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
        whole = (reading.weights * (reading.gram @ reading.weights)).sum()
        self._share = 1 / float(whole) if float(whole) > 0 else 0.0

    def costs(self, alive: int) -> Tensor:
        """What removing each of the first filters would cost, float64 [alive]."""
        left, groups, size = slice(self._first, self._block(alive).start), len(self._weights), self._size
        blocks = self._inverse[:, left, left].view(groups, alive, size, alive, size).diagonal(dim1=1, dim2=3)
        weights = self._weights[:, left].view(groups, alive, size, -1)
        lost: Tensor = (weights * torch.linalg.solve(blocks.movedim(3, 1), weights)).sum((0, 2, 3))
        return lost * self._share

    def remove(self, place: int, alive: int) -> None:
        """Let the last of the first filters take this one's place, and the rest take over what it did."""
        mine, gone = self._block(place), self._block(alive - 1)
        for table in (self._weights, self._inverse, self._inverse.transpose(1, 2)):
            table[:, mine], table[:, gone] = table[:, gone].clone(), table[:, mine].clone()
        left = slice(0, gone.start)
        weights, inverse, across = self._weights[:, left], self._inverse[:, left, left], self._inverse[:, left, gone]
        readings = torch.cat([self._weights[:, gone], self._inverse[:, gone, left]], 2)
        step = torch.linalg.solve(self._inverse[:, gone, gone], readings)
        weights.baddbmm_(across, step[:, :, : weights.shape[2]], alpha=-1)
        inverse.baddbmm_(across, step[:, :, weights.shape[2] :], alpha=-1)

    def _block(self, place: int) -> slice:
        start = self._first + place * self._size
        return slice(start, start + self._size)
