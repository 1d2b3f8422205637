"""Optimal-brain-surgeon elimination by blocks: which filters their readers can best do without.

Hassibi and Stork 1993, with a block of columns in place of one weight: removing the columns of filter j from all
readers, and letting the others take over as well as they can, costs trace(W_j' B_jj^-1 W_j), B the inverse of the
readers' gram matrix.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Reading:
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


def eliminate(readings: Sequence[Reading], width: int, ridge: float = 1e-3) -> Elimination:
    """All filters in the order in which they are removed, cheapest first, the others refitted each time.

    Args:
        readings: of the layers that read the group; each counts by the share of its own output that is lost.
        width: C, the filters of the group.
        ridge: added to the diagonal of each gram matrix, relative to its mean.

    Example:
        >>> rows = torch.randn(50, 3, dtype=torch.float64)
        >>> rows[:, 2] = rows[:, 0] + 1e-3 * rows[:, 2]
        >>> weights = torch.tensor([[[1.0], [1.0], [1.0]]], dtype=torch.float64)
        >>> reading = Reading((rows.T @ rows)[None], weights, torch.arange(3)[:, None])
        >>> found = eliminate([reading], 3)
        >>> int(found.order[0]) in (0, 2), bool(found.losses[0] < 1e-3)
        (True, True)
    """
    states = [_State(reading, ridge) for reading in readings]
    alive = np.arange(width)
    order, losses = list[int](), list[float]()
    while len(alive):
        costs = np.zeros(len(alive))
        for state in states:
            costs += state.costs(torch.from_numpy(alive)).numpy()
        place = int(costs.argmin())
        order.append(int(alive[place]))
        losses.append(float(costs[place]))
        for state in states:
            state.remove(order[-1])
        alive = np.delete(alive, place)
    return Elimination(np.array(order, dtype=np.int64), np.array(losses))


class _State:
    """Weights and inverse gram of one reader while its columns go."""

    def __init__(self, reading: Reading, ridge: float) -> None:
        gram = reading.gram.clone()
        diagonal = gram.diagonal(dim1=1, dim2=2)
        load = ridge * diagonal.mean(1, keepdim=True)
        diagonal.add_(load.clamp_min(torch.finfo(torch.float64).tiny))
        self._columns = reading.columns
        self._weights = reading.weights.clone()
        self._inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
        whole = (reading.weights * (reading.gram @ reading.weights)).sum()
        self._share = 1 / float(whole) if float(whole) > 0 else 0.0

    def costs(self, alive: Tensor) -> Tensor:
        """What removing each filter would cost, float64 [alive]."""
        columns = self._columns[alive]
        blocks = self._inverse[:, columns[:, :, None], columns[:, None, :]]
        weights = self._weights[:, columns]
        lost: Tensor = (weights * torch.linalg.solve(blocks, weights)).sum((0, 2, 3))
        return lost * self._share

    def remove(self, filter_: int) -> None:
        """Take a filter's columns away and let the rest take over."""
        gone = self._columns[filter_]
        inverse, weights = self._inverse, self._weights
        rows = inverse[:, gone]
        block = rows[:, :, gone]
        step = torch.linalg.solve(block, torch.cat([weights[:, gone], rows], 2))
        made = weights.shape[2]
        across = inverse[:, :, gone]
        weights.baddbmm_(across, step[:, :, :made], alpha=-1)
        inverse.baddbmm_(across, step[:, :, made:], alpha=-1)
        weights[:, gone] = 0
        inverse[:, gone] = 0
        inverse[:, :, gone] = 0
        inverse[:, gone, gone] = 1
