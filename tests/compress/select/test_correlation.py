"""The paper's rule against its own words, ties and drift included."""

from itertools import pairwise

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from pfa_gate.analysis.covariance import Moments
from pfa_gate.analysis.spectrum import Spectrum, analyse, spectrum
from pfa_gate.compress.select import choose, removal_order, select
from pfa_gate.errors import ConfigError
from pfa_gate.recipe import Recipe


def responses(seed: int, filters: int, copies: int = 0, dead: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    rows = draw.standard_normal((300, filters)) @ draw.standard_normal((filters, filters))
    for _ in range(copies):
        rows[:, draw.integers(filters)] = rows[:, draw.integers(filters)]
    rows[:, draw.integers(filters, size=dead)] = draw.normal()
    return rows


def of_correlation(matrix: list[list[float]]) -> Spectrum:
    return spectrum(Moments(1000, np.zeros(len(matrix)), 999.0 * np.array(matrix)))


def by_the_book(got: Spectrum) -> list[int]:
    return reference.removal_order(got.correlation, got.inactive)


@given(
    seed=st.integers(0, 10_000),
    filters=st.integers(1, 14),
    copies=st.integers(0, 8),
    dead=st.integers(0, 5),
)
@settings(deadline=None, max_examples=150)
def test_against_the_rule_word_by_word(seed, filters, copies, dead):
    got = analyse(responses(seed, filters, copies, dead))
    order = removal_order(got)
    assert order.dtype == np.int64
    assert order.tolist() == by_the_book(got)


@given(seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_against_the_rule_on_correlations_of_another_make(seed):
    rows = responses(seed, 10, dead=2)
    wanted = reference.removal_order(reference.correlation(rows), ~reference.varying(rows))
    assert removal_order(analyse(rows)).tolist() == wanted


@given(seed=st.integers(0, 10_000), filters=st.integers(1, 12))
@settings(deadline=None, max_examples=40)
def test_choices_are_sorted_nested_and_of_the_right_size(seed, filters):
    got = analyse(responses(seed, filters, dead=2))
    chosen = [choose(got, keep) for keep in range(1, filters + 1)]
    for keep, kept in enumerate(chosen, start=1):
        assert kept.dtype == np.int64
        assert len(kept) == keep
        assert (np.diff(kept) > 0).all()
    for fewer, more in pairwise(chosen):
        assert set(fewer) < set(more)


@given(seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_permuting_filters_permutes_the_choice(seed):
    rows = responses(seed, 9)
    order = np.random.default_rng(seed).permutation(9)
    # The last two always tie, so only three and more are free of the index.
    for keep in range(2, 10):
        kept = {int(order[j]) for j in choose(analyse(rows[:, order]), keep)}
        assert kept == set(choose(analyse(rows), keep).tolist())


def test_inactive_filters_go_first_in_ascending_order():
    rows = responses(0, 8)
    rows[:, [6, 1, 4]] = [0.0, 5.0, -1.0]
    assert removal_order(analyse(rows))[:3].tolist() == [1, 4, 6]
    assert choose(analyse(rows), 5).tolist() == [0, 2, 3, 5, 7]


def test_a_dead_layer_keeps_its_last():
    assert choose(analyse(np.zeros((20, 4))), 1).tolist() == [3]


class TestTies:
    def test_the_highest_single_coefficient_goes_first_and_not_its_partner(self):
        # 1 and 2 tie at 0.7; 2 holds the highest coefficient, with 0, which is not tied.
        pairs = np.eye(6)
        for i, j, value in [(2, 0, 0.5), (2, 3, 0.2), (1, 4, 0.35), (1, 5, 0.35)]:
            pairs[i, j] = pairs[j, i] = value
        got = of_correlation(pairs.tolist())
        assert removal_order(got).tolist() == by_the_book(got) == [2, 1, 0, 3, 4, 5]

    def test_a_coefficient_with_a_filter_that_is_gone_does_not_count(self):
        # 0 goes first; then 1 (0.3 with 2) and 3 (0.2 + 0.1) tie, though 3 had 0.9 with 0.
        pairs = np.eye(6)
        for i, j, value in [(0, 3, 0.9), (1, 2, 0.3), (3, 4, 0.2), (3, 5, 0.1)]:
            pairs[i, j] = pairs[j, i] = value
        got = of_correlation((0.7 * pairs + 0.3 * np.eye(6)).tolist())
        order = removal_order(got).tolist()
        assert order == by_the_book(got)
        assert order[:2] == [3, 1]

    def test_near_ties_are_no_ties(self):
        # A tolerance of 1e-5 let the lower index go.
        pairs = np.eye(4)
        pairs[0, 1] = pairs[1, 0] = 0.4
        pairs[2, 3] = pairs[3, 2] = 0.4 + 1e-6
        assert removal_order(of_correlation(pairs.tolist()))[0] == 2

    @pytest.mark.parametrize("filters", [2, 5, 40, 200])
    def test_copies_go_in_ascending_order(self, filters):
        rows = np.random.default_rng(0).standard_normal((300, 1)) * np.linspace(1, 2, filters)
        assert removal_order(analyse(rows)).tolist() == list(range(filters))

    def test_copies_stay_tied_through_hundreds_of_subtractions(self):
        draw = np.random.default_rng(1)
        single = draw.standard_normal((1200, 80)) @ draw.standard_normal((80, 80))
        got = analyse(np.hstack([single, single]))
        order = removal_order(got).tolist()
        assert order == by_the_book(got)
        # Of two copies the first goes first.
        assert all(order.index(j) < order.index(j + 80) for j in range(80))

    def test_uncorrelated_filters_go_in_ascending_order(self):
        assert removal_order(of_correlation(np.eye(6).tolist())).tolist() == [0, 1, 2, 3, 4, 5]


def test_select_follows_the_recipe():
    spectra = {"a": analyse(responses(0, 6)), "b": analyse(responses(4, 9))}
    got = select(Recipe("kl", None, {"b": 4, "a": 6}), spectra)
    assert list(got.indices) == ["b", "a"]
    assert got.indices["a"].tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(got.indices["b"], choose(spectra["b"], 4))


@pytest.mark.parametrize("keep", [0, -1, 7])
def test_a_count_out_of_range(keep):
    with pytest.raises(ConfigError, match=f"keep is {keep}; it must lie between 1 and the 6 filters"):
        choose(analyse(responses(0, 6)), keep)
