"""Recipes to compare with: counts by one share of every group, or by chance, at a given number of parameters."""

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from pfa_gate.errors import TargetError
from pfa_gate.redundancy import RoundTo, multiple_of

Shares = Mapping[str, float]
Keep = dict[str, int]

TOLERANCE = 0.01
_HALVINGS = 50
# Draws that no scale brings to the target are made anew; with groups of few filters that happens now and then.
_TRIES = 20


@dataclass(frozen=True)
class RecipeSpace:
    """Which counts a recipe may give.

    Attributes:
        widths: group name -> filters, of every group that may be cut.
        footprint: counts -> parameters of the model, or another size; it must not fall when a count rises.
        round_to: counts are multiples of this, or the width; `auto` as in a recipe.
        minimum: fewest filters of a group.
        unit: of what the footprint counts.
    """

    widths: Mapping[str, int]
    footprint: Callable[[Mapping[str, int]], float]
    round_to: RoundTo = 1
    minimum: int = 1
    unit: str = "parameters"

    def counts(self, wanted: Mapping[str, float]) -> Keep:
        """Allowed counts at or below those wanted, as far as there are any.

        Example:
            >>> RecipeSpace({"stem": 10}, len, round_to=4).counts({"stem": 7.9})
            {'stem': 4}
        """
        return {name: self._count(width, wanted[name]) for name, width in self.widths.items()}

    def step(self, name: str) -> int:
        """How far apart the counts of a group are."""
        return multiple_of(self.round_to, self.widths[name])

    def _count(self, width: int, wanted: float) -> int:
        multiple = multiple_of(self.round_to, width)
        least = min(width, math.ceil(self.minimum / multiple) * multiple)
        # A product that rounding leaves just below a whole number is that number.
        fewer = math.floor(wanted / multiple + 1e-9) * multiple
        return width if wanted >= width else max(least, fewer)


def uniform(space: RecipeSpace, target: float) -> Keep:
    """One share of every group, at a number of parameters.

    Every count is within one step of the same share of its group's width.

    Args:
        space: which counts are allowed.
        target: parameters, or what else the footprint counts.

    Raises:
        TargetError: no share comes within the tolerance.

    Example:
        >>> uniform(RecipeSpace({"a": 10, "b": 20}, lambda keep: sum(keep.values())), 15)
        {'a': 5, 'b': 10}
    """
    keep = scaled(space, dict.fromkeys(space.widths, 1.0), target)
    if abs(space.footprint(keep) - target) > TOLERANCE * target:
        raise _unreached("No uniform recipe", space, keep, target)
    return keep


def random(space: RecipeSpace, target: float, seed: int, draw: int) -> Keep:
    """Counts by chance, at a number of parameters.

    The share of each group is drawn from (0, 1), independently; one factor then brings all to the target.

    Args:
        space: which counts are allowed.
        target: parameters, or what else the footprint counts.
        seed: of all draws; the shares are the same on every machine.
        draw: which one.

    Raises:
        TargetError: no draw of several comes within the tolerance.

    Example:
        >>> space = RecipeSpace({"a": 100, "b": 100}, lambda keep: sum(keep.values()))
        >>> sum(random(space, 100, seed=0, draw=3).values())
        100
    """
    keep: Keep = {}
    for attempt in range(_TRIES):
        keep = scaled(space, _drawn(space.widths, (seed, draw, attempt)), target)
        if abs(space.footprint(keep) - target) <= TOLERANCE * target:
            return keep
    raise _unreached(f"No random recipe of draw {draw}", space, keep, target)


def scaled(space: RecipeSpace, shares: Shares, target: float) -> Keep:
    """Shares times the one factor that comes closest to the target, then single steps towards it.

    The largest factor whose counts are within the target is found by halving; the groups that it rounds down most
    take one step more, each as long as that comes closer.
    """
    low, high = 0.0, 1.0 / min(shares.values())
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        fits = space.footprint(space.counts(_wanted(space, shares, middle))) <= target
        low, high = (middle, high) if fits else (low, middle)
    wanted = _wanted(space, shares, low)
    keep = space.counts(wanted)
    lacking = sorted(keep, key=lambda name: keep[name] - wanted[name])
    for name in lacking:
        more = keep | {name: min(space.widths[name], keep[name] + space.step(name))}
        if abs(space.footprint(more) - target) < abs(space.footprint(keep) - target):
            keep = more
    return keep


def _wanted(space: RecipeSpace, shares: Shares, factor: float) -> dict[str, float]:
    return {name: min(float(width), factor * shares[name] * width) for name, width in space.widths.items()}


def _drawn(widths: Mapping[str, int], seeds: tuple[int, ...]) -> Shares:
    return {
        name: float(np.random.default_rng([*seeds, zlib.crc32(name.encode())]).uniform(1e-3, 1.0)) for name in widths
    }


def _unreached(what: str, space: RecipeSpace, keep: Mapping[str, int], target: float) -> TargetError:
    return TargetError(
        f"{what} comes within {TOLERANCE:.0%} of {target:,.0f} {space.unit}; "
        f"the nearest has {space.footprint(keep):,.0f}.",
        remedy="Compare at another size, or lower round_to.",
    )
