"""Disjoint sets of integer labels, kept flat: one array holds the root of every label."""

import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

UNTRACKED = 0  # the label of everything that is always present


class Partition:
    """Labels 1, 2, … in disjoint sets; a set's root is its smallest label.

    Label 0 is everything that is always present; it never joins.

    Example:
        >>> sets = Partition()
        >>> first, second = sets.fresh(3), sets.fresh(3)
        >>> sets.join(first, second.flip(0))
        >>> sets.canonical(second).tolist()
        [3, 2, 1]
    """

    def __init__(self) -> None:
        self.roots = torch.zeros(1, dtype=torch.int64)

    def fresh(self, count: int) -> Tensor:
        """`count` new labels, int64 [count], each a set of its own."""
        start = len(self.roots)
        labels = torch.arange(start, start + count)
        self.roots = torch.cat([self.roots, labels])
        return labels

    def canonical(self, labels: Tensor) -> Tensor:
        """The roots of `labels`, any shape."""
        return self.roots[labels]

    def join(self, one: Tensor, other: Tensor) -> None:
        """Make the sets of labels that stand at the same place one; shapes broadcast."""
        one, other = aligned(self.canonical(one), self.canonical(other))
        meets = (one != other) & (one != UNTRACKED) & (other != UNTRACKED)
        if not bool(meets.any()):
            return
        pairs = torch.unique(torch.stack([one[meets], other[meets]], 1), dim=0)
        members, places = torch.unique(pairs, return_inverse=True)
        count, sets = _in_pairs(places, len(members)) or _components(places, len(members))
        lowest = torch.full((count,), len(self.roots)).scatter_reduce(0, sets, members, "amin")
        renamed = torch.arange(len(self.roots))
        renamed[members] = lowest[sets]
        self.roots = renamed[self.roots]


def _in_pairs(pairs: Tensor, count: int) -> tuple[int, Tensor] | None:
    """The sets where no member has two partners, as where two layers meet in a sum."""
    if count != 2 * len(pairs):
        return None
    sets = torch.empty(count, dtype=torch.int64)
    sets[pairs] = torch.arange(len(pairs))[:, None]
    return len(pairs), sets


def _components(pairs: Tensor, count: int) -> tuple[int, Tensor]:
    first, second = pairs.T.numpy()
    links = coo_array((torch.ones(len(pairs)).numpy(), (first, second)), shape=(count, count))
    number, sets = connected_components(links, directed=False)
    return int(number), torch.from_numpy(sets).to(torch.int64)


def aligned(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Both at the shape they broadcast to."""
    first, second = torch.broadcast_tensors(one, other)  # type: ignore[no-untyped-call]
    return first, second


def narrowed(labels: Tensor) -> Tensor:
    """Every axis along which the labels do not change cut down to size 1.

    Example:
        >>> narrowed(torch.tensor([[1, 1, 1], [2, 2, 2]])).tolist()
        [[1], [2]]
    """
    for axis, size in enumerate(labels.shape):
        if size > 1 and (labels.stride(axis) == 0 or bool((labels == labels.narrow(axis, 0, 1)).all())):
            labels = labels.narrow(axis, 0, 1)
    return labels


def varying(labels: Tensor) -> list[int]:
    """The axes along which narrowed labels change."""
    return [axis for axis, size in enumerate(labels.shape) if size > 1]
