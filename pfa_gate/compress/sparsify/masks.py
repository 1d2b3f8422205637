"""Which weights of a layer stay: by their size, or by what the layer's outputs lose without them.

The second is the optimal brain surgeon: remove the weight whose loss the others can make up for best, w^2 over its
diagonal of H^-1, let them do so, and repeat until every group has few enough. Rows of weights (filters) share H and are
done side by side. A wide layer is done block by block of its columns: within a block exactly, and the columns of later
blocks make up for those of earlier ones.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

WORK = 2e10  # products of a layer, up to which it is done as one block; it takes some ten seconds
_LEAST_BLOCK = 64
_HELD = 2**22  # numbers of the steps so far that are held at once


def magnitude_mask(weights: Tensor, groups: Tensor, kept: int) -> Tensor:
    """The largest weights of each group, bool [D, O]; of equal ones the first.

    Args:
        weights: [D, O], one column for each filter.
        groups: int64 [D], the group of each row.
        kept: that stay of each group.

    Example:
        >>> magnitude_mask(torch.tensor([[3.0], [-4.0], [1.0]]), torch.tensor([0, 0, 0]), 2).flatten().tolist()
        [True, True, False]
    """
    order = weights.abs().argsort(dim=0, descending=True, stable=True)
    places = groups[order]
    by_group = places.argsort(dim=0, stable=True)
    sizes = torch.bincount(groups)
    first = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    rank = torch.arange(len(groups)) - first
    stays = (rank < kept)[:, None].expand_as(by_group)
    return torch.zeros_like(stays).scatter(0, order.gather(0, by_group), stays)


def surgeon_mask(weights: Tensor, gram: Tensor, groups: Tensor, kept: int, block: int | None = None) -> Tensor:
    """The weights that stay where those go, one after the other, that the others can best make up for: bool [D, O].

    Args:
        weights: float64 [D, O], one column for each filter.
        gram: float64 [D, D], positive definite.
        groups: int64 [D], the group of each row; the rows of one are neighbours.
        kept: that stay of each group.
        block: rows that are done together; by the size of the layer unless given.

    Example:
        >>> twins = torch.tensor([[1.0, 0.99, 0], [0.99, 1, 0], [0, 0, 1]], dtype=torch.float64)
        >>> weights = torch.tensor([[1.0], [1.0], [0.5]], dtype=torch.float64)
        >>> surgeon_mask(weights, twins, torch.tensor([0, 0, 0]), 2).flatten().tolist()
        [False, True, True]
    """
    columns, filters = weights.shape
    block = block or block_size(columns, filters)
    current = weights.T.clone()
    upper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(gram)), upper=True)
    found = []
    for start, end in _blocks(groups, block):
        within = upper[start:end, start:end]
        mask, left = _eliminated(current[:, start:end], within.T @ within, groups[start:end], kept)
        change = left - current[:, start:end]
        # What the later columns do about it; the earlier ones are settled.
        rest = torch.linalg.solve_triangular(within.T, change.T, upper=False)
        current[:, end:] += rest.T @ upper[start:end, end:]
        found.append(mask)
    return torch.cat(found, 1).T.contiguous()


def block_size(columns: int, filters: int) -> int:
    """How many columns are done together: all where that is not too much work.

    Example:
        >>> block_size(576, 64), block_size(768, 3072)
        (576, 92)
    """
    return min(columns, max(_LEAST_BLOCK, math.isqrt(int(WORK / (columns * filters)))))


def _blocks(groups: Tensor, block: int) -> Iterator[tuple[int, int]]:
    """Runs of whole groups, of about so many rows each."""
    ends = torch.bincount(groups).cumsum(0).tolist()
    start = last = 0
    for end in ends:
        if end - start > block and last > start:
            yield start, last
            start = last
        last = end
    if last > start:
        yield start, last


def _eliminated(weights: Tensor, inverse: Tensor, groups: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """Which weights [R, B] stay, and their values, given the inverse [B, B] of what they meet."""
    spare = (torch.bincount(groups, minlength=int(groups.max()) + 1) - kept).clamp_min_(0)
    steps = int(spare.sum())
    rows = max(1, _HELD // max(1, steps * len(groups)))
    parts = [_of_rows(part, inverse, groups, spare, steps) for part in torch.split(weights, rows)]
    masks, values = zip(*parts, strict=True)
    return torch.cat(masks), torch.cat(values)


def _of_rows(weights: Tensor, inverse: Tensor, groups: Tensor, spare: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """The same for a few rows.

    The inverse after some removals is the first one less the products of one vector for each; only its diagonal and
    the columns of removed weights are ever needed.
    """
    every, columns = torch.arange(len(weights)), weights.shape[1]
    weights = weights.clone()
    diagonal = inverse.diagonal().expand_as(weights).clone()
    spare = spare.expand(len(weights), -1).clone()
    stays = torch.ones_like(weights, dtype=torch.bool)
    free = (spare > 0)[:, groups]
    vectors = weights.new_empty(len(weights), steps, columns)
    for step in range(steps):
        costs = torch.where(free, weights.square() / diagonal, math.inf)
        gone = costs.argmin(1)
        before = vectors[:, :step]
        column = inverse[gone] - (before[every, :, gone][:, None] @ before)[:, 0]
        pivot = diagonal[every, gone]
        weights -= column * (weights[every, gone] / pivot)[:, None]
        vector = column / pivot.sqrt()[:, None]
        vectors[:, step] = vector
        stays[every, gone] = False
        weights.masked_fill_(~stays, 0)
        diagonal = (diagonal - vector.square()).where(stays, 1.0)
        spare[every, groups[gone]] -= 1
        free = stays & (spare > 0)[:, groups]
    return stays, weights
