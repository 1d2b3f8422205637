"""What limits on answers look like: agreement, divergence, output error, and the fall of a class."""

import math

from pfa_gate.config.quantity import Kind, Unit

_BARE: dict[str, tuple[Unit, int]] = {"": ("absolute", 1)}
_PERCENT: dict[str, tuple[Unit, int]] = {"%": ("percent", 1)}
_POINTS: dict[str, tuple[Unit, int]] = {"pp": ("pp", 1)}
_SHARES: dict[Unit, tuple[float, float]] = {"absolute": (0, 1), "percent": (0, 100), "pp": (0, 100)}
_ANY: dict[Unit, tuple[float, float]] = {"absolute": (0, math.inf), "percent": (0, math.inf), "pp": (0, math.inf)}

AGREEMENT = Kind(
    "97%",
    {**_BARE, **_PERCENT},
    _SHARES,
    {"pp": "Write a share such as 97%; percentage points are of a decrease."},
    step=Kind("1 pp", {**_BARE, **_POINTS}, _SHARES, {"%": "Write percentage points, such as 1 pp."}),
    floor=True,
)
"""The share of equal answers, held from below; a baseline's may fall by percentage points."""
DIVERGENCE = Kind(
    "0.05",
    _BARE,
    _ANY,
    {"%": "Write nats, such as 0.05."},
    step=Kind("0.01", _BARE, _ANY, {"%": "Write nats, such as 0.01."}),
)
"""A divergence in nats."""
OUTPUT_ERROR = Kind(
    "2%",
    {**_BARE, **_PERCENT},
    _ANY,
    {"pp": "Write a share of the outputs' spread, such as 2%; percentage points are of an increase."},
    step=Kind("0.5 pp", {**_BARE, **_POINTS}, _ANY, {"%": "Write percentage points, such as 0.5 pp."}),
)
"""An error relative to the spread of the outputs; more than all of it is possible."""
CLASS_DROP = Kind(
    "5 pp",
    {**_BARE, **_POINTS},
    _SHARES,
    {"%": "Write percentage points, such as 5 pp: a percentage could be of the recall or in its points."},
    step=Kind("1 pp", {**_BARE, **_POINTS}, _SHARES, {"%": "Write percentage points, such as 1 pp."}),
)
"""A fall of the recall of a class."""
