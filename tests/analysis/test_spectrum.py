"""Laws of the spectrum, and what breaks naive ones: dead, constant, few, one, scaled, broken."""

from dataclasses import replace

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pfa_gate.analysis.covariance import JackknifeFolds, Moments, covariance, merge_all, update
from pfa_gate.analysis.spectrum import Spectrum, analyse, pooled, spectrum, spectrum_of_folds
from pfa_gate.errors import DataError, NotFiniteError, TooFewSamplesError
from pfa_gate.recipe import keep_energy, keep_kl


def responses(samples: int = 400, filters: int = 6, seed: int = 0) -> np.ndarray:
    """Mixed filters with means, some of them dead or copies, as the seed has it."""
    draw = np.random.default_rng(seed)
    rows = draw.standard_normal((samples, filters)) @ draw.standard_normal((filters, filters))
    rows += draw.normal(0, 5, filters)
    if filters > 2 and seed % 3 == 1:
        rows[:, draw.integers(filters)] = draw.normal()
    if filters > 2 and seed % 3 == 2:
        rows[:, 0] = -2 * rows[:, 1]
    return rows


any_responses = st.builds(responses, filters=st.integers(1, 12), seed=st.integers(0, 10_000))


def assert_same(one: Spectrum, two: Spectrum) -> None:
    assert (one.samples, one.filters, one.active) == (two.samples, two.filters, two.active)
    for name in ("kl", "kl_ratio", "kl_ratio_standardised", "peak_correlation", "mean_correlation"):
        assert getattr(one, name) == pytest.approx(getattr(two, name), rel=1e-9, abs=1e-9), name
    np.testing.assert_allclose(one.eigenvalues, two.eigenvalues, atol=1e-9)


@given(rows=any_responses)
@settings(deadline=None)
def test_against_an_independent_reference(rows):
    got = analyse(rows)
    np.testing.assert_allclose(got.eigenvalues, reference.eigenvalues(rows), atol=1e-12)
    assert got.kl == pytest.approx(reference.kl(rows), abs=1e-12)
    np.testing.assert_array_equal(~got.inactive, reference.varying(rows))
    pairs = reference.correlation(rows)
    np.testing.assert_allclose(got.correlation, pairs, atol=1e-12)
    active = np.flatnonzero(~got.inactive)
    others = pairs[np.ix_(active, active)][~np.eye(len(active), dtype=bool)]
    assert got.peak_correlation == pytest.approx(others.max(initial=0), abs=1e-12)
    assert got.mean_correlation == pytest.approx(others.mean() if others.size else 0, abs=1e-12)


@given(rows=any_responses, seed=st.integers(0, 100))
@settings(deadline=None)
def test_a_standardised_spectrum_is_that_of_filters_of_equal_variance_whatever_their_scale(rows, seed):
    spread = rows.std(0)
    levelled = np.where(spread > 1e-9, (rows - rows.mean(0)) / np.maximum(spread, 1e-9), 0.0)
    assert_same(analyse(rows).standardised, analyse(levelled))
    scaled = rows * np.exp(np.random.default_rng(seed).uniform(-3, 3, rows.shape[1]))
    assert_same(analyse(scaled).standardised, analyse(rows).standardised)
    assert analyse(rows).standardised.kl_ratio == pytest.approx(analyse(rows).kl_ratio_standardised, abs=1e-12)


@given(rows=any_responses)
@settings(deadline=None)
def test_what_always_holds(rows):
    got = analyse(rows)
    assert got.eigenvalues.sum() == pytest.approx(1)
    assert (got.eigenvalues >= 0).all()
    assert (np.diff(got.eigenvalues) <= 0).all()
    for name in ("kl_ratio", "kl_ratio_standardised", "peak_correlation", "mean_correlation"):
        assert 0 <= getattr(got, name) <= 1
    np.testing.assert_array_equal(got.correlation, got.correlation.T)
    np.testing.assert_array_equal(got.correlation.diagonal(), ~got.inactive)


@given(rows=any_responses, seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_permuting_filters_permutes_the_answer(rows, seed):
    order = np.random.default_rng(seed).permutation(rows.shape[1])
    one, two = analyse(rows), analyse(rows[:, order])
    assert_same(one, two)
    np.testing.assert_array_equal(one.inactive[order], two.inactive)
    np.testing.assert_allclose(one.correlation[np.ix_(order, order)], two.correlation, atol=1e-12)


@given(rows=any_responses, scale=st.sampled_from([1e-12, 1e-3, 7.0, -1e6, 1e30]))
@settings(deadline=None, max_examples=40)
def test_one_scale_for_all_filters_does_not_matter(rows, scale):
    assert_same(analyse(rows), analyse(scale * rows))


@given(rows=any_responses, cut=st.integers(0, 400))
@settings(deadline=None, max_examples=40)
def test_splitting_and_merging_do_not_matter(rows, cut):
    empty = Moments.empty(rows.shape[1])
    parts = [update(empty, rows[:cut]), update(empty, rows[cut:])]
    assert_same(spectrum_of_folds(parts), spectrum(update(empty, rows)))


def test_torch_and_numpy_agree():
    rows = responses().astype(np.float32)
    assert_same(analyse(torch.from_numpy(rows)), analyse(rows))


def test_covariance_is_carried():
    rows = responses()
    np.testing.assert_allclose(analyse(rows).covariance, np.cov(rows, rowvar=False), rtol=1e-9)


class TestInactive:
    @pytest.mark.parametrize("value", [0.0, 0.3, -7.0])
    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
    def test_a_layer_that_never_varies_is_wholly_redundant(self, value, dtype):
        # Trap 2: dead gave KL 0 and constant gave its bound.
        got = analyse(np.full((300, 6), value, dtype))
        assert got.inactive.all()
        assert got.active == 0
        assert (got.kl, got.kl_ratio, got.kl_ratio_standardised) == (np.log(6), 1.0, 1.0)
        assert (got.peak_correlation, got.mean_correlation) == (0.0, 0.0)
        assert not got.eigenvalues.any()
        assert not got.covariance.any()
        assert keep_kl(got) == keep_energy(got, 1.0) == 1

    @pytest.mark.parametrize("value", [0.1, 10.3, 100.3])
    def test_constants_with_rounding_noise_are_seen(self, value):
        # Trap 3: a constant of 100.3 in float32 may come out one unit in the last place higher.
        rows = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
        rows[:, 2] = np.float32(value)
        rows[::5, 2] = np.nextafter(np.float32(value), np.float32(1e9))
        got = analyse(rows)
        assert got.inactive.tolist() == [False, False, True, False]
        assert not got.correlation[2].any()
        assert got.eigenvalues[-1] == 0

    def test_rounding_noise_of_large_constants_is_no_energy(self):
        rows = np.random.default_rng(0).standard_normal((300, 4))
        rows[:, :2] += 1e8
        got = analyse(rows)
        assert got.inactive.tolist() == [True, True, False, False]
        assert got.eigenvalues[2:].tolist() == [0, 0]

    def test_half_a_layer_dead(self):
        # Trap 4: 26 were to be kept of 16 that vary.
        rows = np.random.default_rng(0).standard_normal((800, 32))
        rows[:, ::2] = 0
        got = analyse(rows)
        assert got.active == 16
        assert keep_kl(got) == 16
        assert got.kl_ratio == pytest.approx(np.log(2) / np.log(32), abs=0.01)

    @pytest.mark.parametrize(("spread", "inactive"), [(0.99e-6, True), (1.01e-6, False)])
    def test_the_bound_is_a_millionth_of_the_largest_spread(self, spread, inactive):
        unit = np.tile([1.0, -1.0], 20)
        assert analyse(np.stack([unit, spread * unit], axis=1)).inactive[1] == inactive

    def test_fewer_than_two_active_filters_have_no_correlation(self):
        rows = np.zeros((30, 3))
        rows[:, 1] = np.arange(30)
        got = analyse(rows)
        assert (got.peak_correlation, got.mean_correlation) == (0.0, 0.0)
        assert got.kl_ratio == pytest.approx(1.0)


class TestEdges:
    @pytest.mark.parametrize("rows", [np.arange(9.0)[:, None], np.zeros((9, 1))])
    def test_one_filter(self, rows):
        # Trap 6: ln 1 is 0.
        got = analyse(rows)
        assert (got.kl, got.kl_ratio, got.kl_ratio_standardised) == (0.0, 0.0, 0.0)
        assert keep_kl(got) == 1

    @pytest.mark.parametrize("samples", [0, 1, 5, 6])
    def test_too_few_samples(self, samples):
        # Trap 7: N = C has rank N - 1 at most.
        with pytest.raises(TooFewSamplesError, match=f"{samples} samples for 6 filters") as caught:
            analyse(responses(samples=samples))
        assert "above 6" in caught.value.remedy

    def test_one_sample_more_is_enough(self):
        got = analyse(responses(samples=7))
        assert got.samples == 7
        assert got.kl_stderr is None

    def test_not_finite(self):
        rows = responses()
        rows[5, 3] = np.inf
        with pytest.raises(NotFiniteError, match="filter 3"):
            analyse(rows)

    def test_repr_is_one_line(self):
        assert repr(analyse(responses())).count("\n") == 0


class TestNoise:
    def test_bias_of_independent_filters(self):
        # Trap 8: KL of independent filters is about C / (2 N).
        draw = np.random.default_rng(0)
        drawn = [analyse(draw.standard_normal((1280, 64))) for _ in range(10)]
        assert drawn[0].kl_bias == 64 / 2560
        assert np.mean([each.kl for each in drawn]) == pytest.approx(drawn[0].kl_bias, rel=0.05)

    def test_no_standard_error_without_samples_to_spare(self):
        assert analyse(responses(samples=7)).kl_stderr is None
        assert analyse(responses(samples=8)).kl_stderr is not None
        assert spectrum_of_folds([update(Moments.empty(6), responses())]).kl_stderr is None
        one = [Moments.empty(6), update(Moments.empty(6), responses())]
        assert spectrum_of_folds(one).kl_stderr is None

    def test_shards_in_use(self):
        shards = JackknifeFolds(6)
        shards.add(responses())
        got = spectrum_of_folds(shards.moments())
        assert_same(
            got,
            replace(
                spectrum(merge_all(shards.moments())),
                kl_stderr=got.kl_stderr,
                peak_stderr=got.peak_stderr,
                mean_stderr=got.mean_stderr,
            ),
        )


class TestScale:
    def test_both_readings_tell_scale_from_correlation(self):
        # Trap 9: independent filters of unequal scale read as few.
        draw = np.random.default_rng(0)
        rows = draw.standard_normal((20_000, 64)) * np.exp(draw.normal(0, 1.5, 64))
        got = analyse(rows)
        assert keep_kl(got) < 45
        assert got.kl_ratio > 0.25
        assert got.kl_ratio_standardised < 0.001

    def test_correlation_shows_in_both(self):
        draw = np.random.default_rng(0)
        rows = draw.standard_normal((2000, 4)) @ draw.standard_normal((4, 16))
        got = analyse(rows)
        assert got.kl_ratio_standardised > 0.4
        assert got.kl_ratio > 0.4

    @given(seed=st.integers(0, 50))
    @settings(deadline=None, max_examples=20)
    def test_the_standardised_reading_is_that_of_standardised_responses(self, seed):
        rows = responses(seed=3 * seed)
        unit = (rows - rows.mean(axis=0)) / rows.std(axis=0)
        assert analyse(rows).kl_ratio_standardised == pytest.approx(analyse(unit).kl_ratio, abs=1e-12)


class TestPooled:
    def test_one_spectrum_is_itself(self):
        only = analyse(responses())
        assert pooled([only]) is only

    def test_each_counts_alike_whatever_its_scale(self):
        one, two = responses(seed=0), responses(samples=300, seed=3)
        got = pooled([analyse(one), analyse(1e4 * two)])
        assert_same(got, pooled([analyse(one), analyse(two)]))
        parts = [np.cov(rows, rowvar=False) for rows in (one, two)]
        wanted = sum(part / np.trace(part) for part in parts) / 2
        np.testing.assert_allclose(got.covariance, wanted, rtol=1e-9)
        np.testing.assert_allclose(got.eigenvalues, np.linalg.eigvalsh(wanted)[::-1], atol=1e-12)
        assert (got.samples, got.kl_stderr) == (300, None)

    def test_inactive_only_where_inactive_in_all(self):
        one, two = responses(), responses(seed=3)
        one[:, [0, 1]] = 0
        two[:, [1, 2]] = 4
        assert pooled([analyse(one), analyse(two)]).inactive.tolist() == [False, True] + [False] * 4

    def test_a_dead_producer_adds_nothing(self):
        alive = analyse(responses())
        got = pooled([alive, analyse(np.zeros((400, 6)))])
        np.testing.assert_allclose(got.eigenvalues, alive.eigenvalues, atol=1e-12)

    def test_all_dead(self):
        dead = analyse(np.zeros((400, 6)))
        assert pooled([dead, dead]).kl_ratio == 1.0

    @pytest.mark.parametrize("filters", [[], [3, 4]])
    def test_other_filters_are_refused(self, filters):
        with pytest.raises(DataError, match="cannot be pooled"):
            pooled([analyse(responses(filters=each)) for each in filters])


def test_moments_given_as_covariance():
    rows = responses()
    moments = update(Moments.empty(6), rows)
    same = Moments(moments.count, moments.mean, covariance(moments) * (moments.count - 1))
    assert_same(spectrum(same), spectrum(moments))


@pytest.mark.parametrize(
    ("deviation", "mean", "constant"),
    [
        (4.0, 4.001e6, True),
        (4.0, 3.999e6, False),
        (4.0, -4.001e6, True),
    ],
)
def test_a_filter_is_constant_up_to_a_millionth_of_its_own_mean(deviation: float, mean: float, constant: bool) -> None:
    """Design 5: sd_j <= 1e-6 * max(|mean_j|, max_k sd_k); the other filter has a deviation of 1."""
    found = spectrum(Moments(5, np.array([0.0, mean]), np.diag([1.0, deviation**2]) * 4))
    assert found.inactive.tolist() == [False, constant]


def test_a_linear_layer_has_at_most_as_many_independent_filters_as_inputs() -> None:
    """As docs/limits.md tells: however wide it is, `energy` keeps no more of them."""
    torch.manual_seed(0)
    with torch.no_grad():
        found = analyse(torch.nn.Linear(8, 64)(torch.randn(500, 8)))
    assert keep_energy(found, 0.9999) <= 8
    assert found.kl_ratio > 0.5
