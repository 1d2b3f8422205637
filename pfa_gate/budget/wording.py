"""Numbers as people read them in a sentence; the reports round by the same rules."""

import math
from collections.abc import Sequence

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def significant(value: float, digits: int = 3) -> str:
    """A number to some significant digits, without an exponent and without trailing zeros after a point.

    Example:
        >>> significant(0.83149), significant(123456.0), significant(0.5), significant(1.0)
        ('0.831', '123456', '0.5', '1')
    """
    if not math.isfinite(value) or value == 0:
        return "0" if value == 0 else str(value)
    return trimmed(value, max(0, digits - 1 - math.floor(math.log10(abs(value)))))


def difference(value: float, other: float) -> float:
    """One number minus another, without the noise of rounding that the difference of two floats has.

    Example:
        >>> 0.37 - 0.36, difference(0.37, 0.36), difference(3e8, 1e8)
        (0.010000000000000009, 0.01, 200000000.0)
    """
    scale = max(abs(value), abs(other))
    if not 0 < scale < math.inf:
        return value - other
    return round(value - other, 14 - math.ceil(math.log10(scale)))


def amount(value: float, unit: str = "") -> str:
    """A quantity to three digits with a decimal prefix, as limits are written in pfa.yaml.

    Args:
        value: the quantity in units of one.
        unit: "B" for bytes, empty for a plain count.

    Example:
        >>> amount(412345), amount(2_570_000, "B"), amount(812), amount(999_960)
        ('412 k', '2.57 MB', '812', '1 M')
    """
    for factor, prefix in _PREFIXES:
        if abs(value) >= 0.9995 * factor:
            return f"{_three(value / factor)} {prefix}{unit}"
    return f"{_three(value)} {unit}".rstrip()


def joules(picojoules: float) -> str:
    """Energy to three digits in the unit in which a limit would be written in pfa.yaml.

    Example:
        >>> joules(4.6), joules(40_000_000), joules(999_960), joules(2.5e15)
        ('4.6 pJ', '40 uJ', '1 uJ', '2500 J')
    """
    units = ((1e12, "J"), (1e9, "mJ"), (1e6, "uJ"), (1e3, "nJ"))
    for factor, unit in units:
        if abs(picojoules) >= 0.9995 * factor:
            return f"{_three(picojoules / factor)} {unit}"
    return f"{_three(picojoules)} pJ"


def quantity(value: float, key: str) -> str:
    """A size of a model, as limits on it are written.

    Args:
        value: in units of one; in picojoules for `energy`.
        key: of its budget.

    Example:
        >>> quantity(412345, "macs"), quantity(2_570_000, "memory"), quantity(40_000_000, "energy")
        ('412 k', '2.57 MB', '40 uJ')
    """
    return joules(value) if key == "energy" else amount(value, "B" if key in ("bytes", "memory") else "")


def _three(value: float) -> str:
    return significant(float(f"{value:.3g}"))


def percent(fraction: float, decimals: int = 1) -> str:
    """A fraction as a percentage.

    Example:
        >>> percent(0.5523), percent(1.0)
        ('55.2%', '100.0%')
    """
    return f"{100 * fraction:.{decimals}f}%"


def apart(value: float, limit: float, decimals: int = 3) -> tuple[str, str]:
    """Two numbers to some decimals, or as many more as it takes to tell them apart.

    A value just above its limit must never read as equal to it.

    Example:
        >>> apart(0.831, 0.7)
        ('0.831', '0.7')
        >>> apart(0.70004, 0.7)
        ('0.70004', '0.7')
    """
    for more in range(decimals, 17):
        texts = trimmed(value, more), trimmed(limit, more)
        if texts[0] != texts[1]:
            return texts
    return trimmed(value, decimals), trimmed(limit, decimals)


def trimmed(value: float, decimals: int) -> str:
    """A number to some decimals, without trailing zeros.

    Example:
        >>> trimmed(0.5, 3), trimmed(0.12345, 3), trimmed(-0.0001, 2)
        ('0.5', '0.123', '0')
    """
    text = f"{value:.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def plural(count: int, noun: str) -> str:
    """A count with its noun.

    Example:
        >>> plural(1, "layer"), plural(2, "layer")
        ('1 layer', '2 layers')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first few of a list, and how many more there are.

    Example:
        >>> listed(["a", "b", "c", "d", "e"])
        'a, b, c and 2 more'
        >>> listed(["a", "b"])
        'a, b'
    """
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"
