"""Zeros in N:M patterns: counted, chosen by what the outputs lose, and made up for by the weights that stay."""

from pfa_gate.compress.sparsify.pattern import COUNTED, GroupCount, Pattern, groups_meeting
from pfa_gate.compress.sparsify.sparsify_model import PatternPlan, Sparsified, dense, sparsify

__all__ = ["COUNTED", "GroupCount", "Pattern", "PatternPlan", "Sparsified", "dense", "groups_meeting", "sparsify"]
