"""Which filters of each group stay: those that say least of what the others say, or by a rival's rule.

PYTEST_DONT_REWRITE
"""

import numpy as np

from pfa_gate.compress.select.correlation import Selection, choose, removal_order, select
from pfa_gate.compress.select.evidence import Criterion, Evidence, Orders
from pfa_gate.compress.select.reconstruction import reader_losses
from pfa_gate.compress.select.registry import SELECTIONS, criterion, hookimpl

__all__ = [
    "SELECTIONS",
    "Criterion",
    "Evidence",
    "Orders",
    "Selection",
    "choose",
    "criterion",
    "hookimpl",
    "keep_last",
    "reader_losses",
    "removal_order",
    "select",
]


def keep_last(orders: Orders, counts: dict[str, int]) -> Selection:
    """The selection that removal orders and counts make.

    Args:
        orders: group name -> removal order, int64 [C], for at least the groups of `counts`.
        counts: group name -> how many filters stay.

    Example:
        >>> import numpy as np
        >>> keep_last({"stem": np.array([2, 0, 1])}, {"stem": 2}).indices["stem"].tolist()
        [0, 1]
    """
    return Selection({name: np.sort(orders[name][len(orders[name]) - count :]) for name, count in counts.items()})
