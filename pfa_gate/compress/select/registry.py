"""The selections by name; another package adds one more through the hook `pfa_gate_selection`."""

import numpy as np
import pluggy

from pfa_gate.compress.select.correlation import removal_order
from pfa_gate.compress.select.importance import batchnorm, geometric_median, l1, random_order, taylor
from pfa_gate.compress.select.kernels import kse
from pfa_gate.compress.select.reconstruction import reconstruction
from pfa_gate.compress.select.selection import Criterion, Evidence, Orders
from pfa_gate.errors import ConfigError
from pfa_gate.hooks import Hooks, hookimpl, installed

__all__ = ["SELECTIONS", "Hooks", "criterion", "hookimpl", "installed"]


def correlation(evidence: Evidence) -> Orders:
    """Filters most correlated with those still there first (paper 3.2.1)."""
    return {group.name: removal_order(evidence.spectra[group.name]) for group in evidence.groups}


def activation(evidence: Evidence) -> Orders:
    """Filters by the variance of their responses on the probe, smallest first: those that say least of the sample."""
    return {
        group.name: np.argsort(evidence.spectra[group.name].covariance.diagonal(), kind="stable").astype(np.int64)
        for group in evidence.groups
    }


SELECTIONS: dict[str, Criterion] = {
    "correlation": correlation,
    "reconstruction": reconstruction,
    "l1": l1,
    "geometric_median": geometric_median,
    "batchnorm": batchnorm,
    "taylor": taylor,
    "kse": kse,
    "activation": activation,
    "random": random_order,
}


def criterion(name: str, plugins: pluggy.PluginManager | None = None) -> Criterion:
    """The selection of a name: one of ours, or another package's.

    Args:
        name: as pfa.yaml has it.
        plugins: where to look for others; the entry points `pfa_gate` unless given.

    Raises:
        ConfigError: nobody knows the name.

    Example:
        >>> criterion("l1") is l1
        True
    """
    if name in SELECTIONS:
        return SELECTIONS[name]
    found: Criterion | None = (plugins or installed()).hook.pfa_gate_selection(name=name)
    if found is None:
        known = ", ".join(SELECTIONS)
        raise ConfigError(f"There is no selection '{name}'.", remedy=f"Known here: {known}; or install its package.")
    return found
