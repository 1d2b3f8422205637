"""Reduced-rank regression: against NumPy's own SVD, and against every other pair of factors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pfa_gate.compress.factorize import OutputDirections

SIZES = {"columns": st.integers(1, 9), "filters": st.integers(1, 8), "seed": st.integers(0, 999)}


def problem(columns: int, filters: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Weights [D, O], the gram matrix of rows [D, D], and the importance of each output [O]."""
    draw = np.random.default_rng(seed)
    rows = draw.standard_normal((columns + 5, columns)) * draw.uniform(0.1, 3, columns)
    weights, importance = draw.standard_normal((columns, filters)), draw.uniform(0.1, 4, filters)
    return torch.from_numpy(weights), torch.from_numpy(rows.T @ rows), torch.from_numpy(importance)


def excess(made: Tensor, weights: Tensor, gram: Tensor, importance: Tensor) -> float:
    """By how much other weights cost more than the free refit."""
    step = made - weights
    return float((importance * (step * (gram @ step)).sum(0)).sum())


@given(**SIZES, rank=st.integers(1, 8))
@settings(max_examples=25, deadline=None)
def test_the_projection_is_that_of_a_singular_value_decomposition(columns, filters, seed, rank):
    weights, gram, importance = problem(columns, filters, seed)
    rank = min(rank, columns, filters)
    made = OutputDirections.of(weights, gram, importance).factors(rank)
    root = importance.numpy() ** 0.5
    upper = np.linalg.cholesky(gram.numpy()).T
    left, values, right = np.linalg.svd(upper @ (weights.numpy() * root), full_matrices=False)
    best = np.linalg.solve(upper, left[:, :rank] * values[:rank]) @ right[:rank] / root
    assert made.first.shape == (columns, rank)
    assert made.second.shape == (rank, filters)
    np.testing.assert_allclose(made.product.numpy(), best, atol=1e-6 * np.abs(best).max())
    np.testing.assert_allclose(
        excess(made.product, weights, gram, importance), (values[rank:] ** 2).sum(), atol=1e-9 * (values**2).sum()
    )


@given(**SIZES, rank=st.integers(1, 8), size=st.sampled_from([1e-3, 0.1, 2.0]))
@settings(max_examples=25, deadline=None)
def test_no_other_factors_cost_less(columns, filters, seed, rank, size):
    weights, gram, importance = problem(columns, filters, seed)
    made = OutputDirections.of(weights, gram, importance).factors(min(rank, filters))
    draw = torch.Generator().manual_seed(seed)
    moved = [
        each + size * torch.randn(each.shape, dtype=torch.float64, generator=draw) for each in (made.first, made.second)
    ]
    least = excess(made.product, weights, gram, importance)
    assert least <= excess(moved[0] @ moved[1], weights, gram, importance) + 1e-9


@given(**SIZES)
@settings(max_examples=12, deadline=None)
def test_the_full_rank_gives_the_refit_back(columns, filters, seed):
    weights, gram, importance = problem(columns, filters, seed)
    made = OutputDirections.of(weights, gram, importance).factors(filters).product
    np.testing.assert_allclose(made, weights, rtol=1e-9, atol=1e-9)


@given(**SIZES)
@settings(max_examples=12, deadline=None)
def test_what_a_rank_loses_falls_from_all_to_nothing(columns, filters, seed):
    weights, gram, importance = problem(columns, filters, seed)
    found = OutputDirections.of(weights, gram, importance)
    whole = excess(torch.zeros_like(weights), weights, gram, importance)
    assert found.lost[0] == 1
    assert found.lost[-1] == 0
    assert all(np.diff(found.lost) <= 0)
    for rank in range(1, filters + 1):
        product = found.factors(rank).product
        assert excess(product, weights, gram, importance) / whole == pytest.approx(found.lost[rank], abs=1e-9)


def test_what_lies_between_the_two_layers_is_neither_large_nor_small() -> None:
    """The columns of the first matrix carry as much as the rows of the second: 8 bits hold both."""
    weights, gram, importance = problem(6, 6, 0)
    found = OutputDirections.of(weights, gram, importance)
    made = found.factors(4)
    carried = (made.first * (gram @ made.first)).sum(0)
    np.testing.assert_allclose(carried, found.squares[:4].sqrt())
    np.testing.assert_allclose((made.second * found.root).square().sum(1), found.squares[:4].sqrt())


@pytest.mark.parametrize(
    ("gram", "importance"),
    [(torch.zeros(3, 3), None), (torch.eye(3), torch.zeros(2)), (torch.eye(3), torch.tensor([1.0, 0.0]))],
)
def test_nothing_that_varies_and_nothing_that_counts_give_finite_factors(gram, importance) -> None:
    weights = torch.arange(6, dtype=torch.float64).reshape(3, 2)
    found = OutputDirections.of(weights, gram.double(), importance)
    assert found.factors(2).product.isfinite().all()
    np.testing.assert_allclose(found.factors(2).product, weights, atol=1e-12)
    assert np.isfinite(found.lost).all()
