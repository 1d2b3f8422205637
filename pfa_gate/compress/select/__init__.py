"""Which filters of each group stay: the least correlated ones, or those that another criterion says."""

from pfa_gate.compress.select.correlation import choose, removal_order, select
from pfa_gate.compress.select.reconstruction import Reading, group_readings, reader_losses, too_wide
from pfa_gate.compress.select.registry import SELECTIONS, criterion, hookimpl
from pfa_gate.compress.select.selection import Criterion, Evidence, Orders, Selection, keep_last

__all__ = [
    "SELECTIONS",
    "Criterion",
    "Evidence",
    "Orders",
    "Reading",
    "Selection",
    "choose",
    "criterion",
    "group_readings",
    "hookimpl",
    "keep_last",
    "reader_losses",
    "removal_order",
    "select",
    "too_wide",
]
