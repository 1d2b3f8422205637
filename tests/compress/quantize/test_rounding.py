"""Laws of rounding to few bits: least squares, no worse than the largest weight's scale, and alike for every filter."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from pfa_gate.compress.quantize.error_feedback import damped, fed_back, loss
from pfa_gate.compress.quantize.grid import WIDTHS, Grid, Width, grids, rounded

_WEIGHTS = arrays("float64", (3, 7), elements=st.floats(-4, 4, width=16))


def _drawn(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("width", WIDTHS)
@given(values=_WEIGHTS)
@settings(max_examples=12)
def test_the_scale_is_the_least_squares_one_of_the_nearest_numbers(width: Width, values: object) -> None:
    weight = torch.as_tensor(values)
    found = rounded(weight, width)
    numbers, scale = found.numbers.double(), found.scale.double()[:, None]
    assert {int(number) for number in numbers.flatten()} <= set(found.grid.values)
    for row, own, step in zip(weight, numbers, scale[:, 0], strict=True):
        if float(step) == 0:
            assert not row.any()
            continue
        assert torch.equal(found.grid.nearest(row / step), own)
        if own.any() and float(step) > 1e-30:
            assert float((row * own).sum() / own.square().sum()) == pytest.approx(float(step), rel=1e-5)


@pytest.mark.parametrize("width", WIDTHS)
def test_it_is_no_worse_than_the_scale_of_the_largest_weight(width: Width) -> None:
    weight = _drawn(1, 6, 40) ** 3
    found = rounded(weight, width)
    own = (weight - found.weight(torch.float64)).square().sum()
    for grid in grids(width):
        scale = weight.abs().amax(1, keepdim=True) / max(map(abs, grid.values))
        assert own <= (weight - grid.nearest(weight / scale) * scale).square().sum() + 1e-9


def test_more_bits_are_never_worse() -> None:
    weight = _drawn(2, 5, 64)
    errors = [float((weight - rounded(weight, width).weight(torch.float64)).square().sum()) for width in WIDTHS]
    assert errors == sorted(errors, reverse=True)


@given(order=st.permutations(range(4)))
@settings(max_examples=4)
def test_filters_are_rounded_each_by_itself(order: list[int]) -> None:
    weight = _drawn(3, 4, 2, 3, 3)
    straight, moved = rounded(weight, 3), rounded(weight[order], 3)
    assert torch.equal(straight.numbers[order], moved.numbers)
    assert torch.equal(straight.scale[order], moved.scale)
    along = rounded(weight.movedim(0, 1), 3, 1)
    assert torch.equal(along.numbers, straight.numbers)


def test_zeros_of_a_pattern_stay_zero() -> None:
    weight = _drawn(4, 4, 16)
    weight[:, ::2] = 0
    for width in (8, 4, 3, 2, "ternary"):
        found = rounded(weight, width)
        assert found.grid.has_zero
        assert not found.weight()[:, ::2].any()


def test_the_smallest_and_the_largest_weights_are_scaled_too() -> None:
    weight = torch.tensor([[1e-44, -1e-44], [3e38, 1e38], [0.0, 0.0]])
    found = rounded(weight, 4)
    assert found.weight().isfinite().all()
    assert found.scale[2] == 0
    assert not found.weight()[2].any()
    assert torch.allclose(found.weight()[1], weight[1], rtol=0.1)


@given(seed=st.integers(0, 2**16), width=st.sampled_from(["ternary", 2, 3, 4]))
@settings(max_examples=8)
def test_error_feedback_never_makes_the_outputs_worse(seed: int, width: Width) -> None:
    rows, weights = _drawn(seed, 60, 8) @ _drawn(seed + 1, 8, 8), _drawn(seed + 2, 8, 5)
    gram = damped(rows.T @ rows)
    near = rounded(weights.T, width)
    numbers, scale = fed_back(weights, rows.T @ rows, near.grid, near.scale.double())
    before, after = (loss(weights, gram, each) for each in (near.weight(torch.float64).T, numbers * scale))
    assert (after <= before * (1 + 1e-9)).all()
    assert {int(number) for number in numbers.flatten()} <= set(near.grid.values)


def test_error_feedback_helps_where_inputs_are_correlated_and_keeps_zeros() -> None:
    rows = _drawn(5, 400, 3) @ _drawn(6, 3, 24) + 0.1 * _drawn(7, 400, 24)
    weights = _drawn(8, 24, 16)
    gram, near = rows.T @ rows, rounded(weights.T, 3)
    numbers, scale = fed_back(weights, gram, near.grid, near.scale.double())
    plain = loss(weights, gram, near.weight(torch.float64).T).sum()
    assert loss(weights, gram, numbers * scale).sum() < 0.3 * plain
    zero = torch.zeros(24, 16, dtype=torch.bool)
    zero[::2] = True
    numbers, _ = fed_back(weights, gram, Grid(-3, 1, 7), near.scale.double(), zero)
    assert not numbers[::2].any()


def test_what_reads_nothing_gets_the_nearest_numbers() -> None:
    weights, grid = _drawn(9, 4, 3), Grid(-3, 2, 4)
    numbers, _ = fed_back(weights, torch.zeros(4, 4, dtype=torch.float64), grid, torch.ones(3, dtype=torch.float64))
    assert torch.equal(numbers, grid.nearest(weights))
