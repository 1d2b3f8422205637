"""The cut: filters that were selected go, and the smaller model is proved equal to the full one with them silenced.

Nothing here chooses a filter.
"""

from pfa_gate.compress.prune.constant import FoldedModel, fold_constants, removed_and_inactive
from pfa_gate.compress.prune.cut import AxisIndices, axis_indices_of, narrow
from pfa_gate.compress.prune.proof import Proof, floating, prove
from pfa_gate.compress.prune.prune_model import Form, PrunedModel, compress, operate, with_kept

__all__ = [
    "AxisIndices",
    "FoldedModel",
    "Form",
    "Proof",
    "PrunedModel",
    "axis_indices_of",
    "compress",
    "floating",
    "fold_constants",
    "narrow",
    "operate",
    "prove",
    "removed_and_inactive",
    "with_kept",
]
