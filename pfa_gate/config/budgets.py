"""Budgets: what a gate promises, what each promise is called as a test, and waivers, which let one pass until a day."""

import re
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema

from pfa_gate.config.complaints import RefusalError, describe, nearest
from pfa_gate.config.energy import Energy, EnergyOrShare
from pfa_gate.config.field_types import (
    Agreement,
    Bytes,
    BytesOrShare,
    ClassDrop,
    Count,
    Divergence,
    Drop,
    Latency,
    OutputError,
    Pattern,
    Ratio,
    Score,
    Size,
    SizeOrShare,
    StrictSection,
    Text,
)
from pfa_gate.config.reader import Keys


class LayerRule(StrictSection):
    """Limits for the layers whose name matches; the last matching rule wins, limit by limit."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 2})

    match: Pattern = Field(description="fnmatch pattern on the names of layers", examples=["*"])
    kl: Ratio | None = Field(default=None, description="highest KL ratio of a layer, from 0 to 1")
    peak_correlation: Ratio | None = Field(default=None, description="highest |Pearson| of two filters")
    mean_correlation: Ratio | None = Field(default=None, description="highest mean |Pearson| of two filters")
    inactive: Count | None = Field(default=None, description="most inactive filters of a layer")


class ModelBudgets(StrictSection):
    """Limits for the full model's footprint, and its score."""

    parameters: Size | None = Field(default=None, description="most parameters")
    bytes: Bytes | None = Field(default=None, description="most bytes of stored weights")
    macs: Size | None = Field(default=None, description="most multiply-accumulates for one sample")
    memory: Bytes | None = Field(
        default=None, description="most bytes of activations that are live at once, for one sample"
    )
    energy: Energy | None = Field(default=None, description="most energy for one sample; needs the table `energy`")
    score: Score | None = Field(
        default=None, description="lowest score, `{min: 98%}`; highest, `{max: 0.4}`, where lower is better"
    )


_ScoreLimit = Annotated[
    Score | None, Field(description="lowest score, `{min: 98%}`; highest, `{max: 0.4}`, where lower is better")
]
_AccuracyDrop = Annotated[Drop | None, Field(description="most that `accuracy` or `top5` may fall")]
_ScoreDrop = Annotated[
    Drop | None, Field(description="most that the score of any metric may get worse, in its own unit")
]
_LatencyLimit = Annotated[
    Latency | None, Field(description="highest share of the full model's time, by CPU time of the file that ships")
]
_Agreement = Annotated[
    Agreement | None,
    Field(description="lowest share of samples with the same answer as the full model, `{min: 97%}`"),
]
_Divergence = Annotated[
    Divergence | None,
    Field(description="highest mean KL divergence of its class probabilities from the full model's, nats"),
]
_OutputError = Annotated[
    OutputError | None,
    Field(description="highest error of the outputs relative to their spread, of whatever kind they are"),
]
_ClassDrop = Annotated[
    ClassDrop | None, Field(description="most that the recall of a class of at least 20 samples may fall")
]
_ONE_DROP: Any = {"not": {"required": ["accuracy_drop", "score_drop"]}}


class CompressedBudgets(StrictSection):
    """Limits for the compressed model, absolute or as a share of the full one."""

    model_config = ConfigDict(json_schema_extra=_ONE_DROP)

    parameters: SizeOrShare | None = Field(default=None, description="most parameters")
    bytes: BytesOrShare | None = Field(default=None, description="most bytes of stored weights")
    macs: SizeOrShare | None = Field(default=None, description="most multiply-accumulates for one sample")
    memory: BytesOrShare | None = Field(
        default=None, description="most bytes of activations that are live at once, for one sample"
    )
    energy: EnergyOrShare | None = Field(
        default=None, description="most energy for one sample; needs the table `energy`"
    )
    score: _ScoreLimit = None
    accuracy_drop: _AccuracyDrop = None
    score_drop: _ScoreDrop = None
    agreement: _Agreement = None
    divergence: _Divergence = None
    output_error: _OutputError = None
    class_drop: _ClassDrop = None
    latency: _LatencyLimit = None
    parity: Count | None = Field(
        default=None,
        description="most answers of `model.onnx`, or of another runtime's file, that may differ from the model's",
    )


class QuantizedBudgets(StrictSection):
    """Limits for the int8 file, or that of fewer bits; sizes are absolute or a share of the full model's."""

    model_config = ConfigDict(json_schema_extra=_ONE_DROP)

    bytes: BytesOrShare | None = Field(
        default=None, description="most bytes of stored weights, with biases, scales and zero points"
    )
    score: _ScoreLimit = None
    accuracy_drop: _AccuracyDrop = None
    score_drop: _ScoreDrop = None
    agreement: _Agreement = None
    divergence: _Divergence = None
    output_error: _OutputError = None
    class_drop: _ClassDrop = None
    latency: _LatencyLimit = None
    parity: Count | None = Field(
        default=None,
        description="most answers that may differ between the file as ONNX Runtime optimises it, and as it is written",
    )


def _rules(value: object) -> object:
    if isinstance(value, list | tuple):
        return value
    remedy = 'Begin each rule with a dash: - {match: "*", kl: 0.7}.'
    raise RefusalError(f"must be a list of rules, not {describe(value)}", remedy)


AREAS = ("model", "compressed", "quantized")
"""The sections of budgets that are about a model as a whole."""
_ANY_LIMIT: Any = [
    {"required": [section], "properties": {section: {least: 1}}}
    for section, least in (("layers", "minItems"), *((area, "minProperties") for area in AREAS))
]


class BudgetsConfig(StrictSection):
    """The limits, at least one; what has none is not judged."""

    model_config = ConfigDict(json_schema_extra={"anyOf": _ANY_LIMIT})

    layers: Annotated[tuple[LayerRule, ...], Field(strict=False), BeforeValidator(_rules)] = Field(
        default=(), description="rules for layers, in order; the last matching rule wins"
    )
    model: ModelBudgets = ModelBudgets.model_construct()
    compressed: CompressedBudgets = CompressedBudgets.model_construct()
    quantized: QuantizedBudgets = QuantizedBudgets.model_construct()


@dataclass(frozen=True)
class Declared:
    """A budget that a config names: its test name and the path of its first mention.

    Example:
        >>> Declared("layers.kl", ("gates", "digits", "budgets", "layers", 0, "kl")).name
        'layers.kl'
    """

    name: str
    keys: Keys


LAYER_LIMITS = ("kl", "peak_correlation", "mean_correlation", "inactive")
SIZES = ("parameters", "bytes", "macs")
DEMANDS = ("memory", "energy")
"""What a forward pass of one sample takes."""
DROPS = ("accuracy_drop", "score_drop")
ANSWERS = ("agreement", "divergence", "output_error", "class_drop")
PARITY = "parity"
MORE_IS_BETTER = ("compressed.agreement", "quantized.agreement")
"""Of the budgets that refer to a baseline, those that hold a value from below."""
MODEL_LIMITS = (*SIZES, *DEMANDS, "score")
COMPRESSED_LIMITS = (*SIZES, *DEMANDS, "score", *DROPS, *ANSWERS, "latency", PARITY)
QUANTIZED_LIMITS = ("bytes", "score", *DROPS, *ANSWERS, "latency", PARITY)


def declared(budgets: BudgetsConfig, gate: Keys, *, proved: bool = True) -> tuple[Declared, ...]:
    """List the budgets of a gate in the order of its tests: exact, layers, model, compressed, quantized.

    Args:
        budgets: those of the gate.
        gate: the gate's own path in the config.
        proved: whether the compressed model is made here, and so can be proved; a candidate is not.

    Example:
        >>> budgets = BudgetsConfig.model_validate({"model": {"parameters": "300 k"}})
        >>> [budget.name for budget in declared(budgets, ("gates", "digits"))]
        ['exact', 'model.parameters']
    """
    at = (*gate, "budgets")
    return (
        *([Declared("exact", gate)] if proved else []),
        *_of_layers(budgets.layers, (*at, "layers")),
        *_of_section(budgets.model, (*at, "model"), MODEL_LIMITS),
        *_of_section(budgets.compressed, (*at, "compressed"), COMPRESSED_LIMITS),
        *_of_section(budgets.quantized, (*at, "quantized"), QUANTIZED_LIMITS),
    )


def _of_layers(rules: tuple[LayerRule, ...], at: Keys) -> list[Declared]:
    first = {
        limit: index
        for limit in LAYER_LIMITS
        for index, rule in reversed(list(enumerate(rules)))
        if getattr(rule, limit) is not None
    }
    return [Declared(f"layers.{limit}", (*at, index, limit)) for limit, index in first.items()]


def _of_section(section: StrictSection, at: Keys, limits: tuple[str, ...]) -> list[Declared]:
    return [Declared(f"{at[-1]}.{limit}", (*at, limit)) for limit in limits if getattr(section, limit) is not None]


_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
NAMES = (
    *(f"layers.{limit}" for limit in LAYER_LIMITS),
    *(f"model.{limit}" for limit in MODEL_LIMITS),
    *(f"compressed.{limit}" for limit in COMPRESSED_LIMITS),
    *(f"quantized.{limit}" for limit in QUANTIZED_LIMITS),
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
