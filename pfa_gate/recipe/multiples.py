"""Counts in multiples at a size: of the two neighbours of each count, those that cost least for what they save."""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pfa_gate.recipe.rule import Footprint, Rule
from pfa_gate.redundancy import multiple_of, neighbours

Lost = Callable[[str, int], float]
"""What a group loses that keeps so many filters; in one unit for all groups, and less for more filters."""


@dataclass(frozen=True)
class Multiples:
    """The counts that a rule allows.

    Args:
        widths: group name -> filters.
        footprint: filters kept per group -> size; it must not fall when a count rises.
        rule: with its `round_to` and `minimum`.
    """

    widths: Mapping[str, int]
    footprint: Footprint
    rule: Rule

    def below(self, counts: Mapping[str, int]) -> dict[str, int]:
        """The nearest allowed counts that are no larger, as far as there are any."""
        return {name: self._neighbours(name, count)[0] for name, count in counts.items()}

    def above(self, counts: Mapping[str, int]) -> dict[str, int]:
        """The nearest allowed counts that are no smaller."""
        return {name: self._neighbours(name, count)[1] for name, count in counts.items()}

    def nearest(self, counts: Mapping[str, int], lost: Lost, size: float) -> dict[str, int]:
        """Of the two neighbours of each count, together no larger than a size, as far as the lower ones are.

        All groups begin at the upper one. Those are lowered first that lose least for each unit of size saved; then
        what is left of the size takes back what fits, dearest first.

        Args:
            counts: as they would be without multiples.
            lost: what a group loses.
            size: most that the footprint may be.

        Example:
            >>> allowed = Multiples({"a": 32, "b": 32}, lambda keep: sum(keep.values()), Rule("macs", None, 50.0, 8))
            >>> allowed.nearest({"a": 23, "b": 25}, lambda name, count: -count if name == "b" else -2 * count, 50.0)
            {'a': 24, 'b': 24}
        """
        low, high = self.below(counts), self.above(counts)
        prices = {name: self._price(name, counts[name], (low, high), lost) for name in counts if low[name] < high[name]}
        order = sorted(prices, key=lambda name: (prices[name], name))

        def lowered(count: int) -> dict[str, int]:
            return {**high, **{name: low[name] for name in order[:count]}}

        fewest = bisect_left(range(len(order) + 1), -size, key=lambda count: -self.footprint(lowered(count)))
        keep = lowered(fewest)
        for name in reversed(order[:fewest]):
            more = {**keep, name: high[name]}
            keep = more if self.footprint(more) <= size else keep
        return keep

    def _price(self, name: str, count: int, both: tuple[Mapping[str, int], Mapping[str, int]], lost: Lost) -> float:
        low, high = both
        saved = self.footprint(high) - self.footprint({**high, name: low[name]})
        return (lost(name, low[name]) - lost(name, count)) / saved if saved > 0 else math.inf

    def _neighbours(self, name: str, count: int) -> tuple[int, int]:
        width = self.widths[name]
        multiple = multiple_of(self.rule.round_to, self.rule.widths.get(name, width))
        return neighbours(count, width, multiple, self.rule.minimum)
