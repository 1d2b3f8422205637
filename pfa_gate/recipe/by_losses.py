"""A recipe by what each removal costs."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pfa_gate.recipe.multiples import Multiples
from pfa_gate.recipe.rule import Footprint, Recipe, Rule, out_of_reach


def recipe_by_losses(
    losses: Mapping[str, npt.NDArray[np.float64]], widths: Mapping[str, int], footprint: Footprint, rule: Rule
) -> Recipe:
    """The recipe that meets a size with the least loss: filters go first where a unit of size costs least.

    Where PFA keeps the same share of energy in every group, this looks at what removing a filter costs and at what it
    saves: a filter of a wide layer saves more than one of a narrow layer, and one whose readers can do without it
    costs less. Each group's summed losses are taken on their lower convex hull (Shoham and Gersho 1988).

    Args:
        losses: group name -> float64 [C], what each removal costs beyond those before it, in the order of removal.
        widths: group name -> filters, for every group of the footprint that may be cut; those without losses stay
            whole.
        footprint: filters kept per group -> exact size of the model.
        rule: with a target.

    Raises:
        TargetError: even the smallest recipe is above the target; names both.

    Example:
        >>> losses = {"stem": np.array([0.0, 0.5]), "trunk": np.array([0.1, 0.9])}
        >>> size = lambda keep: 10 * keep["stem"] + 10 * keep["trunk"]
        >>> recipe_by_losses(losses, {"stem": 2, "trunk": 2}, size, Rule("parameters", target=20)).counts
        {'stem': 1, 'trunk': 1}
    """
    steps = sorted(step for name in losses for step in _steps(name, losses[name], widths, footprint))
    target, allowed = rule.target or 0.0, Multiples(widths, footprint, rule)
    plain = replace(allowed, rule=replace(rule, round_to=1))

    def after(count: int) -> dict[str, int]:
        gone = {name: max((end for _, other, end in steps[:count] if other == name), default=0) for name in widths}
        return plain.below({name: max(1, width - gone[name]) for name, width in widths.items()})

    def size(count: int) -> float:
        counts = after(count)
        return max(footprint(counts), footprint(allowed.below(counts)))

    count = bisect_left(range(len(steps) + 1), -target, key=lambda count: -size(count))
    if count > len(steps):
        raise out_of_reach(size(len(steps)), target, rule)
    sums = {name: np.concatenate([[0.0], np.cumsum(np.maximum(each, 0.0))]) for name, each in losses.items()}

    def lost(name: str, kept: int) -> float:
        return float(sums[name][min(widths[name] - kept, len(sums[name]) - 1)]) if name in sums else 0.0

    reasons = {name: "what its readers lose cannot be known" for name in widths if name not in losses}
    keep = {name: kept for name, kept in allowed.nearest(after(count), lost, target).items() if name in losses}
    return Recipe(rule.strategy, None, keep, reasons, {name: widths[name] for name in keep})


def _steps(
    name: str, losses: npt.NDArray[np.float64], widths: Mapping[str, int], footprint: Footprint
) -> Iterator[tuple[float, str, int]]:
    """The edges of the hull of a group: loss for each unit of size saved, the group, and filters gone at its end."""
    saved = footprint(widths) - footprint({**widths, name: widths[name] - 1})
    total = np.concatenate([[0.0], np.cumsum(np.maximum(losses, 0.0))[: widths[name] - 1]])
    start = 0
    while saved > 0 and start < len(total) - 1:
        slopes = (total[start + 1 :] - total[start]) / np.arange(1, len(total) - start)
        steepness = float(slopes.min())
        start += 1 + int(np.flatnonzero(slopes == slopes.min())[-1])
        yield steepness / saved, name, start
