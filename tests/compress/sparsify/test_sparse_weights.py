"""Zeros in one layer: the pattern is exact, the weights that stay are the least squares, none is worse than by size."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pfa_gate.compress.sparsify import correction, masks
from pfa_gate.compress.sparsify.correction import corrected, damped, loss, sparse
from pfa_gate.compress.sparsify.masks import magnitude_mask, surgeon_mask
from pfa_gate.compress.sparsify.pattern import Pattern, column_groups, groups_meeting

PATTERNS = ("1:4", "2:4", "4:8", "1:2", "3:5")


class Problem(NamedTuple):
    rows: Tensor
    weights: Tensor
    gram: Tensor
    groups: Tensor
    pattern: Pattern
    channels: int


def problem(seed: int, taps: int, channels: int, filters: int, pattern: str) -> Problem:
    """Correlated rows, as those of a network are."""
    draw = torch.Generator().manual_seed(seed)
    columns, kind = taps * channels, Pattern.of_text(pattern)
    mix = torch.randn(columns, columns, generator=draw, dtype=torch.float64)
    rows = torch.randn(6 * columns, columns, generator=draw, dtype=torch.float64) @ (torch.eye(columns) + 0.5 * mix)
    weights = torch.randn(columns, filters, generator=draw, dtype=torch.float64)
    return Problem(rows, weights, rows.T @ rows, column_groups(taps, channels, kind.of), kind, channels)


PROBLEMS = st.builds(
    problem, st.integers(0, 2**32), st.sampled_from([1, 2, 9]), st.integers(1, 9), st.integers(1, 4),
    st.sampled_from(PATTERNS),
)  # fmt: skip
LAWS = settings(max_examples=15, deadline=None)


def made(asked: Problem) -> Tensor:
    return sparse(asked.weights, asked.gram, asked.groups, asked.pattern.kept)


def kept(asked: Problem, found: Tensor) -> list[int]:
    """Of each group of each filter, how many weights are not zero, group by group as they are written down by hand."""
    counts = []
    for tap in range(len(asked.weights) // asked.channels):
        for start in range(0, asked.channels, asked.pattern.of):
            end = min(start + asked.pattern.of, asked.channels)
            part = found[tap * asked.channels + start : tap * asked.channels + end]
            counts += (part != 0).sum(0).tolist()
    return counts


@LAWS
@given(PROBLEMS)
def test_every_group_keeps_as_many_weights_as_the_pattern_says_the_last_and_narrower_ones_too(asked: Problem) -> None:
    found = made(asked)
    sizes = torch.bincount(asked.groups).clamp_max(asked.pattern.kept).repeat_interleave(asked.weights.shape[1])
    assert kept(asked, found) == sizes.tolist()
    weight = found.T.reshape(found.shape[1], -1, asked.channels).transpose(1, 2)  # as a layer stores it
    assert groups_meeting(weight, 1, asked.pattern).whole


@LAWS
@given(PROBLEMS)
def test_the_weights_that_stay_are_the_least_squares_on_their_columns(asked: Problem) -> None:
    found, wanted = made(asked), asked.rows @ asked.weights
    for filter_ in range(asked.weights.shape[1]):
        support = found[:, filter_] != 0
        best, *_ = np.linalg.lstsq(asked.rows[:, support].numpy(), wanted[:, filter_].numpy(), rcond=None)
        np.testing.assert_allclose(found[support, filter_].numpy(), best, rtol=1e-6, atol=1e-8)


@LAWS
@given(PROBLEMS)
def test_no_filter_is_worse_than_by_magnitude_with_or_without_correction(asked: Problem) -> None:
    mask = magnitude_mask(asked.weights, asked.groups, asked.pattern.kept)
    error = loss(made(asked), asked.weights, asked.gram)
    for other in (asked.weights * mask, corrected(asked.weights, asked.gram, mask)):
        assert bool((error <= loss(other, asked.weights, asked.gram) * (1 + 1e-9) + 1e-12).all())


@settings(max_examples=8, deadline=None)
@given(PROBLEMS, st.integers(0, 2**32))
def test_the_order_of_groups_of_channels_within_a_group_and_of_filters_does_not_matter(
    asked: Problem, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    count = int(asked.groups.max()) + 1
    parts = [torch.nonzero(asked.groups == group)[:, 0] for group in torch.randperm(count, generator=draw)]
    order = torch.cat([part[torch.randperm(len(part), generator=draw)] for part in parts])
    groups = torch.repeat_interleave(torch.arange(count), torch.tensor([len(part) for part in parts]))
    filters = torch.randperm(asked.weights.shape[1], generator=draw)
    moved = sparse(asked.weights[order][:, filters], asked.gram[order][:, order], groups, asked.pattern.kept)
    torch.testing.assert_close(moved, made(asked)[order][:, filters], rtol=1e-6, atol=1e-9)


def test_a_layer_done_by_blocks_is_better_than_by_magnitude_and_worse_than_one_done_whole() -> None:
    asked = problem(0, 9, 16, 8, "2:4")
    errors = {}
    for block in (16, 48, 144):
        mask = surgeon_mask(asked.weights, asked.gram, asked.groups, 2, block)
        assert bool((torch.zeros(36, 8).index_add(0, asked.groups, mask.float()) == 2).all())
        errors[block] = float(loss(corrected(asked.weights, asked.gram, mask), asked.weights, asked.gram).sum())
    by_size = corrected(asked.weights, asked.gram, magnitude_mask(asked.weights, asked.groups, 2))
    assert errors[144] < errors[48] < errors[16] < float(loss(by_size, asked.weights, asked.gram).sum())


def test_one_weight_after_the_other_is_nearer_to_the_best_of_all_choices_than_by_magnitude() -> None:
    ratios = []
    for seed in range(8):
        asked = problem(seed, 1, 8, 1, "2:4")
        pairs = list(itertools.combinations(range(4), 2))
        losses = []
        for one, other in itertools.product(pairs, pairs):
            mask = torch.zeros(8, 1, dtype=torch.bool)
            mask[[*one, *(4 + place for place in other)]] = True
            losses.append(float(loss(corrected(asked.weights, asked.gram, mask), asked.weights, asked.gram)))
        by_size = corrected(asked.weights, asked.gram, magnitude_mask(asked.weights, asked.groups, 2))
        ratios.append([float(loss(each, asked.weights, asked.gram)) / min(losses) for each in (made(asked), by_size)])
    surgeon, magnitude = zip(*ratios, strict=True)
    assert min(surgeon) == pytest.approx(1, abs=1e-6)
    assert sum(surgeon) < 0.8 * sum(magnitude), ratios


def test_what_is_solved_by_gradients_is_what_is_solved_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = problem(3, 3, 11, 5, "2:4")
    gram = damped(asked.gram, 1e-2)
    mask = magnitude_mask(asked.weights, asked.groups, 2)
    direct = corrected(asked.weights, gram, mask)
    monkeypatch.setattr(correction, "DIRECT", 0)
    least, near = (loss(each, asked.weights, gram) for each in (direct, corrected(asked.weights, gram, mask)))
    assert bool((near <= least * (1 + 1e-6)).all())
    monkeypatch.setattr(correction, "_CLOSE", 1e-10)
    torch.testing.assert_close(corrected(asked.weights, gram, mask), direct, rtol=1e-6, atol=1e-8)
    monkeypatch.setattr(correction, "_ROUNDS", 1)
    hasty, as_it_was = corrected(asked.weights, gram, mask), asked.weights * mask
    assert bool((loss(hasty, asked.weights, gram) < loss(as_it_was, asked.weights, gram)).all())


def test_rows_that_are_done_in_several_parts_are_done_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = problem(4, 2, 8, 6, "2:4")
    whole = made(asked)
    monkeypatch.setattr(masks, "_HELD", 1)
    monkeypatch.setattr(correction, "_HELD", 1)
    torch.testing.assert_close(made(asked), whole)


def test_a_layer_that_reads_nothing_keeps_its_largest_weights_as_they_are() -> None:
    weights = torch.tensor([[1.0], [-3.0], [2.0], [0.5]], dtype=torch.float64)
    found = sparse(weights, damped(torch.zeros(4, 4, dtype=torch.float64), 0.01), torch.zeros(4, dtype=torch.long), 2)
    assert found.flatten().tolist() == [0, -3, 2, 0]


def test_weights_that_are_zero_already_go_first_and_the_others_stay_as_they_are() -> None:
    asked = problem(5, 2, 8, 3, "2:4")
    mask = magnitude_mask(asked.weights, asked.groups, 2)
    held = asked.weights * mask
    torch.testing.assert_close(sparse(held, asked.gram, asked.groups, 2), held)
