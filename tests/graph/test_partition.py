"""Disjoint sets, held against the textbook algorithm."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from pfa_gate.graph.partition import Partition, narrowed, varying

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


def test_untracked_never_joins() -> None:
    partition = Partition()
    labels = partition.fresh(3)
    partition.join(labels, torch.zeros(1, dtype=torch.int64))
    assert partition.canonical(labels).tolist() == [1, 2, 3]


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_narrowing_keeps_every_label(first: int, second: int, third: int) -> None:
    labels = torch.arange(second).reshape(1, second, 1).expand(first, second, third)
    small = narrowed(labels)
    assert torch.equal(small.expand(labels.shape), labels)
    assert varying(small) == ([1] if second > 1 else [])
