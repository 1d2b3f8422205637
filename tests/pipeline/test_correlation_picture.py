"""Heat maps: a permutation of the matrix, clusters side by side, blocks that are means, and a bound on all of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfa_gate.pipeline.correlation_picture import clustered, heat_map, side


def correlation(generator, filters, groups=None):
    """|Pearson| of filters that come in groups which say the same."""
    groups = generator.integers(0, 4, filters) if groups is None else groups
    rows = generator.normal(size=(500, groups.max() + 1))[:, groups] + 0.3 * generator.normal(size=(500, filters))
    return np.abs(np.corrcoef(rows.T)).reshape(filters, filters)


def matrix(found):
    """The picture's cells as levels, both triangles."""
    levels = np.zeros((found.side, found.side), dtype=int)
    levels[np.triu_indices(found.side)] = [int(cell, 16) for cell in found.cells]
    return np.maximum(levels, levels.T)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(0, 2**31))
def test_each_cell_is_the_correlation_of_its_two_filters(filters, seed):
    generator = np.random.default_rng(seed)
    values = correlation(generator, filters)
    inactive = generator.random(filters) < 0.2
    values[inactive] = values[:, inactive] = 0.0
    found = heat_map(values, inactive, 64)
    assert sorted(found.order) == list(range(filters))
    assert list(found.order[int((~inactive).sum()) :]) == np.flatnonzero(inactive).tolist()
    order = list(found.order)
    np.testing.assert_array_equal(matrix(found), np.rint(15 * values[np.ix_(order, order)]))


def test_filters_that_say_the_same_are_side_by_side():
    groups = np.tile(np.arange(4), 8)
    values = correlation(np.random.default_rng(0), 32, groups)
    order = groups[clustered(values, np.arange(32))]
    assert int((np.diff(order) != 0).sum()) == 3


@pytest.mark.parametrize(("filters", "most"), [(65, 64), (100, 64), (128, 64), (257, 35), (5, 3), (3, 2)])
def test_blocks_are_the_means_of_pairs_of_different_filters(filters, most):
    values = correlation(np.random.default_rng(filters), filters)
    inactive = np.zeros(filters, dtype=bool)
    found = heat_map(values, inactive, most)
    assert (found.side, found.order) == (most, ())
    order = clustered(values, np.arange(filters))
    owner = np.searchsorted(np.arange(most) * filters // most, np.arange(filters), side="right") - 1
    for row in range(most):
        for column in range(row, most):
            block = [
                values[a, b]
                for a in order[owner == row]
                for b in order[owner == column]
                if a != b or (owner == row).sum() == 1
            ]
            assert abs(matrix(found)[row, column] - 15 * np.mean(block)) <= 0.5 + 1e-9


def test_layers_without_a_moving_filter_and_tiny_ones():
    assert heat_map(np.zeros((4, 4)), np.ones(4, dtype=bool), 64).cells == "0" * 10
    assert heat_map(np.ones((2, 2)), np.zeros(2, dtype=bool), 64).cells == "fff"


@pytest.mark.parametrize("layers", [1, 60, 200, 1_000])
def test_the_pictures_of_a_record_are_bounded_together(layers):
    most = side(layers)
    assert 16 <= most <= 64
    assert layers * most * (most + 1) // 2 <= 140_000
