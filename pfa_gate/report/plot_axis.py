"""From values to positions along an axis of a plot, with round ticks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pfa_gate.budget.wording import trimmed


@dataclass(frozen=True)
class PlotAxis:
    """From a value to its position.

    Attributes:
        low, high: the ends, both ticks.
        step: from one tick to the next.
        percent: whether values are shares, written as percentages.
    """

    low: float
    high: float
    step: float
    percent: bool

    def position(self, value: float) -> float:
        """0 at the low end, 1 at the high one."""
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """The ticks from low to high.

        Example:
            >>> PlotAxis(0.0, 1.0, 0.5, True).ticks()
            [0.0, 0.5, 1.0]
        """
        count = round((self.high - self.low) / self.step)
        return [self.low + self.step * index for index in range(count + 1)]

    def word(self, tick: float) -> str:
        """A tick as it is written.

        Example:
            >>> PlotAxis(0.0, 1.0, 0.5, True).word(0.5), PlotAxis(0.0, 30.0, 10.0, False).word(20.0)
            ('50%', '20')
        """
        return f"{trimmed(100 * tick, 2)}%" if self.percent else trimmed(tick, 4)


def axis_of(values: Sequence[float], percent: bool, most: int = 6) -> PlotAxis:
    """An axis on which all values lie, with round ticks, at most so many steps.

    Example:
        >>> axis_of([0.31, 0.98], percent=True)
        PlotAxis(low=0.2, high=1.0, step=0.2, percent=True)
    """
    low, high = min(values), max(values)
    span = max(high - low, abs(high) * 0.02, 1e-9)
    # Rounding must not add a step where a value is a tick itself.
    unit = 10.0 ** math.floor(math.log10(span / most))
    step = next(unit * factor for factor in (1, 2, 5, 10, 20) if span / (unit * factor) <= most - 1)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    return PlotAxis(round(first * step, 12), round(last * step, 12), step, percent)
