"""A refit behind a rectifier against float64 NumPy: the same trials, errors on rows held out, and choice."""

import numpy as np
import pytest
import torch

from pfa_gate.compress.recover.rectifier_targets import Rows, RowSample, rectify
from pfa_gate.compress.recover.refit import Fit, LinearLayer, refit
from pfa_gate.compress.regress import FOLDS, Equations

COLUMNS, FILTERS, ROWS = 8, 3, 160
Solution = tuple[np.ndarray, np.ndarray]


class Problem:
    """A layer before a rectifier, some columns of which are gone, what it should make, and what is added behind it.

    Where an output is multiplied by nothing, it is met as if it were multiplied by as much as the largest.
    """

    def __init__(self, seed: int, off: float, noise: float, nothing: bool = False) -> None:
        draw = np.random.default_rng(seed)
        read = draw.standard_normal((ROWS, COLUMNS + 3)) @ draw.standard_normal((COLUMNS + 3, COLUMNS + 3))
        true, self.offset = draw.standard_normal((COLUMNS + 3, FILTERS)), draw.standard_normal(FILTERS)
        self.scale, self.rest = draw.uniform(0.5, 2, FILTERS), draw.standard_normal((ROWS, FILTERS))
        self.given = self.scale.copy()
        if nothing:
            self.given[0] = 1e-9
            self.scale[0] = self.given.max()
        self.target = read @ true + self.offset + noise * draw.standard_normal((ROWS, FILTERS))
        self.read, self.start = read[:, :COLUMNS], true[:COLUMNS] + off * draw.standard_normal((COLUMNS, FILTERS))
        self.fold = np.arange(ROWS) % FOLDS

    def fits(self) -> tuple[Fit, Fit]:
        """The linear refit, and what becomes of it."""
        read, target, rest, start, offset, scale = (
            torch.from_numpy(each)[None]
            for each in (self.read, self.target, self.rest, self.start, self.offset, self.given)
        )
        equations = Equations(1, COLUMNS, FILTERS)
        sample = RowSample(scale, equations)
        for fold in range(FOLDS):
            mine = torch.from_numpy(self.fold == fold)
            about = equations.add(read[:, mine], target[:, mine], fold)
            sample.add(Rows(about, target[:, mine], rest[:, mine]), held=fold == 0)
        layer = LinearLayer(start, offset, scale.square(), centred=True)
        (linear,) = refit(equations, layer)
        return linear, rectify(sample, layer, linear)

    def solved(self, target: np.ndarray, ridge: float, rows: np.ndarray) -> Solution:
        """The least of |y - x W|^2 + r |W - start|^2 on some rows about their means."""
        x, y = (each[rows] - each[rows].mean(0) for each in (self.read, target))
        root = np.sqrt(ridge * np.square(x).sum() / COLUMNS)
        above, beside = np.vstack([x, root * np.eye(COLUMNS)]), np.vstack([y, root * self.start])
        weights = np.linalg.lstsq(above, beside, rcond=None)[0]
        return weights, target[rows].mean(0) - self.read[rows].mean(0) @ weights

    def made(self, solution: Solution) -> np.ndarray:
        return self.scale * (self.read @ solution[0] + solution[1]) + self.rest

    def round(self, before: Solution, ridge: float, rows: np.ndarray) -> Solution:
        """Where nothing should be seen, any negative value will do: the present one, or zero."""
        wanted = self.scale * self.target + self.rest
        goal = np.where(wanted > 0, wanted, np.minimum(self.made(before), 0))
        return self.solved((goal - self.rest) / self.scale, ridge, rows)

    def error(self, solution: Solution) -> float:
        """On the first fold, as a share of the variance of what should be seen there."""
        held = self.fold == 0
        seen = (self.scale * self.target + self.rest).clip(0)[held]
        return float(np.square(self.made(solution).clip(0)[held] - seen).sum() / np.square(seen - seen.mean(0)).sum())

    def trials(self, ridge: float) -> list[Solution]:
        learnt = self.fold != 0
        first = self.solved(self.target, ridge, learnt)
        once = self.round(first, ridge, learnt)
        return [first, once, tuple(2 * new - old for new, old in zip(once, first, strict=True))]


PROBLEMS = [(seed, off, noise) for off, noise in ((0.5, 0.1), (0.05, 1.0), (0.02, 8.0)) for seed in range(6)]


CASES = [(*each, False) for each in PROBLEMS] + [(*each, True) for each in PROBLEMS[:8]]


@pytest.mark.parametrize(("seed", "off", "noise", "nothing"), CASES)
def test_the_best_on_rows_held_out_is_taken(seed, off, noise, nothing):
    problem = Problem(seed, off, noise, nothing)
    linear, found = problem.fits()
    assert linear.ridge is not None
    trials, nothing = problem.trials(linear.ridge), problem.error((problem.start, problem.offset))
    errors = [problem.error(trial) for trial in trials]
    best = int(np.argmin(errors))
    assert found.before == pytest.approx(nothing, rel=1e-4)
    assert found.after == pytest.approx(min(nothing, errors[best]), rel=1e-4)
    if errors[best] >= nothing:
        wanted = problem.start, problem.offset
    elif best == 0:
        wanted = problem.solved(problem.target, linear.ridge, problem.fold >= 0)
    else:
        wanted = problem.round(trials[best], linear.ridge, problem.fold >= 0)
    assert (found.ridge is None) == (errors[best] >= nothing)
    np.testing.assert_allclose(found.weights[0], wanted[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.offset[0], wanted[1], rtol=1e-4, atol=1e-4)


def test_all_ways_are_among_these():
    taken = set()
    for each in PROBLEMS:
        problem = Problem(*each)
        linear, found = problem.fits()
        errors = [problem.error(trial) for trial in problem.trials(linear.ridge)]
        best = ("linear", "a round", "twice its step")[int(np.argmin(errors))]
        taken.add("as it was" if found.ridge is None else best)
    assert taken == {"as it was", "linear", "a round", "twice its step"}


def test_a_layer_that_was_left_alone_stays_so():
    zeros = torch.zeros(1, COLUMNS, FILTERS, dtype=torch.float64)
    layer = LinearLayer(zeros, zeros[:, 0], torch.ones(1, FILTERS, dtype=torch.float64), centred=True)
    alone = Fit(zeros, zeros[:, 0], None, 0.5, 0.5, rows=7)
    sample = RowSample(torch.ones(1, FILTERS, dtype=torch.float64), Equations(1, COLUMNS, FILTERS))
    assert rectify(sample, layer, alone) is alone
