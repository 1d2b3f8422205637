"""Disjoint sets of labels, and the clusters of these sets that become groups.

A set is what stays or goes together, known by its root. Sets that touch the same axes equally often, and stay or go for
the same reason, are one cluster: the filters of a group.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pfa_gate.graph.group import OTHER_GROUP, Indices

UNTRACKED = 0  # the label of everything that is always present


class Partition:
    """Labels 1, 2, … in disjoint sets; a set's root is its smallest label.

    One flat array leads from every label towards the root of its set; where it has led once, it leads at once.
    Label 0 is everything that is always present; it never joins.

    Example:
        >>> sets = Partition()
        >>> first, second = sets.fresh(3), sets.fresh(3)
        >>> sets.join(first, second.flip(0))
        tensor([], dtype=torch.int64)
        >>> sets.canonical(second).tolist()
        [3, 2, 1]
    """

    def __init__(self) -> None:
        self._parents: Indices = np.zeros(1024, np.int64)  # grows by doubling; never above the label itself
        self._count = 1
        self.version = 0  # how often sets have become one

    def __len__(self) -> int:
        """How many labels there are, with that of what is always present."""
        return self._count

    def fresh(self, count: int) -> Tensor:
        """`count` new labels, int64 [count], each a set of its own."""
        start, self._count = self._count, self._count + count
        if self._count > len(self._parents):
            self._parents = np.resize(self._parents, 2 * self._count)
        labels = np.arange(start, self._count)
        self._parents[start : self._count] = labels
        return torch.from_numpy(labels)

    def canonical(self, labels: Tensor) -> Tensor:
        """The roots of `labels`, any shape, spread as these are; the same tensor where all of them are roots."""
        values = labels.numpy()
        spread = 0 in values.strides
        few = values[tuple(slice(1) if step == 0 else slice(None) for step in values.strides)] if spread else values
        roots = self._roots(few)
        if roots is few:
            return labels
        return torch.from_numpy(roots).expand(labels.shape) if spread else torch.from_numpy(roots)

    def canonical_each(self, every: Sequence[Tensor]) -> list[Tensor]:
        """The roots of many labels, as `canonical` gives them, looked up at once."""
        sizes = [labels.numel() for labels in every]
        if not all(sizes):
            return [self.canonical(labels) for labels in every]
        flat = np.concatenate([np.zeros(0, np.int64), *(labels.numpy().reshape(-1) for labels in every)])
        starts = np.cumsum([0, *sizes[:-1]])
        changed = np.logical_or.reduceat(self._parents[flat] != flat, starts).tolist() if sizes else []
        return [self.canonical(labels) if each else labels for labels, each in zip(every, changed, strict=True)]

    def join(self, one: Tensor, other: Tensor) -> Tensor:
        """Make the sets of labels that stand at the same place one; shapes broadcast.

        Returns:
            The labels that stand at the same place as something that is always present, [n].
        """
        first, second = (self.canonical(labels).numpy() for labels in (one, other))
        if first.shape != second.shape:
            first, second = np.broadcast_arrays(first, second)
        always = (first == UNTRACKED, second == UNTRACKED)
        lonely = always[0] != always[1]
        meets = (first != second) & ~lonely
        if meets.any():
            self._hook(first[meets], second[meets])
        return torch.from_numpy(np.maximum(first[lonely], second[lonely]))

    def _hook(self, first: Indices, second: Indices) -> None:
        """Each larger root goes below the smallest that it meets; what it met besides is left for the next round."""
        self.version += 1
        while len(first):
            lower, upper = np.minimum(first, second), np.maximum(first, second)
            np.minimum.at(self._parents, upper, lower)
            first, second = self._roots(lower), self._roots(upper)
            apart = first != second
            first, second = first[apart], second[apart]

    def _roots(self, labels: Indices) -> Indices:
        """The root of each label, to which it leads at once from now on; the same array where all of them are roots."""
        above: Any = self._parents[labels]
        if (above == labels).all():
            return labels
        roots: Any = self._parents[above]
        if (roots != above).any():
            while ((further := self._parents[roots]) != roots).any():
                roots = further
            self._parents[labels] = roots
        return np.asarray(roots)


def aligned(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Both at the shape they broadcast to."""
    if one.shape == other.shape:
        return one, other
    first, second = torch.broadcast_tensors(one, other)  # type: ignore[no-untyped-call]
    return first, second


def narrowed(labels: Tensor) -> Tensor:
    """Every axis along which the labels do not change cut down to size 1.

    Example:
        >>> narrowed(torch.tensor([[1, 1, 1], [2, 2, 2]])).tolist()
        [[1], [2]]
    """
    values = labels.numpy()
    for axis, (size, step) in enumerate(zip(values.shape, values.strides, strict=True)):
        if size > 1 and (step == 0 or not _changes(values, axis)):
            labels = labels.narrow(axis, 0, 1)
            values = labels.numpy()
    return labels


def _changes(labels: Indices, axis: int) -> bool:
    """Whether labels change along an axis; most that do so begin with two that differ."""
    if labels.size and labels.item(0) != labels.item(math.prod(labels.shape[axis + 1 :])):
        return True
    return bool((labels != labels.take([0], axis)).any())


def varying(labels: Tensor) -> list[int]:
    """The axes along which narrowed labels change."""
    return [axis for axis, size in enumerate(labels.shape) if size > 1]


@dataclass(frozen=True)
class Touch:
    """An axis of a parameter, or of a product of activations, and the root of each of its indices."""

    parameter: str | None
    axis: int
    roots: Indices
    makes: bool = False
    reads: bool = False


@dataclass(frozen=True)
class Cluster:
    """The filters of one group.

    Attributes:
        roots: of its labels, in order.
        touches: the axes that it takes part in.
        frozen: why it cannot be cut, or None.
    """

    roots: Indices
    touches: tuple[Touch, ...]
    frozen: str | None


@dataclass(frozen=True)
class Clusters:
    """All groups of filters, in the order of their first roots.

    Attributes:
        each: the clusters.
        size: of all labels.
    """

    each: Sequence[Cluster]
    size: int

    @cached_property
    def widths(self) -> Indices:
        """Filters of each cluster."""
        return np.array([len(cluster.roots) for cluster in self.each], np.int64)

    @cached_property
    def _owners(self) -> Indices:
        owners = np.full(self.size, OTHER_GROUP, np.int64)
        for index, cluster in enumerate(self.each):
            owners[cluster.roots] = index
        return owners

    @cached_property
    def _places(self) -> Indices:
        places = np.zeros(self.size, np.int64)
        for cluster in self.each:
            places[cluster.roots] = np.arange(len(cluster.roots))
        return places

    def filters(self, index: int, roots: Indices) -> Indices:
        """The filter of one cluster that each root is, -1 for those of others."""
        return np.where(self._owners[roots] == index, self._places[roots], OTHER_GROUP)

    def counts(self, axes: Sequence[Indices]) -> tuple[Indices, Indices]:
        """Along each of `axes`, given as roots: how many are of no cluster [axes], and of each [axes, clusters]."""
        columns = len(self.each) + 1
        starts = np.repeat(np.arange(len(axes)) * columns, [len(roots) for roots in axes])
        places = self._owners[np.concatenate([np.zeros(0, np.int64), *axes])] + 1 + starts
        counts = np.bincount(places, minlength=len(axes) * columns).reshape(len(axes), columns)
        return counts[:, 0], counts[:, 1:]


@dataclass(frozen=True)
class Reasons:
    """Why some roots cannot be cut.

    Attributes:
        texts: the reasons.
        of: for each root the place of its reason in `texts`, -1 where it may be cut.
    """

    texts: Sequence[str]
    of: Indices

    def text(self, root: int) -> str | None:
        """Why a root cannot be cut, or None."""
        return self.texts[self.of[root]] if self.of[root] >= 0 else None


def clusters_of(touches: Sequence[Touch], reasons: Reasons) -> Clusters:
    """The clusters of the roots of these touches; columns that read something that is no filter are in none.

    Example:
        >>> rows, read = Touch("0.weight", 0, np.array([1, 2, 3]), makes=True), Touch("1.weight", 1, np.array([1, 2]))
        >>> found = clusters_of([rows, read], Reasons(["it is shown"], np.array([-1, -1, 0, -1])))
        >>> [(cluster.roots.tolist(), len(cluster.touches), cluster.frozen) for cluster in found.each]
        [([1], 2, None), ([2], 2, 'it is shown'), ([3], 1, None)]
    """
    together: dict[tuple[int, ...], list[Indices]] = {}
    for roots, signature in _runs(touches, reasons):
        together.setdefault(signature, []).append(roots)
    clusters = []
    for signature, parts in together.items():
        taken = tuple(touches[index] for index in signature[1::2])
        if any(touch.makes for touch in taken):
            clusters.append(Cluster(np.concatenate(parts), taken, reasons.text(int(parts[0][0]))))
    return Clusters(sorted(clusters, key=lambda cluster: int(cluster.roots[0])), len(reasons.of))


def _runs(touches: Sequence[Touch], reasons: Reasons) -> Iterator[tuple[Indices, tuple[int, ...]]]:
    """Roots in order, as runs that share a signature: the reason, then each touch they are in and how often."""
    roots, entries = _entries(touches, len(reasons.of))
    starts = np.flatnonzero(np.diff(roots, prepend=UNTRACKED))
    lengths = np.diff(starts, append=len(roots))
    distinct = roots[starts]
    why = reasons.of[distinct]
    if not len(distinct):
        return
    # Where a root has as many entries as the one before it, each of them is compared with that one's.
    before = np.arange(len(roots)) - np.repeat(lengths, lengths)
    unlike = np.logical_or.reduceat((entries != entries[before]).any(1), starts)
    unlike[1:] |= (lengths[1:] != lengths[:-1]) | (why[1:] != why[:-1])
    unlike[0] = True
    begins = np.flatnonzero(unlike)
    for begin, end in zip(begins, [*begins[1:], len(distinct)], strict=True):
        signature = entries[starts[begin] : starts[begin] + lengths[begin]].reshape(-1)
        yield distinct[begin:end], (int(why[begin]), *signature.tolist())


def _entries(touches: Sequence[Touch], size: int) -> tuple[Indices, Indices]:
    """For each root and each touch that it is in: the root [n], and [n, 2] which touch it is and how often; by root."""
    places = [touch.roots + index * size for index, touch in enumerate(touches)]
    keys, counts = np.unique(np.concatenate(places or [np.zeros(0, np.int64)]), return_counts=True)
    which, roots = np.divmod(keys, size)
    order = np.argsort(roots, kind="stable")
    order = order[np.searchsorted(roots[order], UNTRACKED, "right") :]
    return roots[order], np.stack([which, counts], 1)[order]
