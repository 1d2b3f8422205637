"""The time of a smaller model, as budgets see it."""

from collections.abc import Iterator
from dataclasses import dataclass

from pfa_gate.budget.wording import trimmed


@dataclass(frozen=True)
class LatencyMeasure:
    """Time of a smaller model over that of the full one (0.8 is 80 %).

    Attributes:
        ratio: of the two.
        interval: 95 % interval of it; None where it is not known.
        in_torch: why both were timed in torch and not as files; empty where they were files.
        device: where.
    """

    ratio: float
    interval: tuple[float, float] | None = None
    in_torch: str = ""
    device: str = "CPU"

    def notes(self, limit: float) -> Iterator[str]:
        """What makes the verdict on a time less certain.

        Args:
            limit: in percent.

        Example:
            >>> list(LatencyMeasure(0.79, (0.77, 0.81)).notes(80))
            ['Within noise: it lies between 77% and 81% (95 %).']
        """
        if self.interval is not None:
            low, high = (100 * end for end in self.interval)
            if low <= limit <= high:
                yield f"Within noise: it lies between {trimmed(low, 1)}% and {trimmed(high, 1)}% (95 %)."
        if self.in_torch:
            yield f"It was measured in torch, eager, on {self.device}, because {self.in_torch}."
