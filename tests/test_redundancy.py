"""The arithmetic of redundancy in plain Python says what NumPy and SciPy say, and what recipes decide."""

import math
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import rel_entr

from pfa_gate.analysis.covariance import Moments
from pfa_gate.analysis.spectrum import Spectrum, spectrum
from pfa_gate.recipe import keep_energy, keep_kl
from pfa_gate.redundancy import divergence, kept_by_energy, kept_by_kl, most_within_kl, neighbours

VARIANCES = st.lists(st.just(0.0) | st.floats(1e-9, 1e3), min_size=1, max_size=40)
SHARE = st.floats(0, 1)


def of_variances(variances: list[float]) -> Spectrum:
    return spectrum(Moments(1000, np.zeros(len(variances)), np.diag(variances) * 999.0))


@given(VARIANCES)
def test_the_divergence_is_that_of_scipy_and_that_of_the_spectrum(variances: list[float]) -> None:
    measured = of_variances(variances)
    shares = measured.eigenvalues
    nats, ratio = divergence(shares.tolist())
    assert (nats, ratio) == (measured.kl, measured.kl_ratio)
    if len(shares) > 1 and shares.any():
        assert nats == pytest.approx(float(rel_entr(shares, 1 / len(shares)).sum()), abs=1e-12)
        assert ratio == nats / math.log(len(shares))


@given(VARIANCES, SHARE)
def test_the_counts_are_those_of_numpy_and_those_of_a_recipe(variances: list[float], energy: float) -> None:
    measured = of_variances(variances)
    filters, active = measured.filters, measured.active
    by_energy = kept_by_energy(list(accumulate(measured.eigenvalues.tolist())), active, energy)
    reached = int(np.searchsorted(np.cumsum(measured.eigenvalues), energy - 1e-9)) + 1
    assert by_energy == keep_energy(measured, energy) == max(1, min(reached, active))
    by_kl = kept_by_kl(filters, active, measured.kl_ratio)
    assert by_kl == keep_kl(measured)
    assert by_kl == max(1, min(math.ceil(filters * (1 - measured.kl_ratio) - 1e-9), active))


@given(VARIANCES.map(lambda values: sorted(values, reverse=True)), SHARE)
def test_no_more_directions_could_stay_within_a_limit(eigenvalues: list[float], limit: float) -> None:
    def ratio(count: int) -> float:
        total = sum(eigenvalues[:count])
        return divergence([value / total if total else 0.0 for value in eigenvalues[:count]])[1]

    count = most_within_kl(eigenvalues, limit)
    assert count is None or ratio(count) <= limit
    assert all(ratio(more) > limit for more in range((count or 1) + 1, len(eigenvalues) + 1))


@given(st.integers(1, 99), st.integers(1, 99), st.integers(1, 20), st.integers(1, 40))
def test_neighbours_are_the_nearest_allowed_counts_on_either_side(
    count: int, width: int, multiple: int, minimum: int
) -> None:
    allowed = [n for n in range(1, width + 1) if (n % multiple == 0 and n >= minimum) or n == width]
    wanted = min(width, max(count, minimum))
    above = next(n for n in allowed if n >= wanted)
    below = next((n for n in reversed(allowed) if n <= wanted), above)
    assert neighbours(min(count, width), width, multiple, minimum) == (below, above)
