"""Numbers with units: `300 k`, `1.2 MB`, `40 M`, `0.5 pp`, `60%`."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Literal

from pfa_gate.config.complaints import RefusalError, describe

Unit = Literal["absolute", "percent", "pp"]
Side = Literal["", "max", "min"]

_QUANTITY = re.compile(
    r" *(?P<number>[-+]?(?:[0-9]+(?:_[0-9]+)*(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?)"
    r" *(?P<unit>[A-Za-z%]*) *\Z"
)


@dataclass(frozen=True)
class Limit:
    """A limit or target as written in the config.

    Attributes:
        value: the plain number for "absolute" (300 k is 300000.0), 60.0 for "60%" and 0.5 for "0.5 pp";
            infinite where only an increase is limited.
        unit: how `value` counts.
        text: `value` as the user wrote it; empty where there is none.
        increase: most that the value may get worse than the baseline's; a percentage is of the baseline's value.
        ratchet: whether the value may not get worse than the baseline's at all.
        side: from which it holds the value, where either is possible: "max" from above, "min" from below.
    """

    value: float
    unit: Unit
    text: str
    increase: "Limit | None" = None
    ratchet: bool = False
    side: Side = ""

    @property
    def relative(self) -> bool:
        """Whether the limit depends on a baseline."""
        return self.increase is not None or self.ratchet

    def words(self) -> str:
        """The whole limit, as reports name it.

        Example:
            >>> Limit(0.7, "absolute", "0.7", increase=Limit(0.05, "absolute", "0.05"), ratchet=True).words()
            '0.7, +0.05, ratchet'
            >>> Limit(99.0, "percent", "99%", side="min").words()
            'min 99%'
        """
        text = f"{self.side} {self.text}".lstrip() if self.text else ""
        sign = "-" if self.side == "min" else "+"
        parts = (text, f"{sign}{self.increase.text}" if self.increase else "", "ratchet" if self.ratchet else "")
        return ", ".join(filter(None, parts))

    def of(self, full: float) -> float:
        """Resolve a percentage against the full model's value; anything else is itself.

        Example:
            >>> Limit(60.0, "percent", "60%").of(200.0), Limit(9.0, "absolute", "9").of(200.0)
            (120.0, 9.0)
        """
        return full * self.value / 100 if self.unit == "percent" else self.value


@dataclass(frozen=True)
class Kind:
    """What a limit may look like.

    Args:
        example: one that is right, for the remedy.
        scales: known unit ("" for a bare number) -> how it counts and its factor.
        ranges: how it counts -> lowest and highest value allowed.
        hints: remedy for a unit that is understandably tried but not taken here.
        whole: whether an absolute value must be a whole number.
        step: what an increase over the baseline may look like; None where no baseline applies.
        sided: whether it is `{min: ...}` or `{max: ...}`, and nothing else.
        floor: whether more is better: it is `{min: ..., max_decrease: ..., ratchet: ...}`, and no bare number.
    """

    example: str
    scales: Mapping[str, tuple[Unit, int]]
    ranges: Mapping[Unit, tuple[float, float]]
    hints: Mapping[str, str] = field(default_factory=dict)
    whole: bool = False
    step: "Kind | None" = None
    sided: bool = False
    floor: bool = False

    @property
    def keys(self) -> tuple[str, str]:
        """What a limit of this kind calls its bound, and the change over a baseline that it allows."""
        return ("min", "max_decrease") if self.floor else ("max", "max_increase")


def parse(raw: object, kind: Kind) -> Limit:
    """Read a limit.

    Args:
        raw: a number, a text, or `{max: ..., max_increase: ..., ratchet: ...}`, of which one may do; for a sided kind
            `{min: ...}` or `{max: ...}`.
        kind: what it may look like.

    Raises:
        RefusalError: it is of no such kind.

    Example:
        >>> parse("1.2 MB", BYTES), parse({"max": 0.7}, RATIO).value
        (Limit(value=1200000.0, unit='absolute', text='1.2 MB', increase=None, ratchet=False, side=''), 0.7)
    """
    if kind.sided:
        return _sided(raw, kind)
    if isinstance(raw, dict):
        return _combined(raw, kind)
    if kind.floor:
        raise RefusalError(f"must be {{min: ...}}, not {describe(raw)}", _floor(kind))
    return _plain(raw, kind)


def _plain(raw: object, kind: Kind) -> Limit:
    text = _text(raw, kind)
    match = _QUANTITY.match(text)
    if match is None or len(text) > 60:
        raise RefusalError(f"must be a number such as {kind.example}, not {describe(raw)}")
    unit, factor = _scale(match["unit"], kind)
    limit = Limit(float(Decimal(match["number"]) * factor), unit, text.strip())
    _check(limit, kind)
    return limit


def _combined(raw: dict[str, object], kind: Kind) -> Limit:
    bound, step = kind.keys
    known = {bound, step, "ratchet"} if kind.step else {bound}
    example = _floor(kind) if kind.floor else f"Write for example {kind.example}."
    unknown = [key for key in raw if key not in known]
    if unknown or not raw:
        fault = f"has the unknown key {unknown[0]!r}" if unknown else "must be one limit, not an empty mapping"
        raise RefusalError(fault, f"It holds {', '.join(sorted(known))}. {example}", unknown[0] if unknown else None)
    ratchet = raw.get("ratchet", False)
    if not isinstance(ratchet, bool):
        raise RefusalError(f"has a ratchet that is {describe(ratchet)}", "Write ratchet: true.", "ratchet")
    if not ratchet and not {bound, step} & raw.keys():
        raise RefusalError("limits nothing", example)
    limit = _part(raw, bound, kind) or Limit(-math.inf if kind.floor else math.inf, "absolute", "")
    increase = _part(raw, step, kind.step) if kind.step else None
    return replace(limit, increase=increase, ratchet=ratchet, side="min" if kind.floor else "")


def _floor(kind: Kind) -> str:
    return f"Write {{min: {kind.example}}}: more is better."


_SIDES: tuple[Side, ...] = ("min", "max")
_SIDED = "Write {min: ...} where a higher score is better, {max: ...} where a lower one is."


def _sided(raw: object, kind: Kind) -> Limit:
    if not isinstance(raw, dict):
        raise RefusalError(f"must be {{min: ...}} or {{max: ...}}, not {describe(raw)}", _SIDED)
    if {"max_increase", "ratchet"} & raw.keys():
        key = next(key for key in raw if key in {"max_increase", "ratchet"})
        remedy = "Write min or max alone; budgets.compressed.score_drop can refer to a baseline."
        raise RefusalError(f"has {key}, and a score is not compared with a baseline", remedy, key)
    unknown = [key for key in raw if key not in _SIDES]
    if unknown:
        raise RefusalError(f"has the unknown key {unknown[0]!r}", f"It holds min or max. {_SIDED}", unknown[0])
    sides = [side for side in _SIDES if side in raw]
    if len(sides) != 1:
        raise RefusalError(f"holds {' and '.join(sides) or 'neither min nor max'}; one of the two is wanted", _SIDED)
    return replace(_at(raw, sides[0], kind), side=sides[0])


def _part(raw: dict[str, object], key: str, kind: Kind) -> Limit | None:
    return _at(raw, key, kind) if key in raw else None


def _at(raw: dict[str, object], key: str, kind: Kind) -> Limit:
    try:
        return _plain(raw[key], kind)
    except RefusalError as error:
        raise RefusalError(error.predicate, error.remedy, key) from None


def _text(raw: object, kind: Kind) -> str:
    match raw:
        case str():
            return raw
        case float() if not math.isfinite(raw):
            raise RefusalError(f"must be a finite number, not {raw}", f"Write for example {kind.example}.")
        case int() | float() if not isinstance(raw, bool):
            return repr(raw)
    raise RefusalError(f"must be a number such as {kind.example}, not {describe(raw)}")


def _scale(unit: str, kind: Kind) -> tuple[Unit, int]:
    if unit in kind.scales:
        return kind.scales[unit]
    example = f"Write for example {kind.example}."
    if not unit:
        raise RefusalError("needs a unit", kind.hints.get("", example))
    known = ", ".join(name for name in kind.scales if name)
    remedy = kind.hints.get(unit, f"Known here: {known}." if known else example)
    raise RefusalError(f"has the unit {unit!r}, which is not taken here", remedy)


def _check(limit: Limit, kind: Kind) -> None:
    low, high = kind.ranges[limit.unit]
    sign = {"absolute": "", "percent": "%", "pp": " pp"}[limit.unit]
    if not low <= limit.value <= high:
        span = f"at least {low:g}{sign}" if high == math.inf else f"from {low:g}{sign} to {high:g}{sign}"
        predicate = f"must be {span}, not {limit.text}"
        raise RefusalError(predicate, f"Write for example {kind.example}.")
    if not math.isfinite(limit.value):
        raise RefusalError(f"must be a finite number, not {limit.text}")
    if kind.whole and limit.unit == "absolute" and limit.value != int(limit.value):
        raise RefusalError(f"must be a whole number, not {limit.text}")


_BARE: dict[str, tuple[Unit, int]] = {"": ("absolute", 1)}
_PERCENT: dict[str, tuple[Unit, int]] = {"%": ("percent", 1)}
_THOUSANDS: dict[str, tuple[Unit, int]] = {
    "k": ("absolute", 10**3),
    "K": ("absolute", 10**3),
    "M": ("absolute", 10**6),
    "G": ("absolute", 10**9),
    "T": ("absolute", 10**12),
}
_OCTETS: dict[str, tuple[Unit, int]] = {
    "B": ("absolute", 1),
    "kB": ("absolute", 10**3),
    "KB": ("absolute", 10**3),
    "MB": ("absolute", 10**6),
    "GB": ("absolute", 10**9),
    "KiB": ("absolute", 2**10),
    "MiB": ("absolute", 2**20),
    "GiB": ("absolute", 2**30),
}
_COUNTED: dict[Unit, tuple[float, float]] = {"absolute": (1, math.inf)}
_SHARED: dict[Unit, tuple[float, float]] = {**_COUNTED, "percent": (0, 100)}
_NOT_RELATIVE = {"%": "A budget of the full model is absolute; shares belong under budgets.compressed."}

_SHARE = Kind("0.05", _BARE, {"absolute": (0, 1)})
_FEW = Kind("1", _BARE, {"absolute": (0, math.inf)}, whole=True)
_GROWTH: dict[Unit, tuple[float, float]] = {"absolute": (0, math.inf), "percent": (0, 10_000)}
_MORE = Kind("5%", {**_BARE, **_THOUSANDS, **_PERCENT}, _GROWTH)
_MORE_BYTES = Kind("5%", {**_BARE, **_OCTETS, **_PERCENT}, _GROWTH)
_LONGER = Kind("5%", _PERCENT, _GROWTH)

RATIO = Kind("0.7", _BARE, {"absolute": (0, 1)}, {"%": "Write a number from 0 to 1, such as 0.7."}, step=_SHARE)
"""A number from 0 to 1."""
COUNT = Kind("0", _BARE, {"absolute": (0, math.inf)}, whole=True, step=_FEW)
"""A whole number from 0."""
SIZE = Kind("300 k", {**_BARE, **_THOUSANDS}, _COUNTED, _NOT_RELATIVE, step=_MORE)
"""Parameters or MACs."""
BYTES = Kind("1.2 MB", {**_BARE, **_OCTETS}, _COUNTED, _NOT_RELATIVE, step=_MORE_BYTES)
"""Bytes of stored weights."""
SIZE_OR_SHARE = Kind("60%", {**_BARE, **_THOUSANDS, **_PERCENT}, _SHARED, step=_MORE)
"""Parameters or MACs, or a percentage of the full model's."""
BYTES_OR_SHARE = Kind("60%", {**_BARE, **_OCTETS, **_PERCENT}, _SHARED, step=_MORE_BYTES)
"""Bytes, or a percentage of the full model's."""
DROP = Kind(
    "0.5 pp",
    {**_BARE, "pp": ("pp", 1)},
    {"absolute": (0, math.inf), "pp": (0, 100)},
    {"%": "Write percentage points, such as 0.5 pp: a percentage could be of the score or in its points."},
    step=Kind("0.5 pp", {**_BARE, "pp": ("pp", 1)}, {"absolute": (0, math.inf), "pp": (0, 100)}),
)
"""A drop of the score: percentage points or a plain difference."""
SCORE = Kind(
    "99%",
    {**_BARE, **_PERCENT},
    {"absolute": (-math.inf, math.inf), "percent": (0, 100)},
    {"pp": "Write a share such as 99%, or a plain number; percentage points are of a drop."},
    sided=True,
)
"""A score, held from below or from above: a share, or a plain number in the metric's own unit."""
LATENCY = Kind(
    "100%",
    _PERCENT,
    {"percent": (1, 10_000)},
    dict.fromkeys(("", "ms", "s", "us"), "Write a share of the full model's, such as 100%."),
    step=_LONGER,
)
"""Latency as a percentage of the full model's."""
