"""A recipe by the spectra of the groups: one divergence, one share of energy, or the largest that meets a size."""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pfa_gate.analysis.spectrum import Spectrum
from pfa_gate.errors import ConfigError
from pfa_gate.recipe.rule import Footprint, Recipe, Rule, out_of_reach, rounded
from pfa_gate.redundancy import kept_by_energy, kept_by_kl


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
            (parameters, bytes or macs). Called by those strategies, and by kl and energy where counts are rounded
            to the nearest multiple; it must not fall when a count rises.
        rule: the strategy and its numbers.
        reasons: group name -> why it is kept whole, for the record.

    Returns:
        The plan. A size strategy keeps the largest energy, the same in all groups, whose rounded
        counts meet the target. With `round_to: auto`, kl and energy give the model as many filters as they can in
        multiples without making it larger than their own counts do.

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
    own = rule.energy if rule.strategy == "energy" else None
    if rule.strategy == "kl":
        scale = _by_divergence(spectra)
        keep = _at_its_own_size(scale, 1.0, widths, footprint, rule)
    elif own is not None:
        keep = _at_its_own_size(_by_energy(spectra), own, widths, footprint, rule)
    else:
        own, keep = _at_the_target(_by_energy(spectra), widths, footprint, rule)
    return Recipe(rule.strategy, own, keep, dict(reasons or {}), widths)


@dataclass(frozen=True)
class _Rising:
    """Counts of all groups that rise with one number; they change at these levels and at no others."""

    levels: Sequence[float]
    counts: Callable[[float], Mapping[str, int]]


def _by_energy(spectra: Mapping[str, Spectrum]) -> _Rising:
    """By the energy kept: counts change only where a cumulative energy is passed."""
    steps = np.concatenate([[0.0], *(np.cumsum(spectrum.eigenvalues) for spectrum in spectra.values())])
    levels: list[float] = np.unique(np.clip(steps, 0.0, 1.0)).tolist()
    return _Rising(levels, lambda energy: {name: keep_energy(each, energy) for name, each in spectra.items()})


def _by_divergence(spectra: Mapping[str, Spectrum]) -> _Rising:
    """By a factor of what their divergence keeps: 1 is the strategy itself."""
    own = {name: keep_kl(spectrum) for name, spectrum in spectra.items()}
    levels = sorted({0.0} | {n / own[name] for name, each in spectra.items() for n in range(1, each.filters + 1)})

    def counts(factor: float) -> dict[str, int]:
        return {name: max(1, min(each.filters, int(factor * own[name] + 1e-9))) for name, each in spectra.items()}

    return _Rising(levels, counts)


def _at_its_own_size(
    scale: _Rising, level: float, widths: Mapping[str, int], footprint: Footprint, rule: Rule
) -> dict[str, int]:
    """Counts of a level; those to the nearest multiple at the highest level that is no larger than this one's own."""
    counts = scale.counts(level)
    if rule.round_to != "auto":
        return rounded(counts, widths, rule)
    size = footprint(rounded(counts, widths, replace(rule, round_to=1)))
    meeting = _meeting(scale, widths, footprint, rule, size)
    return rounded(scale.counts(scale.levels[max(0, meeting - 1)]), widths, rule)


def _at_the_target(
    scale: _Rising, widths: Mapping[str, int], footprint: Footprint, rule: Rule
) -> tuple[float, dict[str, int]]:
    """The highest level whose rounded counts meet the target, and these counts."""
    target = rule.target or 0.0
    meeting = _meeting(scale, widths, footprint, rule, target)
    if meeting == 0:
        raise out_of_reach(footprint(rounded(scale.counts(scale.levels[0]), widths, rule)), target, rule)
    level = scale.levels[meeting - 1]
    return level, rounded(scale.counts(level), widths, rule)


def _meeting(scale: _Rising, widths: Mapping[str, int], footprint: Footprint, rule: Rule, size: float) -> int:
    """How many levels there are from the lowest up to the highest whose rounded counts are no larger than this."""
    return bisect_right(scale.levels, size, key=lambda level: footprint(rounded(scale.counts(level), widths, rule)))
