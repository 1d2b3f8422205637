"""Waivers: what a gate lets pass for a reason, until a day.

PYTEST_DONT_REWRITE
"""

import re
from datetime import date
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema

from pfa_gate.config.budgets import COMPRESSED_LIMITS, LAYER_LIMITS, MODEL_LIMITS
from pfa_gate.config.complaints import RefusalError, describe, nearest
from pfa_gate.config.section import Pattern, StrictSection, Text

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
NAMES = (
    *(f"layers.{limit}" for limit in LAYER_LIMITS),
    *(f"model.{limit}" for limit in MODEL_LIMITS),
    *(f"compressed.{limit}" for limit in COMPRESSED_LIMITS),
)
_SHORT = {limit: f"layers.{limit}" for limit in LAYER_LIMITS}


def _day(value: object) -> date:
    if isinstance(value, date):
        return value
    if isinstance(value, str) and _DAY.match(value):
        try:
            return date.fromisoformat(value)
        except ValueError as error:
            raise RefusalError(f"is not a day of the calendar: {value}", "Write for example 2027-01-31.") from error
    raise RefusalError(f"must be a day such as 2027-01-31, not {describe(value)}")


def _budget(value: object) -> str:
    if isinstance(value, str) and (value in NAMES or value in _SHORT):
        return _SHORT.get(value, value)
    if value == "exact":
        raise RefusalError("names exact, the proof, which nothing can waive", "Remove this entry.")
    remedy = nearest(value, NAMES) if isinstance(value, str) else f"Write for example {NAMES[0]}."
    raise RefusalError(f"must name a budget, not be {describe(value)}", remedy)


_LAYER_NAMED: Any = {
    "if": {"properties": {"budget": {"pattern": f"^(layers[.].*|{'|'.join(_SHORT)})$"}}},
    "then": {"required": ["layer"]},
    "else": {"not": {"required": ["layer"]}},
}


class Waiver(StrictSection):
    """A limit that may be broken until a day."""

    model_config = ConfigDict(json_schema_extra=_LAYER_NAMED)

    budget: Annotated[str, PlainValidator(_budget), WithJsonSchema({"enum": [*NAMES, *_SHORT]})] = Field(
        description="the budget's name", examples=["layers.kl"]
    )
    layer: Pattern | None = Field(
        default=None,
        description="fnmatch pattern on the names of layers; only for a budget of layers, and needed there",
    )
    reason: Text = Field(description="why the limit may be broken", examples=["to be retrained"])
    until: Annotated[
        date, PlainValidator(_day), WithJsonSchema({"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"})
    ] = Field(description="last day on which it may be broken", examples=["2027-01-31"])


def _entries(value: object) -> object:
    if isinstance(value, list | tuple):
        return value
    example = "- {layer: stem, budget: layers.kl, reason: to be retrained, until: 2027-01-31}"
    raise RefusalError(f"must be a list of waivers, not {describe(value)}", f"Begin each with a dash: {example}.")


Waivers = Annotated[
    tuple[Waiver, ...],
    Field(strict=False, description="waivers: limits that may be broken until a day"),
    BeforeValidator(_entries),
]
