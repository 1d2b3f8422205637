"""Outputs of a file against those of its reference: answers that flip, and the largest gap. NumPy alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pfa_gate.budget.parity import Flip
from pfa_gate.errors import ArtifactError

Array = NDArray[np.generic]
Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

TOLERANCE, TOLERANCE_OF_BITS = 1e-3, 0.5
"""Largest gap of outputs that are no class scores, in their standard deviations: in floating point, in eight bits."""
_MOST_NAMED = 20


@dataclass(frozen=True)
class OutputGap:
    """What became of the answers.

    Attributes:
        samples: how many were compared.
        answers: classes that the reference gives, and the file; None where outputs are no class scores.
        leads: by how much the reference's class leads the file's; None likewise.
        gaps: f64 [samples], largest difference of each sample's outputs.
        relative: f64 [samples], the same as shares of each output's standard deviation.
        spreads: standard deviation of each output.
        flipped: numbers of the samples whose answer is another one, ascending.
    """

    samples: int
    answers: tuple[Whole, Whole] | None
    leads: Floats | None
    gaps: Floats
    relative: Floats
    spreads: tuple[float, ...]
    flipped: Whole

    def named(self, numbers: Sequence[int] | None = None) -> tuple[Flip, ...]:
        """The first of the samples whose answer flips.

        Args:
            numbers: of all samples, in the order in which they were compared; from 0 unless given.
        """
        return tuple(self._flip(int(row), numbers) for row in self.flipped[:_MOST_NAMED])

    def _flip(self, row: int, numbers: Sequence[int] | None) -> Flip:
        reference, here = (int(each[row]) for each in self.answers) if self.answers else (None, None)
        lead = None if self.leads is None else _finite(self.leads[row])
        return Flip(row if numbers is None else int(numbers[row]), reference, here, _finite(self.gaps[row]), lead)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def largest(values: Floats) -> float | None:
    """The largest of some gaps; None where one is not finite, 0 where there are none."""
    return _finite(values.max(initial=0.0))


@dataclass
class Comparing:
    """Takes in the floating outputs of a file and of its reference, batch by batch.

    Attributes:
        file: its name, for errors.
        tolerance: largest relative gap of what is no class score.
        scores: which output holds class scores, if its form is [samples, classes].

    Example:
        >>> comparing = Comparing("model.onnx", TOLERANCE)
        >>> comparing.update([np.array([[0.0, 1.0], [2.0, 1.875]])], [np.array([[0.0, 1.0], [1.75, 1.875]])], 2)
        >>> found = comparing.difference()
        >>> found.flipped.tolist(), float(found.gaps.max()), [each.tolist() for each in found.answers]
        ([1], 0.25, [[1, 0], [1, 1]])
    """

    file: str
    tolerance: float
    scores: int = 0
    _answers: list[tuple[Whole, Whole, Floats]] = field(default_factory=list)
    _gaps: list[Floats] = field(default_factory=list)
    _spreads: list["_OutputSpread"] = field(default_factory=list)
    _samples: int = 0

    def update(self, reference: Sequence[Array], here: Sequence[Array], samples: int) -> None:
        """Take in a batch.

        Args:
            reference: its floating outputs, each of any shape; the samples on axis 0, if any.
            here: the file's.
            samples: of the batch.

        Raises:
            ArtifactError: they have other shapes.
        """
        shapes = [[list(each.shape) for each in outputs] for outputs in (reference, here)]
        if shapes[0] != shapes[1] or not reference:
            raise ArtifactError(
                f"{self.file} gives outputs of the shapes {shapes[1]}, and its reference {shapes[0]}.",
                remedy="Run the gate again, which writes both.",
            )
        self._spreads = self._spreads or [_OutputSpread() for _ in reference]
        self._gaps.append(np.stack([gaps_of(*pair, samples) for pair in zip(reference, here, strict=True)], axis=1))
        for spread, values in zip(self._spreads, reference, strict=True):
            spread.update(values)
        if self.scores < len(reference) and are_scores(reference[self.scores], samples):
            self._answers.append(_answered(reference[self.scores], here[self.scores]))
        self._samples += samples

    def difference(self, spreads: Sequence[float] | None = None) -> OutputGap:
        """What was taken in.

        Args:
            spreads: standard deviation of each output; of what was taken in unless given.
        """
        scales = np.array(spreads if spreads is not None else [each.value for each in self._spreads])
        gaps = np.concatenate(self._gaps)
        with np.errstate(invalid="ignore", divide="ignore"):
            relative = np.where(gaps == 0, 0.0, gaps / scales).max(axis=1)
        answers, leads = self._answered()
        off = ~np.isfinite(relative)
        off |= relative > self.tolerance if answers is None else answers[0] != answers[1]
        flipped = np.flatnonzero(off)
        return OutputGap(self._samples, answers, leads, gaps.max(axis=1), relative, tuple(scales.tolist()), flipped)

    def _answered(self) -> tuple[tuple[Whole, Whole] | None, Floats | None]:
        if sum(len(each[0]) for each in self._answers) != self._samples:
            return None, None
        ones, others, leads = (np.concatenate(each) for each in zip(*self._answers, strict=True))
        return (ones, others), leads


def are_scores(values: Array, samples: int) -> bool:
    """Whether an output is [samples, classes], of at least two classes.

    Example:
        >>> are_scores(np.zeros((3, 2)), 3), are_scores(np.zeros((3, 1)), 3), are_scores(np.zeros((3, 2, 4)), 3)
        (True, False, False)
    """
    return values.ndim == 2 and len(values) == samples and values.shape[1] > 1


def _answered(reference: Array, here: Array) -> tuple[Whole, Whole, Floats]:
    one, two = reference.argmax(axis=1), here.argmax(axis=1)
    rows, scores = np.arange(len(one)), reference.astype(np.float64)
    with np.errstate(invalid="ignore"):
        leads = scores[rows, one] - scores[rows, two]
    return one, two, leads


def gaps_of(reference: Array, here: Array, samples: int) -> Floats:
    """The largest difference of each sample's values, f64 [samples]; infinite where one alone is not finite.

    An output without an axis of samples counts for every sample.

    Example:
        >>> gaps_of(np.array([[1.0, -np.inf], [np.nan, 2.0]]), np.array([[1.5, -np.inf], [3.0, 2.0]]), 2).tolist()
        [0.5, inf]
    """
    one, two = (_rows(each, samples).astype(np.float64) for each in (reference, here))
    same = (one == two) | (np.isnan(one) & np.isnan(two))
    with np.errstate(invalid="ignore"):
        gaps = np.where(same, 0.0, np.abs(one - two))
    found: Floats = np.nan_to_num(gaps, nan=np.inf, posinf=np.inf).max(axis=1, initial=0.0)
    return np.broadcast_to(found, (samples,)) if len(found) == 1 else found


def thinned(values: Array, samples: int, most: int) -> Array:
    """The values of each sample, [samples, values]; of more than `most` so many, evenly chosen.

    Example:
        >>> thinned(np.arange(12).reshape(2, 2, 3), 2, 3).tolist()
        [[0, 2, 4], [6, 8, 10]]
    """
    rows = _rows(values, samples)
    width = rows.shape[1]
    return rows if width <= most else rows[:, np.arange(most) * width // most]


def _rows(values: Array, samples: int) -> Array:
    per_sample = values.ndim and len(values) == samples
    return values.reshape(samples, -1) if per_sample else values.reshape(1, -1)


class _OutputSpread:
    """The standard deviation of all finite values of an output, taken in batch by batch (Chan's formula)."""

    def __init__(self) -> None:
        self._count, self._mean, self._scatter, self._size = 0, 0.0, 0.0, 0.0

    def update(self, values: Array) -> None:
        held = values[np.isfinite(values)].astype(np.float64)
        if not held.size:
            return
        total, mean = self._count + held.size, float(held.mean())
        step = mean - self._mean
        self._scatter += float(((held - mean) ** 2).sum()) + step * step * self._count * held.size / total
        self._mean += step * held.size / total
        self._count, self._size = total, max(self._size, float(np.abs(held).max()))

    @property
    def value(self) -> float:
        """Of an output that never changes its own size, so that a gap has a scale."""
        spread = (self._scatter / self._count) ** 0.5 if self._count else 0.0
        return spread if spread > 1e-6 * self._size else self._size or 1.0
