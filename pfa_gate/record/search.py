"""The search of the strategy `score` as plain data: each trial with its sizes and its score, and which was chosen."""

from dataclasses import dataclass
from typing import Literal

HALF = "a half of the evaluation"
"""What a search scores on unless pfa.yaml names its data."""

Measure = Literal["parameters", "bytes", "macs", "latency"]


@dataclass(frozen=True)
class SearchTrial:
    """One size that was tried: cut, recovered and scored.

    Attributes:
        parameters: number of parameters.
        bytes: bytes of the stored weights.
        macs: MACs of one sample.
        latency: its time over that of the full model; None where it was not asked for.
        energy: the share of energy kept; None where the recipe is not made by it.
        score: on the samples of the search.
        drop: by how much it is worse than the full model's there.
        interval: 95 % interval of the drop; None where the metric gives none.
        holds: whether the drop keeps the limit.
    """

    parameters: int
    bytes: int
    macs: int
    latency: float | None
    energy: float | None
    score: float
    drop: float
    interval: tuple[float, float] | None
    holds: bool

    def size(self, of: Measure) -> float:
        """What is to be small.

        Example:
            >>> SearchTrial(9, 36, 81, None, 0.9, 0.8, 0.1, None, True).size("macs")
            81.0
        """
        return float(self.latency or 0.0) if of == "latency" else float(getattr(self, of))


@dataclass(frozen=True)
class SearchRecord:
    """A search for the smallest model whose score falls by no more than a limit.

    Attributes:
        of: what is to be small.
        limit: most that the score may fall by, in the metric's unit; a share for percentage points.
        confident: whether the upper end of the drop's interval has to keep it.
        data: what the search scored on.
        samples: how many samples those are.
        full: the full model's score on them.
        trials: in the order in which they were tried; no two have the same counts.
        chosen: the index of the one that was taken: the smallest that holds.
        reported: samples that the gate's own scores are of, none of them seen by the search unless `recipe.data` has
            them too.
    """

    of: Measure
    limit: float
    confident: bool
    data: str
    samples: int
    full: float
    trials: tuple[SearchTrial, ...]
    chosen: int
    reported: int = 0

    @property
    def best(self) -> SearchTrial:
        """The trial that was taken."""
        return self.trials[self.chosen]
