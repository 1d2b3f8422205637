"""Refit in closed form: a layer's weights solved anew, with the ridge that is best on rows held out.

Layers that read the same rows are solved as one, whose matrices are built and factored once; each has a ridge of its
own.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from pfa_gate.compress.regress import Equations, Sums, errors, offset_of

RIDGES = tuple(10.0 ** (step / 2) for step in range(-12, 5))
RIDGES_TRIED = 3  # about so many, as the error changes slowly with the ridge
_FIRST = 1e-1


@dataclass(frozen=True)
class LinearLayer:
    """What a refit starts from: one layer, or several that read the same rows.

    Attributes:
        weights: float64 [groups, D, O], as they are.
        offset: float64 [groups, O], the bias as it is, or zeros.
        importance: float64 [groups, O], how much each output's squared error counts.
        centred: whether there is a place for a new offset.
        filters: how many of the O outputs each layer has, in their order; one layer has them all unless given.
    """

    weights: Tensor
    offset: Tensor
    importance: Tensor
    centred: bool
    filters: tuple[int, ...] = ()

    def split(self, outputs: Tensor) -> tuple[Tensor, ...]:
        """What each layer has of something [..., O]."""
        return torch.split(outputs, list(self.filters), -1) if self.filters else (outputs,)


@dataclass(frozen=True)
class Fit:
    """A layer solved anew.

    Attributes:
        weights, offset: as in `LinearLayer`.
        ridge: relative to the mean diagonal of the gram matrix; None where doing nothing was no worse.
        before, after: squared error on the rows held out, as a share of the variance of their targets.
        rows: how many rows it was solved on, those held out among them.
        gap: which share of the error on the rows held out goes when the layer is solved on them too.
    """

    weights: Tensor
    offset: Tensor
    ridge: float | None
    before: float
    after: float
    rows: int
    gap: float = 0.0


def refit(equations: Equations, layer: LinearLayer, near: Sequence[float | None] = ()) -> tuple[Fit, ...]:
    """Weights of each layer that meet the targets best on rows they have not seen, shrunk towards those there are.

    Each ridge is tried on the rows held out with the solution of the others; the best one solves all rows. Where none
    beats the layer as it is, the layer is given back. The search starts at the ridges `near`, one for each layer.

    Example:
        >>> rows = torch.randn(80, 3, dtype=torch.float64)
        >>> equations = Equations(1, 3, 1)
        >>> for part in equations.parts:
        ...     few = rows[None, part :: len(equations.parts)]
        ...     read = equations.add(few, few.sum(2, keepdim=True), part)
        >>> zeros = torch.zeros(1, 3, 1, dtype=torch.float64)
        >>> (fit,) = refit(equations, LinearLayer(zeros, zeros[:, 0], torch.ones(1, 1), centred=True))
        >>> fit.weights.flatten().round(decimals=3).tolist(), fit.after < fit.before
        ([1.0, 1.0, 1.0], True)
    """
    trial = _HeldOut(equations, layer)
    starts = [each or _FIRST for each in near] or [_FIRST] * max(1, len(layer.filters))
    found = [lowest(partial(trial.errors, place), start) for place, start in enumerate(starts)]
    solved = _Solved(about(equations.total(), layer.centred), layer, trial)
    return tuple(solved.fit(place, *best) for place, best in enumerate(found))


def held_out_errors(equations: Equations, layer: LinearLayer, weights: Tensor, offset: Tensor) -> list[float]:
    """Squared error of each layer with these weights on the rows held out, as a share of its targets' variance."""
    return _HeldOut(equations, layer).error(weights, offset)


class _Solved:
    """Layers solved on all rows, at one ridge after the other.

    Args:
        whole: the sums of all rows.
        layer: what solutions are shrunk towards.
        trial: by which they are judged.
    """

    def __init__(self, whole: Sums, layer: LinearLayer, trial: "_HeldOut") -> None:
        self._whole, self._layer, self._trial = whole, layer, trial
        self._unchanged = trial.error(layer.weights, layer.offset)
        self._at: dict[float, tuple[Tensor, Tensor, list[float]] | None] = {}

    def fit(self, place: int, ridge: float, error: float) -> Fit:
        """One layer at its ridge, whose error on the rows held out is known."""
        layer, unchanged = self._layer, self._unchanged[place]
        weights, offset = layer.split(layer.weights)[place], layer.split(layer.offset)[place]
        kept = Fit(weights, offset, None, unchanged, unchanged, self._whole.count)
        solution = self._solution(ridge) if error < math.inf else None
        if solution is None:
            return kept
        gap = 1 - solution[2][place] / error if error > 0 else 0.0
        if not error < unchanged:
            return replace(kept, gap=gap)
        weights, offset = (layer.split(each)[place] for each in solution[:2])
        return Fit(weights, offset, ridge, unchanged, error, kept.rows, gap)

    def _solution(self, ridge: float) -> tuple[Tensor, Tensor, list[float]] | None:
        """Weights, offsets and errors of all layers at a ridge, as several may have the same."""
        if ridge not in self._at:
            factor = factored(self._whole.gram, ridge)
            if factor is None:
                self._at[ridge] = None
            else:
                weights = solve(self._whole, self._layer.weights, factor)
                offset = offset_of(self._whole, weights)
                self._at[ridge] = weights, offset, self._trial.error(weights, offset)
        return self._at[ridge]


class _HeldOut:
    """Errors of each layer on the rows held out, as shares of the variance of its targets.

    Args:
        equations: of all rows.
        layer: what solutions are shrunk towards.
    """

    def __init__(self, equations: Equations, layer: LinearLayer) -> None:
        self._equations, self._layer = equations, layer
        self._held = about(equations.of(equations.held_out), layer.centred)
        self._scales = [float(part.sum()) or 1.0 for part in layer.split(layer.importance * self._held.square)]
        self._known: dict[float, list[float]] = {}

    def error(self, weights: Tensor, offset: Tensor) -> list[float]:
        """The error of one solution on all of them."""
        return self._shares(_weighed(self._held, weights, offset, self._layer))

    def errors(self, place: int, ridges: Sequence[float]) -> list[float]:
        """A layer's error at each ridge, every part judged by the solution of the others; infinite if there is none."""
        new = [ridge for ridge in ridges if ridge not in self._known]
        for part in self._equations.held_out if new else ():
            for ridge, found in zip(new, self._errors(part, new), strict=True):
                before = self._known.get(ridge, [0.0] * len(found))
                self._known[ridge] = [sum(each) for each in zip(before, self._shares(found), strict=True)]
        return [self._known[ridge][place] for ridge in ridges]

    def _shares(self, errors: list[float]) -> list[float]:
        return [error / scale for error, scale in zip(errors, self._scales, strict=True)]

    def _errors(self, part: int, ridges: Sequence[float]) -> list[list[float]]:
        # Summed anew each time: of a wide layer all parts' matrices at once would be gigabytes.
        rest = about(self._equations.all_but(part), self._layer.centred)
        alone = len(self._equations.held_out) == 1
        held = self._held if alone else about(self._equations.of([part]), self._layer.centred)
        missing = rest.cross - rest.gram @ self._layer.weights
        errors = []
        for ridge in ridges:
            factor = factored(rest.gram, ridge)
            weights = None if factor is None else self._layer.weights + torch.cholesky_solve(missing, factor)
            errors.append(
                [math.inf] * len(self._scales)
                if weights is None
                else _weighed(held, weights, offset_of(rest, weights), self._layer)
            )
        return errors


def factored(gram: Tensor, ridge: float) -> Tensor | None:
    """The Cholesky factor of H + r, r = ridge x mean diagonal of H; None where H is not definite.

    The ridge stands in H itself for a moment, as a second matrix of a wide layer would be large.
    """
    diagonal = gram.diagonal(dim1=1, dim2=2)
    before = diagonal.clone()
    diagonal.add_((ridge * before.mean(1, keepdim=True)).clamp_min(torch.finfo(torch.float64).tiny))
    factor, info = torch.linalg.cholesky_ex(gram)
    diagonal.copy_(before)
    sound = not bool(info.any()) and bool(factor.diagonal(dim1=1, dim2=2).isfinite().all())
    return factor if sound else None


def solve(sums: Sums, start: Tensor, factor: Tensor) -> Tensor:
    """Start + (H + r)^-1 (X'Y - H start), with the factor of H + r.

    Example:
        >>> rows = torch.randn(50, 3, dtype=torch.float64)
        >>> equations = Equations(1, 3, 1)
        >>> read = equations.add(rows[None], rows[None].sum(2, keepdim=True))
        >>> sums = equations.total()
        >>> weights = solve(sums, torch.zeros(1, 3, 1, dtype=torch.float64), factored(sums.gram, 1e-12))
        >>> weights.round().flatten().tolist()
        [1.0, 1.0, 1.0]
    """
    return start + torch.cholesky_solve(sums.cross - sums.gram @ start, factor)


def lowest(errors: Callable[[Sequence[float]], Sequence[float]], near: float = _FIRST) -> tuple[float, float]:
    """The ridge of least error and that error, walking downhill on the grid from `near`.

    Example:
        >>> lowest(lambda ridges: [abs(ridge - 1e-3) for ridge in ridges])[0] == RIDGES[6]
        True
    """
    place = RIDGES.index(near)
    known = dict(enumerate(errors(RIDGES[place : place + 2]), place))
    best = min(known, key=known.__getitem__)
    step = 1 if best > place else -1
    while 0 <= best + step < len(RIDGES):
        (known[best + step],) = errors([RIDGES[best + step]])
        if not known[best + step] < known[best]:
            break
        best += step
    return RIDGES[best], known[best]


def about(sums: Sums, centred: bool) -> Sums:
    """The sums about their means, or about zero where a layer has no place for an offset."""
    if centred:
        return sums
    rows, targets, count = sums.row_mean, sums.target_mean, sums.count
    return replace(
        sums,
        row_mean=torch.zeros_like(rows),
        target_mean=torch.zeros_like(targets),
        gram=sums.gram + count * rows[:, :, None] * rows[:, None, :],
        cross=sums.cross + count * rows[:, :, None] * targets[:, None, :],
        square=sums.square + count * targets.square(),
    )


def _weighed(sums: Sums, weights: Tensor, offset: Tensor, layer: LinearLayer) -> list[float]:
    return [float(part.sum()) for part in layer.split(layer.importance * errors(sums, weights, offset))]
