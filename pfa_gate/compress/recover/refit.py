"""Refit in closed form: a layer's weights solved anew, with the ridge that is best on rows held out."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pfa_gate.compress.regress import Equations, Sums, errors, offset_of

RIDGES = tuple(10.0 ** (step / 2) for step in range(-12, 5))
RIDGES_TRIED = 3  # about so many, as the error changes slowly with the ridge
_FIRST = 1e-1


@dataclass(frozen=True)
class LinearLayer:
    """What a refit starts from.

    Attributes:
        weights: float64 [groups, D, O], as they are.
        offset: float64 [groups, O], the bias as it is, or zeros.
        importance: float64 [groups, O], how much each output's squared error counts.
        centred: whether there is a place for a new offset.
    """

    weights: Tensor
    offset: Tensor
    importance: Tensor
    centred: bool


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


def refit(equations: Equations, layer: LinearLayer, near: float | None = None) -> Fit:
    """Weights that meet the targets best on rows they have not seen, shrunk towards those there are.

    Each ridge is tried on the rows held out with the solution of the others; the best one solves all rows. Where none
    beats the layer as it is, the layer is given back. The search starts at the ridge `near`.

    Example:
        >>> rows = torch.randn(80, 3, dtype=torch.float64)
        >>> equations = Equations(1, 3, 1)
        >>> for part in equations.parts:
        ...     few = rows[None, part :: len(equations.parts)]
        ...     read = equations.add(few, few.sum(2, keepdim=True), part)
        >>> zeros = torch.zeros(1, 3, 1, dtype=torch.float64)
        >>> fit = refit(equations, LinearLayer(zeros, zeros[:, 0], torch.ones(1, 1), centred=True))
        >>> fit.weights.flatten().round(decimals=3).tolist(), fit.after < fit.before
        ([1.0, 1.0, 1.0], True)
    """
    trial = _HeldOut(equations, layer)
    unchanged = trial.error(layer.weights, layer.offset)
    ridge, error = lowest(trial.errors, near or _FIRST)
    whole = about(equations.total(), layer.centred)
    factor = factored(whole.gram, ridge) if error < math.inf else None
    if factor is None:
        return Fit(layer.weights, layer.offset, None, unchanged, unchanged, whole.count)
    weights = solve(whole, layer.weights, factor)
    offset = offset_of(whole, weights)
    gap = 1 - trial.error(weights, offset) / error if error > 0 else 0.0
    if not error < unchanged:
        return Fit(layer.weights, layer.offset, None, unchanged, unchanged, whole.count, gap)
    return Fit(weights, offset, ridge, unchanged, error, whole.count, gap)


class _HeldOut:
    """Errors on the rows held out, as shares of the variance of their targets.

    Args:
        equations: of all rows.
        layer: what solutions are shrunk towards.
    """

    def __init__(self, equations: Equations, layer: LinearLayer) -> None:
        self._equations, self._layer = equations, layer
        self._held = about(equations.of(equations.held_out), layer.centred)
        self._scale = float((layer.importance * self._held.square).sum()) or 1.0

    def error(self, weights: Tensor, offset: Tensor) -> float:
        """The error of one solution on all of them."""
        return _weighed(self._held, weights, offset, self._layer) / self._scale

    def errors(self, ridges: Sequence[float]) -> list[float]:
        """The error of each ridge, every part judged by the solution of the others; infinite where there is none."""
        found = [self._errors(part, ridges) for part in self._equations.held_out]
        return [sum(errors) / self._scale for errors in zip(*found, strict=True)]

    def _errors(self, part: int, ridges: Sequence[float]) -> list[float]:
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
                math.inf if weights is None else _weighed(held, weights, offset_of(rest, weights), self._layer)
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


def _weighed(sums: Sums, weights: Tensor, offset: Tensor, layer: LinearLayer) -> float:
    return float((layer.importance * errors(sums, weights, offset)).sum())
