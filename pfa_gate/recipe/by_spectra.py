"""A recipe by the spectra of the groups: one divergence, one share of energy, or the largest that meets a size."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pfa_gate.analysis.spectrum import Spectrum
from pfa_gate.errors import ConfigError
from pfa_gate.recipe.multiples import Multiples
from pfa_gate.recipe.rule import Footprint, Recipe, Rule, out_of_reach
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
        The plan. A size strategy keeps the largest energy, the same in all groups, whose counts meet the target.
        Where they are rounded to the nearest multiples, those are taken that lose least energy for what they save, at
        the target, or at the size that kl and energy come to by themselves.

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
    allowed = Multiples(widths, footprint, rule)
    if rule.strategy == "kl":
        energy, own = None, {name: keep_kl(spectrum) for name, spectrum in spectra.items()}
    else:
        energy = rule.energy if rule.strategy == "energy" and rule.energy is not None else _level(spectra, allowed)
        own = {name: keep_energy(spectrum, energy) for name, spectrum in spectra.items()}
    if rule.strategy in ("kl", "energy") and rule.round_to != "auto":
        return Recipe(rule.strategy, energy, allowed.above(own), dict(reasons or {}), widths)
    size = rule.target
    if rule.strategy in ("kl", "energy"):
        size = footprint({name: max(count, min(rule.minimum, widths[name])) for name, count in own.items()})
    sums = {name: np.cumsum(spectrum.eigenvalues) for name, spectrum in spectra.items()}
    keep = allowed.nearest(own, lambda name, count: 1.0 - float(sums[name][count - 1]), size or 0.0)
    return Recipe(rule.strategy, energy, keep, dict(reasons or {}), widths)


def _level(spectra: Mapping[str, Spectrum], allowed: Multiples) -> float:
    """The largest energy whose counts meet the target, both as they are and in the multiples below.

    Counts change only where a cumulative energy is passed, so only those need a look.
    """
    target = allowed.rule.target or 0.0
    plain = replace(allowed, rule=replace(allowed.rule, round_to=1))
    steps = np.concatenate([[0.0], *(np.cumsum(spectrum.eigenvalues) for spectrum in spectra.values())])
    levels: list[float] = np.unique(np.clip(steps, 0.0, 1.0)).tolist()

    def size(energy: float) -> float:
        own = {name: keep_energy(spectrum, energy) for name, spectrum in spectra.items()}
        counts, multiples = plain.below(own), allowed.below(own)
        least = allowed.footprint(multiples)
        return least if counts == multiples else max(least, allowed.footprint(counts))

    meeting = bisect_right(levels, target, key=size)
    if meeting == 0:
        raise out_of_reach(size(levels[0]), target, allowed.rule)
    return levels[meeting - 1]
