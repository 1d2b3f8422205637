"""Disjoint sets, held against the textbook algorithm, and clusters, against a dictionary of signatures."""

from collections import Counter

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from pfa_gate.graph.partition import Clusters, Partition, Reasons, Touch, clusters_of, narrowed, varying

PAIRS = st.lists(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=8), max_size=8)


def textbook_roots(batches: list[list[tuple[int, int]]], count: int) -> list[int]:
    sets = [{label} for label in range(count)]
    for one, other in (pair for batch in batches for pair in batch):
        if one and other:
            merged = next(each for each in sets if one in each) | next(each for each in sets if other in each)
            sets = [each for each in sets if not each & merged] + [merged]
    return [min(next(each for each in sets if label in each)) for label in range(count)]


@given(PAIRS)
def test_roots_are_the_smallest_label_of_each_set(batches: list[list[tuple[int, int]]]) -> None:
    partition = Partition()
    partition.fresh(20)
    for batch in batches:
        one, other = torch.tensor(batch).T
        partition.join(one, other)
    assert partition.canonical(torch.arange(21)).tolist() == textbook_roots(batches, 21)


def test_roots_are_the_same_whether_labels_came_before_a_join_or_after() -> None:
    partition = Partition()
    first = partition.fresh(700)
    partition.join(first[1:], first[:-1])
    second = partition.fresh(700)  # more than there was room for
    assert partition.canonical(torch.cat([first, second])).tolist() == [1] * 700 + list(range(701, 1401))
    partition.join(second.flip(0), first)
    assert partition.canonical(torch.cat([first, second])).tolist() == [1] * 1400


def test_roots_of_labels_that_are_spread_are_spread_too() -> None:
    partition = Partition()
    labels = partition.fresh(3)
    partition.join(labels[1:], labels[:1])
    spread = labels.reshape(3, 1).expand(2, 3, 4)
    assert torch.equal(partition.canonical(spread), torch.ones(2, 3, 4, dtype=torch.int64))
    assert partition.canonical(spread).stride() == (0, 1, 0)


@given(PAIRS, st.lists(st.lists(st.integers(0, 20), max_size=4), max_size=5))
def test_many_labels_are_looked_up_at_once_as_one_by_one(
    batches: list[list[tuple[int, int]]], asked: list[list[int]]
) -> None:
    partition = Partition()
    partition.fresh(20)
    for batch in batches:
        one, other = torch.tensor(batch).T
        partition.join(one, other)
    every = [torch.tensor(labels, dtype=torch.int64) for labels in asked]
    for labels, roots in zip(every, partition.canonical_each(every), strict=True):
        assert torch.equal(roots, partition.canonical(labels))
        assert (roots is labels) == torch.equal(roots, labels)


def test_untracked_never_joins() -> None:
    partition = Partition()
    labels = partition.fresh(3)
    partition.join(labels, torch.zeros(1, dtype=torch.int64))
    assert partition.canonical(labels).tolist() == [1, 2, 3]


@given(st.lists(st.lists(st.integers(0, 1), min_size=3, max_size=3), min_size=1, max_size=3))
def test_narrowing_keeps_the_axes_along_which_a_label_changes(rows: list[list[int]]) -> None:
    small = narrowed(torch.tensor(rows))
    assert torch.equal(small.expand(len(rows), 3), torch.tensor(rows))
    assert (0 in varying(small)) == any(row != rows[0] for row in rows)
    assert (1 in varying(small)) == any(len(set(row)) > 1 for row in rows)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_narrowing_keeps_every_label(first: int, second: int, third: int) -> None:
    labels = torch.arange(second).reshape(1, second, 1).expand(first, second, third)
    small = narrowed(labels)
    assert torch.equal(small.expand(labels.shape), labels)
    assert varying(small) == ([1] if second > 1 else [])


TEXTS = ["it is shown", "it is summed"]
ROOTS = st.lists(st.integers(0, 12), max_size=14)
TOUCHES = st.lists(st.tuples(ROOTS, st.booleans()), max_size=5)
REASONS = st.lists(st.integers(-1, 1), min_size=13, max_size=13)


def found(roots: list[tuple[list[int], bool]], of: list[int]) -> Clusters:
    touches = [Touch(str(place), 0, np.array(each, np.int64), makes) for place, (each, makes) in enumerate(roots)]
    return clusters_of(touches, Reasons(TEXTS, np.array(of)))


def textbook(roots: list[tuple[list[int], bool]], of: list[int]) -> dict[tuple[int, ...], tuple[list[int], str | None]]:
    """For the roots of each cluster: the touches that they are in, and why they stay."""
    together: dict[tuple[tuple[int, ...], int], list[int]] = {}
    for root in range(1, 13):
        counts = tuple(Counter(each)[root] for each, _ in roots)
        if any(counts):
            together.setdefault((counts, of[root]), []).append(root)
    return {
        tuple(members): ([place for place, count in enumerate(counts) if count], TEXTS[why] if why >= 0 else None)
        for (counts, why), members in sorted(together.items(), key=lambda entry: entry[1])
        if any(count and makes for count, (_, makes) in zip(counts, roots, strict=True))
    }


@given(TOUCHES, REASONS)
def test_roots_of_one_cluster_touch_the_same_axes_equally_often(
    roots: list[tuple[list[int], bool]], of: list[int]
) -> None:
    clusters = found(roots, of)
    assert {
        tuple(cluster.roots.tolist()): ([int(str(touch.parameter)) for touch in cluster.touches], cluster.frozen)
        for cluster in clusters.each
    } == textbook(roots, of)
    assert list(textbook(roots, of)) == [tuple(cluster.roots.tolist()) for cluster in clusters.each]


@given(TOUCHES, REASONS, ROOTS)
def test_a_root_is_a_filter_of_the_one_cluster_that_has_it(
    roots: list[tuple[list[int], bool]], of: list[int], asked: list[int]
) -> None:
    clusters = found(roots, of)
    members = [cluster.roots.tolist() for cluster in clusters.each]
    places = [[each.index(root) if root in each else -1 for root in asked] for each in members]
    labels = np.array(asked, np.int64)
    assert [clusters.filters(index, labels).tolist() for index in range(len(members))] == places
    fixed, counts = clusters.counts([labels, labels[:0]])
    assert counts.tolist() == [[sum(root in each for root in asked) for each in members], [0] * len(members)]
    assert fixed.tolist() == [len(asked) - counts.sum(), 0]
