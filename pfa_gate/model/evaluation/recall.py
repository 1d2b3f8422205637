"""Recall class by class before and after, and which of its falls are more than noise."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FEWEST_OF_CLASS = 20
"""Samples that a class needs for a verdict on its recall."""
LEVEL = 0.05
"""Of a fall that counts: how often two equally good models may show one, over all classes."""


@dataclass(frozen=True)
class ClassRecall:
    """What two models make of the samples of one class.

    Attributes:
        label: of the class.
        samples: that have it.
        full: how many of them the full model answers rightly.
        other: how many the other model does.
        lost: right in the full model alone.
        won: right in the other model alone.
        p: how likely a fall like this is if neither model is better, over all classes together; None for a class of
            fewer than 20 samples.
        interval: of the fall, as a share, such that all classes' intervals together hold in 95 %; None as above.
    """

    label: int
    samples: int
    full: int
    other: int
    lost: int
    won: int
    p: float | None = None
    interval: tuple[float, float] | None = None

    @property
    def fall(self) -> float:
        """By how much recall falls, as a share; negative where it rises."""
        return (self.lost - self.won) / self.samples

    @property
    def falls(self) -> bool:
        """Whether the fall is more than noise."""
        return self.p is not None and self.p <= LEVEL


def recalls(labels: IntArray, full: IntArray, other: IntArray) -> tuple[ClassRecall, ...]:
    """Recall of each class that occurs, by label ascending.

    A fall is tested by McNemar's exact test, one-sided: of the samples on which the two models differ, the full model
    alone is right on half, if neither is better. Holm's correction makes the probabilities those of all classes of at
    least 20 samples together. Intervals are adjusted Wald intervals of a difference of paired proportions (see
    `drop_interval`), at Bonferroni's level.

    Args:
        labels: int64 [N].
        full: int64 [N], what the full model answers.
        other: int64 [N], what the other model answers.

    Example:
        >>> labels = np.zeros(40, int)
        >>> [found] = recalls(labels, labels, np.repeat([0, 1], [32, 8]))
        >>> found.lost, found.fall, found.p
        (8, 0.2, 0.00390625)
    """
    from scipy.special import bdtrc, ndtri  # noqa: PLC0415  a tenth of a second, for evaluations alone

    right, kept = full == labels, other == labels
    found = []
    for label in np.unique(labels).tolist():
        of = labels == label
        lost, won = int((right & ~kept)[of].sum()), int((kept & ~right)[of].sum())
        found.append(ClassRecall(label, int(of.sum()), int(right[of].sum()), int(kept[of].sum()), lost, won))
    judged = [each for each in found if each.samples >= FEWEST_OF_CLASS]
    if not judged:
        return tuple(found)
    chances = [float(bdtrc(each.lost - 1, each.lost + each.won, 0.5)) if each.lost else 1.0 for each in judged]
    z = float(ndtri(1 - LEVEL / 2 / len(judged)))
    tested = {
        each.label: ClassRecall(**{**vars(each), "p": p, "interval": _interval(each, z)})
        for each, p in zip(judged, holm(chances), strict=True)
    }
    return tuple(tested.get(each.label, each) for each in found)


def holm(chances: list[float]) -> list[float]:
    """Holm's correction: each probability as one of several that were looked at together.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(chances)), key=lambda place: chances[place])
    adjusted, most = [0.0] * len(chances), 0.0
    for rank, place in enumerate(order):
        most = max(most, min(1.0, (len(chances) - rank) * chances[place]))
        adjusted[place] = most
    return adjusted


def _interval(found: ClassRecall, z: float) -> tuple[float, float]:
    trials = found.samples + 2
    lost, won = (found.lost + 1) / trials, (found.won + 1) / trials
    half = z * sqrt((lost + won - (lost - won) ** 2) / trials)
    return max(-1.0, lost - won - half), min(1.0, lost - won + half)
