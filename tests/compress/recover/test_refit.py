"""The closed form against float64 NumPy with two passes: solutions, held-out errors, and what is refused."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pfa_gate.compress.recover.refit import RIDGES, Fit, LinearLayer, factored, lowest, refit, solve
from pfa_gate.compress.regress import FOLDS, ONE_HELD_OUT, Equations

GROUPS, COLUMNS, FILTERS = 2, 12, 3


class Problem:
    """Rows, targets and a layer, of two groups whose outputs count unequally; every fourth row is one fold's.

    Args:
        off: how far the layer is from the weights that made the targets.
        noise: in the targets.
        centred: whether the layer has a place for an offset.
    """

    def __init__(self, seed: int, off: float, noise: float, centred: bool, rows: int = 90) -> None:
        draw = np.random.default_rng(seed)
        self.centred = centred
        self.read = draw.standard_normal((GROUPS, rows, COLUMNS)) @ draw.standard_normal((COLUMNS, COLUMNS)) + 3
        self.true = draw.standard_normal((GROUPS, COLUMNS, FILTERS))
        self.offset = draw.standard_normal((GROUPS, FILTERS)) if centred else np.zeros((GROUPS, FILTERS))
        self.made = self.read @ self.true + self.offset[:, None]
        self.made += noise * draw.standard_normal(self.made.shape)
        self.start = self.true + off * draw.standard_normal(self.true.shape)
        self.importance = draw.uniform(0.1, 10, (GROUPS, FILTERS))
        self.fold = np.arange(rows) % FOLDS

    def refit(self, parts: int) -> Fit:
        self.held = [self.fold == fold for fold in range(FOLDS)][: None if parts == FOLDS else 1]
        equations = Equations(GROUPS, COLUMNS, FILTERS, parts=parts)
        for fold in range(FOLDS):
            mine = self.fold == fold
            read, made = torch.from_numpy(self.read[:, mine]), torch.from_numpy(self.made[:, mine])
            equations.add(read, made, equations.part_of(fold))
        parts = (torch.from_numpy(each) for each in (self.start, self.offset, self.importance))
        (fit,) = refit(equations, LinearLayer(*parts, centred=self.centred))
        return fit

    def solved(self, ridge: float, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The least of |y - x W|^2 + r |W - start|^2 on some rows, with the offset that the layer may have."""
        weights, offsets = np.empty_like(self.start), np.zeros((GROUPS, FILTERS))
        for group, start in enumerate(self.start):
            read, made = self.read[group, rows], self.made[group, rows]
            about = read.mean(0) * self.centred, made.mean(0) * self.centred
            x, y = read - about[0], made - about[1]
            root = np.sqrt(ridge * np.square(x).sum() / COLUMNS)
            above, beside = np.vstack([x, root * np.eye(COLUMNS)]), np.vstack([y, root * start])
            weights[group] = np.linalg.lstsq(above, beside, rcond=None)[0]
            offsets[group] = about[1] - about[0] @ weights[group]
        return weights, offsets

    def error(self, weights: np.ndarray, offset: np.ndarray, rows: np.ndarray) -> float:
        off = self.made[:, rows] - self.read[:, rows] @ weights - offset[:, None]
        return float((self.importance * np.square(off).sum(1)).sum())

    def held_out(self, ridge: float) -> float:
        """The error on what is held out in turn, with the solution of the others."""
        return sum(self.error(*self.solved(ridge, ~mine), mine) for mine in self.held)

    @property
    def judged(self) -> np.ndarray:
        """All rows that are held out some time."""
        return np.logical_or.reduce(self.held)

    @property
    def scale(self) -> float:
        made = self.made[:, self.judged]
        about = made.mean(1, keepdims=True) if self.centred else 0.0
        return float((self.importance * np.square(made - about).sum(1)).sum())


PROBLEMS = [(off, noise, centred) for off in (0.0, 0.02, 1.0) for noise in (0.1, 3.0) for centred in (True, False)]


@pytest.mark.parametrize(("off", "noise", "centred"), PROBLEMS)
@pytest.mark.parametrize(("seed", "parts"), [(0, FOLDS), (1, FOLDS), (0, ONE_HELD_OUT)])
def test_a_refit_is_taken_where_its_error_on_rows_it_has_not_seen_is_less(seed, parts, off, noise, centred):
    problem = Problem(seed, off, noise, centred)
    every = np.ones(len(problem.fold), bool)
    fit = problem.refit(parts)
    nothing = problem.error(problem.start, problem.offset, problem.judged)
    errors = {ridge: problem.held_out(ridge) for ridge in RIDGES}
    assert fit.before == pytest.approx(nothing / problem.scale, rel=1e-8)
    assert fit.rows == len(every)
    if fit.ridge is None:
        assert min(errors.values()) >= nothing * (1 - 1e-9)
        wanted, after = (problem.start, problem.offset), fit.before
    else:
        assert errors[fit.ridge] <= min(errors.values()) * (1 + 1e-9)
        assert errors[fit.ridge] < nothing
        wanted, after = problem.solved(fit.ridge, every), errors[fit.ridge] / problem.scale
        assert fit.gap == pytest.approx(1 - problem.error(*wanted, problem.judged) / errors[fit.ridge], rel=1e-6)
    assert fit.after == pytest.approx(after, rel=1e-8)
    np.testing.assert_allclose(fit.weights, wanted[0], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(fit.offset, wanted[1], rtol=1e-7, atol=1e-8)


def test_both_are_among_these():
    ridges = [Problem(0, *each).refit(FOLDS).ridge for each in PROBLEMS]
    assert 2 <= sum(ridge is None for ridge in ridges) <= len(ridges) - 2


@pytest.mark.parametrize("seed", range(12))
def test_noise_leaves_a_good_layer_nearly_alone(seed):
    """Least squares on twice as many rows as columns would be far off."""
    generator = torch.Generator().manual_seed(seed)
    rows, start, noise = (
        torch.randn(1, *shape, dtype=torch.float64, generator=generator) for shape in ((60, 30), (30, 2), (60, 2))
    )
    made, equations = rows @ start + noise, Equations(1, 30, 2)
    for fold in range(FOLDS):
        equations.add(rows[:, fold::FOLDS], made[:, fold::FOLDS], fold)
    zero = torch.zeros(1, 2, dtype=torch.float64)
    (fit,) = refit(equations, LinearLayer(start, zero, torch.ones_like(zero), centred=True))
    centred = [each - each.mean(1, keepdim=True) for each in (rows, made)]
    far = torch.linalg.lstsq(*centred).solution - start
    assert (fit.weights - start).norm() < 0.2 * far.norm()
    assert fit.after <= fit.before


def test_solve_equals_numpy_lstsq_on_centred_rows():
    draw = np.random.default_rng(0)
    rows, targets = draw.standard_normal((200, 5)) + 1e3, draw.standard_normal((200, 2))
    equations = Equations(1, 5, 2)
    for part in np.array_split(np.arange(200), 7):
        equations.add(torch.tensor(rows[part])[None], torch.tensor(targets[part])[None], int(part[0]) % FOLDS)
    sums = equations.total()
    weights = solve(sums, torch.zeros(1, 5, 2, dtype=torch.float64), factored(sums.gram, 0.0))
    wanted = np.linalg.lstsq(rows - rows.mean(0), targets - targets.mean(0), rcond=None)[0]
    np.testing.assert_allclose(weights[0].numpy(), wanted, rtol=1e-8)


@given(near=st.sampled_from(RIDGES), best=st.sampled_from(RIDGES))
@settings(max_examples=50, deadline=None)
def test_the_walk_ends_at_the_least_error_and_asks_for_no_ridge_twice(near, best):
    asked = list[float]()

    def errors(ridges):
        asked.extend(ridges)
        return [abs(RIDGES.index(ridge) - RIDGES.index(best)) + 1.0 for ridge in ridges]

    assert lowest(errors, near) == (best, 1.0)
    assert len(asked) == len(set(asked))
