"""How far the outputs of a model are from those of another, relative to how much these vary from sample to sample."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pfa_gate.errors import MetricError, NotFiniteError
from pfa_gate.model.evaluation.intervals import Estimate, FloatArray, root_ratio_interval
from pfa_gate.model.outputs import floating_outputs

_MOST_POSITIONS = 256


@dataclass
class OutputErrors:
    """Takes in the outputs of two models batch by batch, and gives the error of the second relative to the first.

    For one output with the values y of the first model and y' of the second it is ||y - y'|| / ||y - mean(y)||, the
    mean of each value over the samples. Of several outputs the one with the largest error counts: one with small
    numbers is not hidden behind one with large ones.

    Example:
        >>> errors = OutputErrors()
        >>> errors.update(torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [1.0]]), 0)
        >>> round(errors.largest().value, 4)
        0.7071
    """

    _outputs: list["_Compared"] = field(default_factory=list)

    def update(self, full: Any, other: Any, start: int) -> None:
        """Take in what both models gave for a batch.

        Args:
            full: output of the first model.
            other: output of the second.
            start: number of the batch's first sample, for errors.

        Raises:
            MetricError: they have different outputs, or none that is floating.
            NotFiniteError: a value is NaN, or infinite in one of them alone.
        """
        ones, others = floating_outputs(full), floating_outputs(other)
        shapes = [[list(each.shape) for each in outputs] for outputs in (ones, others)]
        if shapes[0] != shapes[1] or not ones:
            raise MetricError(
                f"The full model gave outputs of the shapes {shapes[0]}, and the other model {shapes[1]}.",
                remedy="Compare models whose outputs have the same shapes, at least one of them floating.",
            )
        if not self._outputs:
            self._outputs = [_Compared() for _ in ones]
        if len(self._outputs) != len(ones):
            raise MetricError(
                f"The model gave {len(self._outputs)} floating outputs for one batch, and {len(ones)} for another.",
                remedy="Give the same outputs for every batch.",
            )
        for number, (compared, one, two) in enumerate(zip(self._outputs, ones, others, strict=True)):
            compared.update(*_finite_rows(one, two.to(one.device), number, start))

    def largest(self) -> Estimate:
        """The largest error of an output, with its bootstrap interval over samples.

        Raises:
            MetricError: nothing was taken in; or an output that is the same for all samples is another one in the
                second model, so that there is nothing to relate the error to.
        """
        if not self._outputs:
            raise MetricError("No output was compared.", remedy="Give data with at least one sample.")
        values = [each.error for each in self._outputs]
        worst = int(np.argmax(values))
        if not np.isfinite(values[worst]):
            raise MetricError(
                f"Floating output {worst + 1} of the full model is the same for all samples, and differs in the other "
                "model: its error has no scale.",
                remedy="Give several samples that differ, or remove the budget output_error.",
            )
        return Estimate(values[worst], self._outputs[worst].interval())


def _finite_rows(one: Tensor, two: Tensor, number: int, start: int) -> tuple[Tensor, Tensor]:
    """Two outputs as f64 [rows, values]; one without an axis of samples is one row."""
    one, two = (each.detach().double().reshape(len(each) if each.ndim else 1, -1) for each in (one, two))
    same = one == two
    wrong = ~(torch.isfinite(one) & torch.isfinite(two)) & ~same
    if bool(wrong.any()):
        row = int(wrong.any(dim=1).nonzero()[0])
        model = "smaller" if bool(torch.isfinite(one[row]).all()) else "full"
        raise NotFiniteError(
            f"Floating output {number + 1} of the {model} model is not finite for sample {start + row}.",
            remedy="Check the weights and the scale of the inputs.",
        )
    # Infinite in both, as a mask is: no error, and no scale.
    return one.masked_fill(~torch.isfinite(one), 0.0), two.masked_fill(~torch.isfinite(two), 0.0)


@dataclass
class _Spread:
    """Count, mean and scatter of vectors, taken in by blocks (Chan's formula)."""

    count: int = 0
    mean: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    scatter: float = 0.0

    def update(self, rows: Tensor) -> None:
        mean, count = rows.mean(dim=0), len(rows)
        before = self.mean if self.count else torch.zeros_like(mean)
        total = self.count + count
        step = mean - before
        between = float((step * step).sum()) * self.count * count / total
        self.scatter += float(((rows - mean) ** 2).sum()) + between
        self.mean, self.count = before + step * (count / total), total


class _Compared:
    """One output of both models. Where batches differ in its shape, its mean is one number for all values."""

    def __init__(self) -> None:
        self._by_value, self._together = _Spread(), _Spread()
        self._squares = 0.0
        self._each: list[FloatArray] = []
        self._held: list[FloatArray] = []
        self._width: int | None = None
        self._varies = False

    def update(self, one: Tensor, two: Tensor) -> None:
        """Take in f64 [rows, values] of both."""
        if not one.numel():
            return
        self._varies |= self._width not in (None, one.shape[1])
        self._width = one.shape[1]
        self._together.update(one.reshape(-1, 1))
        if not self._varies:
            self._by_value.update(one)
        each = ((one - two) ** 2).sum(dim=1)
        self._squares += float(each.sum())
        self._each.append(each.cpu().numpy())
        self._held.append(one[:, :: -(-one.shape[1] // _MOST_POSITIONS)].cpu().numpy())

    @property
    def error(self) -> float:
        """Relative to the spread; infinite where there is an error and no spread."""
        scatter = (self._together if self._varies else self._by_value).scatter
        if scatter > 0:
            return float(np.sqrt(self._squares / scatter))
        return float("inf") if self._squares else 0.0

    def interval(self) -> tuple[float, float] | None:
        """Over rows; the spread of each row is of up to 256 of its values, evenly spaced."""
        errors, value = np.concatenate(self._each), self.error
        if value == 0:
            return (0.0, 0.0) if len(errors) > 1 else None
        centre = np.mean([part.mean() for part in self._held]) if self._varies else np.concatenate(self._held).mean(0)
        spreads = np.concatenate([((part - centre) ** 2).mean(axis=1) for part in self._held])
        if spreads.sum() == 0:
            return None
        spreads *= errors.sum() / (value**2 * spreads.sum())
        return root_ratio_interval(errors, spreads)
