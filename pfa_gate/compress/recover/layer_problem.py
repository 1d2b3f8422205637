"""The least squares problem of one layer, on rows as they come: in its columns, or in the space that its rows span."""

from dataclasses import replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from pfa_gate.compress.recover.constraint import Change, constrain
from pfa_gate.compress.recover.rectifier_targets import Rows, RowSample, rectify
from pfa_gate.compress.recover.refit import Fit, LinearLayer, refit
from pfa_gate.compress.regress import FOLDS, ONE_HELD_OUT, Equations

MANY = 16  # rows for each column, from which on one fold alone is held out, as it says enough
NARROW = 1024  # columns, beyond which one fold alone is held out, as the matrices of each fold are large
TOGETHER = 2048  # rows that are summed up at once


class LayerProblem(Protocol):
    """One layer, or several that read the same, to be solved anew; one fit for each."""

    def add(self, rows: Rows, fold: int) -> None:
        """Take rows of one fold."""

    def refit(self) -> tuple[Fit, ...]:
        """The linear refit on all rows so far; behind a rectifier, what says how many rows are needed."""

    def solved(self) -> tuple[Fit, ...]:
        """The layer solved on all rows, behind the rectifier where one follows."""

    def constrained(self, place: int, fit: Fit, change: Change) -> Fit:
        """The fit of one of the layers, changed so that it meets a constraint."""


def parts_for(columns: int, rows: int) -> int:
    """In how many parts the sums of so many rows are kept: `FOLDS` where each fold is to be held out in turn.

    Example:
        >>> parts_for(columns=64, rows=512), parts_for(columns=576, rows=27_648)
        (4, 2)
    """
    return FOLDS if columns <= NARROW and rows < MANY * columns else ONE_HELD_OUT


class PrimalProblem:
    """A layer solved by the normal equations of its columns; memory is that of their matrices.

    Args:
        layer: as it is.
        scale: float64 [G, O], what its outputs are multiplied by.
        rectified: whether a rectifier follows; then it is one layer.
        rows: about how many will come.
    """

    def __init__(self, layer: LinearLayer, scale: Tensor, rows: int, *, rectified: bool) -> None:
        groups, columns, filters = layer.weights.shape
        self._layer, self._rectified = layer, rectified
        self._equations = Equations(groups, columns, filters, layer.weights.device, parts_for(columns, rows))
        self._sample = RowSample(scale, self._equations)
        self._waiting: list[list[Rows]] = [[] for _ in self._equations.parts]
        self._linear: tuple[Fit, ...] = ()
        self._fresh = False  # whether the linear refit is that of all rows

    def add(self, rows: Rows, fold: int) -> None:
        """Take rows of one fold; they are summed up many at once, as each sum passes over the whole matrix."""
        self._fresh = False
        part = self._equations.part_of(fold)
        self._waiting[part].append(rows)
        if sum(each.read.shape[1] for each in self._waiting[part]) >= TOGETHER:
            self._sum_up(part)

    def _sum_up(self, part: int) -> None:
        waiting, self._waiting[part] = self._waiting[part], []
        rows = Rows.joined(waiting)
        if rows.read.numel():
            read = self._equations.add(rows.read, rows.target, part)
            if self._rectified:
                self._sample.add(replace(rows, read=read), held=part == 0)

    def refit(self) -> tuple[Fit, ...]:
        """The linear refit on all rows so far; its ridge is looked for from that of the last one."""
        for part, waiting in enumerate(self._waiting):
            if waiting:
                self._sum_up(part)
        self._linear = refit(self._equations, self._layer, [fit.ridge for fit in self._linear])
        self._fresh = True
        return self._linear

    def solved(self) -> tuple[Fit, ...]:
        """The layer solved on all rows, behind the rectifier where one follows."""
        linear = self._linear if self._fresh else self.refit()
        return tuple(rectify(self._sample, self._layer, fit) for fit in linear) if self._rectified else linear

    def constrained(self, place: int, fit: Fit, change: Change) -> Fit:
        """The fit of one of the layers, changed so that it meets a constraint; rows were summed up by `solved`."""
        return constrain(self._equations, self._layer, place, fit, change)


class DualProblem:
    """A layer solved in the space that its rows span: cheaper where rows are fewer than columns, and the same solution.

    A ridge towards the present weights leaves them as they are where no row reaches. So with an orthonormal basis Q of
    the rows X, the weights W + Q (B - Q'W) are the solution if B solves the rows X Q from Q'W on.

    Args:
        layer: as it is.
        scale: float64 [G, O], what its outputs are multiplied by.
        rectified: whether a rectifier follows.
    """

    def __init__(self, layer: LinearLayer, scale: Tensor, *, rectified: bool) -> None:
        self._layer, self._scale, self._rectified = layer, scale, rectified
        self._rows: list[Rows] = []
        self._folds: list[int] = []

    def add(self, rows: Rows, fold: int) -> None:
        """Take rows of one fold; they are held."""
        if rows.read.numel():
            self._rows.append(rows)
            self._folds.append(fold)

    def refit(self) -> tuple[Fit, ...]:
        """The linear refit on all rows so far."""
        return self._within(rectified=False)

    def solved(self) -> tuple[Fit, ...]:
        """The layer solved on all rows, behind the rectifier where one follows."""
        return self._within(rectified=self._rectified)

    def constrained(self, place: int, fit: Fit, change: Change) -> Fit:
        """The fit of one of the layers, changed so that it meets a constraint, which is one on all columns."""
        return constrain(self._equations, self._layer, place, fit, change)

    @cached_property
    def _equations(self) -> Equations:
        groups, columns, filters = self._layer.weights.shape
        equations = Equations(groups, columns, filters, self._layer.weights.device, ONE_HELD_OUT)
        for rows, fold in zip(self._rows, self._folds, strict=True):
            equations.add(rows.read, rows.target, equations.part_of(fold))
        return equations

    def _within(self, *, rectified: bool) -> tuple[Fit, ...]:
        read = torch.cat([rows.read for rows in self._rows], 1)
        read = read if read.dtype == torch.float64 else read.float()
        basis, _ = torch.linalg.qr(read.transpose(1, 2))
        start = (basis.transpose(1, 2) @ self._layer.weights.to(read.dtype)).double()
        within = replace(self._layer, weights=start)
        problem = PrimalProblem(within, self._scale, read.shape[1], rectified=rectified)
        parts = torch.split(read, [rows.read.shape[1] for rows in self._rows], 1)
        for rows, part, fold in zip(self._rows, parts, self._folds, strict=True):
            problem.add(replace(rows, read=part @ basis), fold)
        return tuple(
            replace(fit, weights=whole + basis @ (fit.weights - before).to(read.dtype))
            for fit, whole, before in zip(
                problem.solved(), self._layer.split(self._layer.weights), self._layer.split(start), strict=True
            )
        )
