"""Elimination against a fresh regularised least squares for every set of filters, and where costs tie or vanish."""

from itertools import product

import numpy as np
import pytest
import torch

from pfa_gate.compress.select.elimination import GroupReader, eliminate

CASES = [*product((1, 2), (0, 3), (1, 3), (1, 2), (1e-12, 0.1))]


def readings(groups: int, others: int, size: int, readers: int, width: int = 5) -> list[GroupReader]:
    """Readers of some groups of columns: `size` for each filter, in any order, and columns of no filter."""
    draw, found = np.random.default_rng(3), []
    for reader in range(readers):
        count = others + width * size
        rows = draw.standard_normal((groups, 80, count)) @ draw.standard_normal((groups, count, count))
        gram = rows.transpose(0, 2, 1) @ rows
        weights = draw.standard_normal((groups, count, 2 + reader))
        columns = draw.permutation(count)[: width * size].reshape(width, size)
        found.append(GroupReader(torch.tensor(gram), torch.tensor(weights), torch.tensor(columns)))
    return found


def left_over(reading: GroupReader, alive: list[int], ridge: float) -> float:
    """Share of the outputs that the best weights on the columns of these filters, and of none, leave unexplained."""
    gram, weights, columns = (part.numpy() for part in (reading.gram, reading.weights, reading.columns))
    kept = [c for c in range(gram.shape[1]) if c not in columns] + [c for j in alive for c in columns[j]]
    error = whole = 0.0
    for own, made in zip(gram, weights, strict=True):
        loaded = own + ridge * np.trace(own) / len(own) * np.eye(len(own))
        step = made.copy()
        step[kept] -= np.linalg.lstsq(loaded[np.ix_(kept, kept)], loaded[kept] @ made, rcond=None)[0]
        error += np.trace(step.T @ loaded @ step)
        whole += np.trace(made.T @ own @ made)
    return float(error / whole)


@pytest.mark.parametrize(("groups", "others", "size", "readers", "ridge"), CASES)
def test_each_step_costs_what_a_fresh_least_squares_loses(
    groups: int, others: int, size: int, readers: int, ridge: float
) -> None:
    given = readings(groups, others, size, readers)
    found = eliminate(given, 5, ridge)
    alive = list(range(5))
    for gone, loss in zip(found.order.tolist(), found.losses.tolist(), strict=True):
        before = sum(left_over(each, alive, ridge) for each in given)
        costs = {j: sum(left_over(each, [i for i in alive if i != j], ridge) for each in given) - before for j in alive}
        assert gone == min(costs, key=costs.__getitem__)
        assert loss == pytest.approx(costs[gone], rel=1e-6, abs=1e-9)
        alive.remove(gone)
    assert found.order.dtype == np.int64


def test_the_ridge_is_a_thousandth_unless_given() -> None:
    given = readings(1, 0, 1, 1)
    assert eliminate(given, 5).losses.tolist() == eliminate(given, 5, 1e-3).losses.tolist()
    assert eliminate(given, 5).losses.tolist() != eliminate(given, 5, 1e-2).losses.tolist()


def test_what_is_asked_is_not_changed() -> None:
    (given,) = readings(2, 3, 2, 1)
    before = [part.clone() for part in (given.gram, given.weights, given.columns)]
    eliminate([given], 5)
    assert all(torch.equal(*pair) for pair in zip(before, (given.gram, given.weights, given.columns), strict=True))


def eye(width: int, size: int, scale: float) -> GroupReader:
    count = width * size
    identity = torch.eye(count, dtype=torch.float64)[None]
    return GroupReader(
        scale * identity, torch.ones(1, count, 2, dtype=torch.float64), torch.arange(count).view(width, -1)
    )


@pytest.mark.parametrize("size", [1, 2])
def test_of_filters_that_cost_alike_the_first_goes_first(size: int) -> None:
    """By its number, and not by its place, which changes as others go."""
    found = eliminate([eye(6, size, 4.0)], 6)
    assert found.order.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(found.losses, (1 + 1e-3) / 6, rtol=1e-12)
    cheap = eye(6, size, 4.0)
    cheap.weights[:, cheap.columns[3]] = 0.5
    assert eliminate([cheap], 6).order.tolist() == [3, 0, 1, 2, 4, 5]


def test_filters_that_never_respond_go_first_and_cost_next_to_nothing() -> None:
    (given,) = readings(1, 0, 1, 1)
    for column in (4, 2):
        given.gram[:, column] = given.gram[:, :, column] = 0
    found = eliminate([given], 5)
    assert sorted(found.order[:2].tolist()) == sorted(int(j) for j in range(5) if int(given.columns[j]) in (4, 2))
    assert found.losses[:2].max() < 1e-3 < found.losses[2:].min()


@pytest.mark.parametrize("silent", ["no response at all", "no weight at all"])
def test_a_reader_that_makes_nothing_loses_nothing(silent: str) -> None:
    nothing, other = eye(5, 1, 0.0 if silent == "no response at all" else 1.0), readings(1, 0, 1, 1)[0]
    if silent == "no weight at all":
        nothing.weights.zero_()
    alone = eliminate([nothing], 5)
    assert (alone.order.tolist(), alone.losses.tolist()) == ([0, 1, 2, 3, 4], [0.0] * 5)
    both, one = eliminate([nothing, other], 5), eliminate([other], 5)
    assert (both.order.tolist(), both.losses.tolist()) == (one.order.tolist(), one.losses.tolist())


def test_without_a_reader_nothing_costs_anything() -> None:
    found = eliminate([], 3)
    assert (found.order.tolist(), found.losses.tolist()) == ([0, 1, 2], [0.0, 0.0, 0.0])


def test_each_reader_counts_by_the_share_of_its_own_output() -> None:
    """Whatever the unit of one of them is."""
    one, two = readings(1, 3, 2, 2)
    loud = GroupReader(1e6 * two.gram, 1e3 * two.weights, two.columns)
    plain, scaled = eliminate([one, two], 5), eliminate([one, loud], 5)
    assert plain.order.tolist() == scaled.order.tolist()
    np.testing.assert_allclose(plain.losses, scaled.losses, rtol=1e-9)
