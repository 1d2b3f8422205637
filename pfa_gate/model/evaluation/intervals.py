"""Estimates from samples with their 95 % intervals: Wilson's for a share, the bootstrap over samples for the rest."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Z95 = 1.959963984540054
_DRAWS = 1000
_CHUNK = 2**21


@dataclass(frozen=True)
class Estimate:
    """A value that was measured on samples, and its 95 % interval; None where one sample alone was measured."""

    value: float
    interval: tuple[float, float] | None = None


def wilson(hits: int, samples: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's interval of a share.

    Args:
        hits: from 0 to samples.
        samples: at least 1.
        z: quantile of the normal distribution that stands for the level.

    Example:
        >>> [round(end, 4) for end in wilson(97, 100)]
        [0.9155, 0.9897]
    """
    share, spread = hits / samples, z * z / samples
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * sqrt(share * (1 - share) / samples + spread / (4 * samples))
    return 0.0 if hits == 0 else centre - half, 1.0 if hits == samples else centre + half


def mean_of(values: FloatArray) -> Estimate:
    """The mean of one value a sample, f64 [N], with its bootstrap interval if all are finite; the draws are fixed.

    Example:
        >>> mean_of(np.array([0.5, 0.5]))
        Estimate(value=0.5, interval=(0.5, 0.5))
    """
    if not np.isfinite(values).all():
        return Estimate(float(values.mean()))
    drawn = [each[:, 0] for each in _drawn_means(values[:, None])]
    return Estimate(float(values.mean()), _quantiles(drawn, len(values)))


def root_ratio_interval(parts: FloatArray, wholes: FloatArray) -> tuple[float, float] | None:
    """The bootstrap interval of sqrt(sum(parts) / sum(wholes)), both f64 [N]; a draw whose whole is 0 is left out.

    Example:
        >>> root_ratio_interval(np.array([1.0, 1.0]), np.array([4.0, 4.0]))
        (0.5, 0.5)
    """
    drawn = []
    for means in _drawn_means(np.stack([parts, wholes], axis=1)):
        there = means[:, 1] > 0
        drawn.append(np.sqrt(means[there, 0] / means[there, 1]))
    return _quantiles(drawn, len(parts))


def _drawn_means(rows: FloatArray) -> Iterator[FloatArray]:
    """Means over samples drawn with replacement: of f64 [N, k], f64 [draws, k] in all, some draws at a time."""
    generator, samples = np.random.default_rng(0), len(rows)
    at_once = max(1, _CHUNK // samples)
    for start in range(0, _DRAWS, at_once):
        drawn = generator.integers(0, samples, (min(at_once, _DRAWS - start), samples))
        yield rows[drawn].mean(axis=1)


def _quantiles(drawn: list[FloatArray], samples: int) -> tuple[float, float] | None:
    together = np.concatenate(drawn)
    if samples < 2 or not len(together):
        return None
    low, high = np.quantile(together, [0.025, 0.975])
    return float(low), float(high)
