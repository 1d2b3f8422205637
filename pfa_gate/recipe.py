"""How many filters each group keeps: a plan, made before anything is cut."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from pfa_gate.analysis.spectrum import Spectrum
from pfa_gate.errors import ConfigError, TargetError
from pfa_gate.redundancy import kept_by_energy, kept_by_kl

Strategy: TypeAlias = Literal["kl", "energy", "parameters", "bytes", "macs"]
Footprint: TypeAlias = Callable[[Mapping[str, int]], float]


@dataclass(frozen=True)
class Rule:
    """The strategy of a recipe and its numbers.

    Args:
        strategy: kl and energy look at each group alone; parameters, bytes and macs meet a target.
        energy: share of the spectrum to keep, in [0, 1]; for strategy energy.
        target: the most parameters, bytes or macs allowed, as an absolute count.
        round_to: counts are rounded up to multiples of this, but never above the width of a group.
        minimum: fewest filters of a group, as far as it has them.

    Raises:
        ConfigError: the strategy lacks its number, or a number is out of range.

    Example:
        >>> Rule("energy", energy=0.95).round_to
        1
    """

    strategy: Strategy
    energy: float | None = None
    target: float | None = None
    round_to: int = 1
    minimum: int = 1

    def __post_init__(self) -> None:
        if self.strategy == "energy" and self.energy is None:
            raise ConfigError("Strategy energy has no energy.", remedy="Set recipe.energy, say to 0.95.")
        if self.strategy in ("parameters", "bytes", "macs") and self.target is None:
            raise ConfigError(
                f"Strategy {self.strategy} has no target.", remedy=f"Set recipe.{self.strategy}, say to 50%."
            )
        if min(self.round_to, self.minimum) < 1:
            raise ConfigError(
                f"round_to is {self.round_to} and minimum {self.minimum}; neither may be below 1.",
                remedy="Leave them out, or set them to 1 or more.",
            )


@dataclass(frozen=True)
class Recipe:
    """How many filters each group keeps (paper 3.2).

    Args:
        strategy: the strategy that found it.
        energy: the share of each spectrum kept, in [0, 1]; None for strategy kl.
        counts: group name -> filters kept.
        reasons: group name -> why it is kept whole.
        widths: group name -> filters before.

    Example:
        >>> print(Recipe("energy", 0.9, {"stem": 19}, {"head": "it feeds the output"}, {"stem": 32}))
        energy 0.9
        head  whole: it feeds the output
        stem  32 -> 19
    """

    strategy: Strategy
    energy: float | None
    counts: dict[str, int]
    reasons: dict[str, str] = field(default_factory=dict)
    widths: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        """The strategy, then one line per group, sorted by name."""
        plans = {name: f"whole: {reason}" for name, reason in self.reasons.items()}
        plans |= {name: f"{self.widths.get(name, '?')} -> {count}" for name, count in self.counts.items()}
        longest = max(map(len, plans), default=0)
        title = self.strategy if self.energy is None else f"{self.strategy} {self.energy:.6g}"
        return "\n".join([title, *(f"{name:{longest}}  {plans[name]}" for name in sorted(plans))])


def keep_kl(spectrum: Spectrum) -> int:
    """Filters to keep by divergence, without a parameter (paper 3.2, PFA-KL).

    Args:
        spectrum: of C filters.

    Returns:
        ceil(C (1 - kl_ratio)), between 1 and the number of active filters.

    Example:
        >>> from pfa_gate.analysis.spectrum import analyse
        >>> keep_kl(analyse([[1, 2], [2, 4], [3, 6]]))
        1
    """
    return kept_by_kl(spectrum.filters, spectrum.active, spectrum.kl_ratio)


def keep_energy(spectrum: Spectrum, energy: float) -> int:
    """Filters to keep so that a share of the energy stays (paper 3.2, PFA-En).

    Args:
        spectrum: of C filters.
        energy: the share, in [0, 1].

    Returns:
        The fewest k whose largest eigenvalues sum to at least `energy`, between 1 and the number of
        active filters.

    Raises:
        ConfigError: energy outside [0, 1].

    Example:
        >>> from pfa_gate.analysis.spectrum import analyse
        >>> keep_energy(analyse([[0, 0], [0, 1], [1, 0], [1, 1]]), 0.9)
        2
    """
    if not 0 <= energy <= 1:
        raise ConfigError(f"energy is {energy}; it must lie between 0 and 1.", remedy="Write 0.95 for 95 %.")
    return kept_by_energy(np.cumsum(spectrum.eigenvalues).tolist(), spectrum.active, energy)


def recipe(
    spectra: Mapping[str, Spectrum],
    footprint: Footprint,
    rule: Rule,
    reasons: Mapping[str, str] | None = None,
) -> Recipe:
    """The recipe for all groups that may be cut (paper 3.2).

    Args:
        spectra: group name -> spectrum, for every group that may be cut.
        footprint: filters kept per group -> exact size of the model, in the unit of the strategy
            (parameters, bytes or macs). Called by those strategies only; it must not fall when a count
            rises.
        rule: the strategy and its numbers.
        reasons: group name -> why it is kept whole, for the record.

    Returns:
        The plan. A size strategy keeps the largest energy, the same in all groups, whose rounded
        counts meet the target.

    Raises:
        TargetError: even the smallest recipe is above the target; names both.
        ConfigError: energy outside [0, 1].

    Example:
        >>> from pfa_gate.analysis.spectrum import analyse
        >>> spectra = {"stem": analyse([[0, 0], [0, 1], [1, 0], [1, 1]])}
        >>> recipe(spectra, lambda keep: 10 * keep["stem"], Rule("parameters", target=15)).counts
        {'stem': 1}
    """
    widths = {name: spectrum.filters for name, spectrum in spectra.items()}
    if rule.strategy == "kl":
        energy, keep = None, {name: _rounded(keep_kl(s), s.filters, rule) for name, s in spectra.items()}
    else:
        energy = rule.energy if rule.strategy == "energy" else _largest_energy(spectra, footprint, rule)
        keep = _counts(spectra, energy or 0.0, rule)
    return Recipe(rule.strategy, energy, keep, dict(reasons or {}), widths)


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
    target = rule.target or 0.0

    def after(count: int) -> dict[str, int]:
        gone = {name: max((end for _, other, end in steps[:count] if other == name), default=0) for name in widths}
        return {name: _rounded(max(1, width - gone[name]), width, rule) for name, width in widths.items()}

    count = bisect_left(range(len(steps) + 1), -target, key=lambda count: -footprint(after(count)))
    if count > len(steps):
        raise _out_of_reach(footprint(after(len(steps))), target, rule)
    reasons = {name: "what its readers lose cannot be known" for name in widths if name not in losses}
    keep = {name: kept for name, kept in after(count).items() if name in losses}
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


def _rounded(count: int, width: int, rule: Rule) -> int:
    return min(width, math.ceil(max(count, rule.minimum) / rule.round_to) * rule.round_to)


def _counts(spectra: Mapping[str, Spectrum], energy: float, rule: Rule) -> dict[str, int]:
    return {name: _rounded(keep_energy(s, energy), s.filters, rule) for name, s in spectra.items()}


def _largest_energy(spectra: Mapping[str, Spectrum], footprint: Footprint, rule: Rule) -> float:
    """Counts change only where a cumulative energy is passed, so only those need a look."""
    target = rule.target or 0.0
    steps = np.concatenate([[0.0], *(np.cumsum(spectrum.eigenvalues) for spectrum in spectra.values())])
    energies: list[float] = np.unique(np.clip(steps, 0.0, 1.0)).tolist()
    meeting = bisect_right(energies, target, key=lambda energy: footprint(_counts(spectra, energy, rule)))
    if meeting == 0:
        raise _out_of_reach(footprint(_counts(spectra, 0.0, rule)), target, rule)
    return energies[meeting - 1]


def _out_of_reach(smallest: float, target: float, rule: Rule) -> TargetError:
    return TargetError(
        f"The smallest recipe has {smallest:,.0f} {rule.strategy}; the target is {target:,.0f}.",
        remedy=f"Set recipe.{rule.strategy} to {smallest:,.0f} or more, or lower round_to and minimum.",
    )
