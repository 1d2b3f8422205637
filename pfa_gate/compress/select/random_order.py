"""Selection by chance: the baseline that every other one has to beat."""

import zlib

import numpy as np

from pfa_gate.compress.select.evidence import Evidence, Orders


def chance(evidence: Evidence) -> Orders:
    """Filters in an order drawn from the seed and the group's name, the same on every machine."""
    return {
        group.name: np.random.default_rng([evidence.seed, zlib.crc32(group.name.encode())]).permutation(group.width)
        for group in evidence.groups
    }
