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


@dataclass(frozen=True)
class LogAxis:
    """From a positive value to its position, by its logarithm; the ends are powers of ten.

    Attributes:
        low, high: the ends.
    """

    low: float
    high: float

    def position(self, value: float) -> float:
        """0 at the low end, 1 at the high one.

        Example:
            >>> LogAxis(0.01, 1.0).position(0.1)
            0.5
        """
        return math.log10(value / self.low) / math.log10(self.high / self.low)

    def ticks(self) -> list[float]:
        """The powers of ten from low to high.

        Example:
            >>> LogAxis(0.01, 1.0).ticks()
            [0.01, 0.1, 1.0]
        """
        first, last = round(math.log10(self.low)), round(math.log10(self.high))
        return [float(f"1e{power}") for power in range(first, last + 1)]

    def word(self, tick: float) -> str:
        """A tick as it is written.

        Example:
            >>> LogAxis(0.01, 1.0).word(0.01), LogAxis(1e-6, 1.0).word(1e-6)
            ('0.01', '1e-06')
        """
        return f"{tick:g}"


def log_axis_of(values: Sequence[float]) -> LogAxis:
    """An axis from a power of ten to another on which all values lie; they are above 0.

    Example:
        >>> log_axis_of([0.03, 2.0])
        LogAxis(low=0.01, high=10.0)
    """
    first, last = (math.log10(each) for each in (min(values), max(values)))
    low, high = math.floor(first + 1e-9), math.ceil(last - 1e-9)
    return LogAxis(float(f"1e{low}"), float(f"1e{max(high, low + 1)}"))
