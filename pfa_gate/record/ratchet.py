"""Two states of a baseline into one that lifts nobody's ratchet.

PYTEST_DONT_REWRITE
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pfa_gate.budget.baseline_limits import ACROSS_DEVICES, ROUNDING

_NO_VALUES = ("kind", "filters")


@dataclass(frozen=True)
class Ratchets:
    """Which values of a gate ratchet.

    Attributes:
        renamed: name of a layer today -> its name in the old baseline.
        holds: called as (budget, layer), the layer empty for a whole model.
    """

    renamed: Mapping[str, str]
    holds: Callable[[str, str], bool]


def tighter(sides: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One baseline of several, each value the lowest that any of them has: no side's ratchet is lifted.

    Args:
        sides: gates of each, whole, ours first; what is no number is as in the first that has the gate.

    Example:
        >>> one = {"written": "", "commit": "", "subject": {}, "layers": {}, "budgets": {"model.macs": 9}}
        >>> tighter([{"a": one}, {"a": one | {"budgets": {"model.macs": 8}}}])["a"]["budgets"]
        {'model.macs': 8}
    """
    found: dict[str, Any] = {}
    for side in sides:
        for gate, plain in side.items():
            found[gate] = _tightened(found[gate], plain) if gate in found else plain
    return found


def _tightened(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    layers = {
        name: _lowest(one["layers"].get(name, {}), other["layers"].get(name, {}))
        for name in {**one["layers"], **other["layers"]}
    }
    return {**one, "layers": layers, "budgets": _lowest(one["budgets"], other["budgets"])}


def _lowest(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    both = {key for key in one if key in other and key not in _NO_VALUES}
    return {**other, **one, **{key: min(one[key], other[key]) for key in both}}


def filled(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """An entry with the values that it lacks and another has.

    Example:
        >>> one = {"layers": {}, "budgets": {"model.macs": 9}}
        >>> filled(one, {"layers": {}, "budgets": {"model.macs": 8, "model.bytes": 7}})["budgets"]
        {'model.macs': 9, 'model.bytes': 7}
    """
    layers = {
        name: {**other["layers"].get(name, {}), **one["layers"].get(name, {})}
        for name in {**one["layers"], **other["layers"]}
    }
    return {**one, "layers": layers, "budgets": {**other["budgets"], **one["budgets"]}}


def held(fresh: Mapping[str, Any], old: Mapping[str, Any], rules: Ratchets) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What an update may write of a gate: a ratcheting value never rises, by rounding no more than otherwise.

    Args:
        fresh: what `entry` gives today.
        old: the entry so far.
        rules: which values ratchet.

    Returns:
        The entry to write, and the values that lie above the old ones by more than roundings.

    Example:
        >>> old = {"layers": {}, "budgets": {"model.macs": 8}, "subject": {}}
        >>> held(old | {"budgets": {"model.macs": 9}}, old, Ratchets({}, lambda budget, layer: True))[1]
        ('model.macs',)
    """
    room = ROUNDING if _device(fresh) == _device(old) else ACROSS_DEVICES
    above: list[str] = []

    def hold(budget: str, layer: str, now: float, then: float | None) -> float:
        if then is None or not rules.holds(budget, layer) or now <= then:
            return now
        if now > then + room:
            above.append(f"{budget} of {layer}" if layer else budget)
        return then

    layers = {}
    for name, plain in fresh["layers"].items():
        then = old["layers"].get(rules.renamed.get(name, name), {})
        values = {key: hold(f"layers.{key}", name, value, then.get(key)) for key, value in _values(plain).items()}
        layers[name] = {**plain, **values}
    budgets = {key: hold(key, "", value, old["budgets"].get(key)) for key, value in fresh["budgets"].items()}
    return {**fresh, "layers": layers, "budgets": budgets}, tuple(above)


def _values(layer: Mapping[str, Any]) -> dict[str, float]:
    return {key: value for key, value in layer.items() if key not in _NO_VALUES}


def _device(plain: Mapping[str, Any]) -> str:
    return str(plain["subject"].get("device", "cpu"))
