"""What the evaluation gave, as plain data.

PYTEST_DONT_REWRITE
"""

from dataclasses import dataclass, field
from typing import Literal

from pfa_gate.budget import Scored
from pfa_gate.config.metrics import SHARES, Direction

_LATER = {"later": True}


@dataclass(frozen=True)
class Scores:
    """The metric on the evaluation data; `accuracy` and `top5` are fractions.

    Attributes:
        metric: accuracy, top5 or module:callable.
        full: score of the full model.
        compressed: score of the compressed one; None where there is none.
        drop: by how much it gets worse: full minus compressed where higher is better, else compressed minus full.
        interval: 95 % interval of the drop, paired over samples, or over parts for the user's own metric.
        direction: which way is better; records of older versions took higher for granted.
        unit: share, whose changes are told in percentage points, or plain; empty in records of older versions, in which
            accuracy and top5 are shares.
        chance: why no drop is judged: the full model is no better than chance; empty if it is, or if that is meant.
    """

    metric: str
    full: float | None
    compressed: float | None
    drop: float | None
    interval: tuple[float, float] | None = None
    direction: Direction = field(default="higher", metadata=_LATER)
    unit: Literal["", "share", "plain"] = field(default="", metadata=_LATER)
    chance: str = field(default="", metadata=_LATER)

    @property
    def share(self) -> bool:
        """Whether it is a share, whose changes are told in percentage points."""
        return is_share(self.metric, self.unit)

    @property
    def lower(self) -> bool:
        """Whether a lower score is better."""
        return self.direction == "lower"

    def measure(self) -> Scored:
        """What the budgets are judged on; how many samples there were, and so the noise, no record says.

        Example:
            >>> Scores("net:loss", 0.36, 6.37, 6.01, direction="lower", unit="plain").measure().fall
            6.01
        """
        return Scored(self.full, self.compressed, self.share, self.lower, chance=self.chance)


def is_share(metric: str, unit: str) -> bool:
    """Whether a score of this metric is a share; older records name no unit, and their accuracy and top5 are shares.

    Example:
        >>> is_share("top5", ""), is_share("net:loss", ""), is_share("net:loss", "plain")
        (True, False, False)
    """
    return unit == "share" or (not unit and metric in SHARES)
