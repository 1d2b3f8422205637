"""Ranks: monotone in the energy, and within a size the ones that lose least."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfa_gate.compress.factorize import RankCurve, energy_rank, ranks_within
from pfa_gate.errors import TargetError

SHARES = st.lists(st.floats(0.001, 1), min_size=1, max_size=12).map(
    lambda values: np.sort(np.array(values) / sum(values))[::-1]
)


@given(SHARES, st.lists(st.floats(0.01, 1), min_size=2, max_size=8))
@settings(max_examples=25, deadline=None)
def test_a_rank_keeps_the_energy_and_one_less_does_not(shares, energies):
    ranks = [energy_rank(shares, energy) for energy in sorted(energies)]
    assert ranks == sorted(ranks)
    for rank, energy in zip(ranks, sorted(energies), strict=True):
        assert shares[:rank].sum() >= energy - 1e-9
        assert rank == 1 or shares[: rank - 1].sum() < energy


@st.composite
def curves(draw) -> dict[str, RankCurve]:
    found = {}
    for name in "abc"[: draw(st.integers(1, 3))]:
        most, step = draw(st.integers(1, 4)), draw(st.integers(1, 9))
        shares = np.sort([draw(st.floats(0, 1)) for _ in range(most + 1)])[::-1]
        tails = np.cumsum(shares[::-1])[::-1]  # a descending spectrum: what a rank more gains, falls
        found[name] = RankCurve(most * step + draw(st.integers(1, 9)), step, tails)
    return found


@given(curves(), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_the_size_is_met_and_few_choices_lose_less(found, share):
    """Lagrange's prices find the best of the convex hull: what is lost beyond the best of all is one step at most."""
    least = sum(curve.step for curve in found.values())
    most = int(least + share * (sum(curve.size for curve in found.values()) - least))
    ranks = ranks_within(found, most)

    def size(chosen: dict[str, int]) -> int:
        return sum(curve.step * chosen[name] if name in chosen else curve.size for name, curve in found.items())

    def lost(chosen: dict[str, int]) -> float:
        return sum(curve.lost[chosen[name]] for name, curve in found.items() if name in chosen)

    assert size(ranks) <= most
    choices = product(*([None, *range(1, curve.most + 1)] for curve in found.values()))
    every = [{name: rank for name, rank in zip(found, choice, strict=True) if rank is not None} for choice in choices]
    best = min(lost(chosen) for chosen in every if size(chosen) <= most)
    jump = max(curve.lost[1] for curve in found.values())
    assert best <= lost(ranks) + 1e-12
    assert lost(ranks) <= best + jump + 1e-12


def test_all_of_the_size_that_a_rank_fits_into_is_used():
    curve = RankCurve(100, 10, np.linspace(1, 0.1, 10))
    assert ranks_within({"a": curve}, 49) == {"a": 4}
    assert ranks_within({"a": curve}, 100) == {}


def test_a_size_out_of_reach_names_what_can_be_reached():
    curve = RankCurve(100, 10, np.linspace(1, 0, 10))
    with pytest.raises(TargetError) as error:
        ranks_within({"a": curve, "b": curve}, 1018, rest=1000)
    assert str(error.value) == (
        "factorize cannot reach 1,018 parameters: 1,020 are left at rank 1 everywhere.\n"
        "  Raise factorize.parameters, name more layers under factorize.layers, or cut more by the recipe."
    )
