"""Ratchets: which limits have one, and how versions of a baseline are merged without lifting any."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pfa_gate.budget.baseline_limits import ACROSS_DEVICES, ROUNDING
from pfa_gate.budget.rules import rule_for
from pfa_gate.config import GateConfig, Limit
from pfa_gate.config.budgets import MORE_IS_BETTER

_NO_VALUES = ("kind", "filters")


def refers_back(gate: GateConfig) -> bool:
    """Whether a limit of a gate refers to a baseline.

    Example:
        >>> plain = {"name": "a", "model": {"factory": "net:build"}, "probe": {"data": "net:probe"}}
        >>> plain["budgets"] = {"layers": [{"match": "*", "kl": {"ratchet": True}}]}
        >>> refers_back(GateConfig.model_validate(plain))
        True
    """
    return any(limit.relative for limit in _limits(gate.budgets))


def ratchets(gate: GateConfig, budget: str, layer: str) -> bool:
    """Whether the limit that holds for a budget, of a layer or of the whole, ratchets.

    Example:
        >>> plain = {"name": "a", "model": {"factory": "net:build"}, "probe": {"data": "net:probe"}}
        >>> plain["budgets"] = {"layers": [{"match": "*", "kl": {"ratchet": True}}, {"match": "head", "kl": 0.7}]}
        >>> gate = GateConfig.model_validate(plain)
        >>> ratchets(gate, "layers.kl", "stem"), ratchets(gate, "layers.kl", "head")
        (True, False)
    """
    area, _, key = budget.partition(".")
    if layer:
        limit = getattr(rule_for(gate.budgets.layers, layer, key), key, None)
    else:
        limit = getattr(getattr(gate.budgets, area, None), key, None)
    return isinstance(limit, Limit) and limit.ratchet


def _limits(value: object) -> Iterator[Limit]:
    """Every limit in a section, at any depth."""
    if isinstance(value, Limit):
        yield value
        return
    parts: Sequence[object] = (
        value if isinstance(value, list | tuple) else list(getattr(value, "__dict__", {}).values())
    )
    for part in parts:
        yield from _limits(part)


@dataclass(frozen=True)
class Ratchets:
    """Which values of a gate ratchet.

    Attributes:
        renamed: name of a layer today -> its name in the old baseline.
        holds: called as (budget, layer), the layer empty for a whole model.
    """

    renamed: Mapping[str, str]
    holds: Callable[[str, str], bool]


def tightest(sides: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge baselines: each value is the lowest of all, the highest where more is better, so no ratchet is lifted.

    Args:
        sides: gates of each, whole, ours first; what is no number is as in the first that has the gate.

    Example:
        >>> one = {"written": "", "commit": "", "subject": {}, "layers": {}, "budgets": {"model.macs": 9}}
        >>> tightest([{"a": one}, {"a": one | {"budgets": {"model.macs": 8}}}])["a"]["budgets"]
        {'model.macs': 8}
    """
    merged: dict[str, Any] = {}
    for side in sides:
        for gate, plain in side.items():
            merged[gate] = _tightened(merged[gate], plain) if gate in merged else plain
    return merged


def _tightened(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    layers = {
        name: _best(one["layers"].get(name, {}), other["layers"].get(name, {}))
        for name in {**one["layers"], **other["layers"]}
    }
    return {**one, "layers": layers, "budgets": _best(one["budgets"], other["budgets"])}


def _best(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    both = {key for key in one if key in other and key not in _NO_VALUES}
    better = {key: (max if key in MORE_IS_BETTER else min)(one[key], other[key]) for key in both}
    return {**other, **one, **better}


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


def ratcheted(
    fresh: Mapping[str, Any], old: Mapping[str, Any], rules: Ratchets
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What an update may write of a gate: a value that ratchets never gets worse, not even by rounding.

    Args:
        fresh: what `baseline_entry` gives today.
        old: the entry so far.
        rules: which values ratchet.

    Returns:
        The entry to write, and the values that are worse than the old ones by more than roundings.

    Example:
        >>> old = {"layers": {}, "budgets": {"model.macs": 8}, "subject": {}}
        >>> ratcheted(old | {"budgets": {"model.macs": 9}}, old, Ratchets({}, lambda budget, layer: True))[1]
        ('model.macs',)
    """
    tolerance = ROUNDING if _device(fresh) == _device(old) else ACROSS_DEVICES
    worse: list[str] = []

    def hold(budget: str, layer: str, now: float, then: float | None) -> float:
        rise = None if then is None else then - now if budget in MORE_IS_BETTER else now - then
        if then is None or rise is None or rise <= 0 or not rules.holds(budget, layer):
            return now
        if rise > tolerance:
            worse.append(f"{budget} of {layer}" if layer else budget)
        return then

    layers = {}
    for name, plain in fresh["layers"].items():
        then = old["layers"].get(rules.renamed.get(name, name), {})
        values = {key: hold(f"layers.{key}", name, value, then.get(key)) for key, value in _values(plain).items()}
        layers[name] = {**plain, **values}
    budgets = {key: hold(key, "", value, old["budgets"].get(key)) for key, value in fresh["budgets"].items()}
    return {**fresh, "layers": layers, "budgets": budgets}, tuple(worse)


def _values(layer: Mapping[str, Any]) -> dict[str, float]:
    return {key: value for key, value in layer.items() if key not in _NO_VALUES}


def _device(plain: Mapping[str, Any]) -> str:
    return str(plain["subject"].get("device", "cpu"))
