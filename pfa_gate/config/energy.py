"""What a sample costs in energy: the user's table, and what limits on it look like. All of it counts in picojoules."""

import math
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, PlainValidator, WithJsonSchema

from pfa_gate.config.complaints import RefusalError, describe
from pfa_gate.config.field_types import StrictSection, limited
from pfa_gate.config.quantity import Kind, Limit, Unit, parse
from pfa_gate.config.reader import Keys

JOULES: dict[str, tuple[Unit, int]] = {
    "pJ": ("absolute", 1),
    "nJ": ("absolute", 10**3),
    "uJ": ("absolute", 10**6),
    "mJ": ("absolute", 10**9),
    "J": ("absolute", 10**12),
}
_PERCENT: dict[str, tuple[Unit, int]] = {"%": ("percent", 1)}
_ANY: dict[Unit, tuple[float, float]] = {"absolute": (0, math.inf), "percent": (0, 100)}
_GROWTH: dict[Unit, tuple[float, float]] = {"absolute": (0, math.inf), "percent": (0, 10_000)}
_UNIT = {"": "Write joules of one sample, such as 40 uJ."}
_MORE = Kind("5%", {**JOULES, **_PERCENT}, _GROWTH)

ENERGY = Kind(
    "40 uJ",
    JOULES,
    _ANY,
    {**_UNIT, "%": "A budget of the full model is absolute; shares belong under budgets.compressed."},
    step=_MORE,
)
"""Energy of one sample."""
ENERGY_OR_SHARE = Kind("60%", {**JOULES, **_PERCENT}, _ANY, _UNIT, step=_MORE)
"""Energy of one sample, or a percentage of the full model's."""
_COST = Kind("4.6 pJ", JOULES, _ANY, {"": "Write joules, such as 4.6 pJ."})
_NOTHING = r"^ *[+]?[0_]*[.]?0*([eE][-+]?[0-9]+)? *[a-zA-Z]"

Energy = Annotated[Limit, *limited(ENERGY)]
EnergyOrShare = Annotated[Limit, *limited(ENERGY_OR_SHARE)]


def _cost(raw: object) -> Limit:
    if isinstance(raw, dict):
        raise RefusalError(f"must be a number such as {_COST.example}, not {describe(raw)}")
    found = raw if isinstance(raw, Limit) else parse(raw, _COST)
    if not found.value:
        raise RefusalError(f"must be more than nothing, not {found.text}", f"Write for example {_COST.example}.")
    return found


_COST_SCHEMA: dict[str, Any] = {
    "type": "string",
    "pattern": rf"^ *[+]?[0-9._]+([eE][-+]?[0-9]+)? *({'|'.join(sorted(JOULES))}) *$",
    "not": {"pattern": _NOTHING},
}
Cost = Annotated[Limit, PlainValidator(_cost), WithJsonSchema(_COST_SCHEMA)]


class EnergyConfig(StrictSection):
    """What your hardware spends; the energy of a sample is worked out from it, not measured."""

    mac: Cost = Field(description="energy of one multiply-accumulate, in pJ, nJ, uJ, mJ or J", examples=["4.6 pJ"])
    byte: Cost = Field(
        description="energy of one byte that is moved between memory and arithmetic, in the same units",
        examples=["640 pJ"],
    )


LIMITS_NEED_A_TABLE: Any = {
    "if": {
        "anyOf": [
            {
                "required": ["budgets"],
                "properties": {
                    "budgets": {"required": [area], "properties": {area: {"required": ["energy"]}}},
                },
            }
            for area in ("model", "compressed")
        ]
    },
    "then": {"required": ["energy"]},
}


def energy_faults(gate: object, at: Keys) -> Iterator[tuple[Keys, str, str]]:
    """Where a budget of energy has no table to work it out from.

    Args:
        gate: as plain data of any shape.
        at: its own path in the config.

    Example:
        >>> list(energy_faults({"budgets": {"model": {"energy": "40 uJ"}}}, ("gates", "digits")))[0][1]
        'budgets.model.energy needs the table energy'
    """
    budgets = gate.get("budgets") if isinstance(gate, dict) else None
    if not isinstance(gate, dict) or not isinstance(budgets, dict) or "energy" in gate:
        return
    for area in ("model", "compressed"):
        limits = budgets.get(area)
        if isinstance(limits, dict) and "energy" in limits:
            remedy = "Say what your hardware spends, such as energy: {mac: 4.6 pJ, byte: 640 pJ}."
            yield (*at, "budgets", area, "energy"), f"budgets.{area}.energy needs the table energy", remedy
