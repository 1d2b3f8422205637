"""The section `quantize` as a type: how few bits the compressed model's weights get."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import ConfigDict, Field

from pfa_gate.config.field_types import BytesTarget, Patterns, StrictSection
from pfa_gate.config.reader import Keys

FILE = "onnx-int8"
"""What the int8 file is called under `artifacts`."""

_OF_INT8 = ("samples", "reduce_range")
_OF_RUNTIMES = ("latency", "parity")
_ASKS: Any = {"required": ["quantized"], "properties": {"quantized": {"minProperties": 1}}}
NEEDS_QUANTIZE: Any = [
    {"if": {"properties": {"budgets": _ASKS}}, "then": {"required": ["quantize"]}},
    {
        "if": {"properties": {"artifacts": {"contains": {"const": FILE}}}, "required": ["artifacts"]},
        "then": {"required": ["quantize"]},
    },
]
"""For the JSON schema of a gate."""


_FEW: Any = {"required": ["bits"], "properties": {"bits": {"not": {"const": 8}}}}
_AUTO: Any = {"required": ["bits"], "properties": {"bits": {"const": "auto"}}}
_RUN: Any = {
    "properties": {
        "budgets": {"properties": {"quantized": {"properties": dict.fromkeys(_OF_RUNTIMES, False)}}},
        "artifacts": {"not": {"contains": {"const": FILE}}},
    }
}
NEEDS_QUANTIZE.append({"if": {"required": ["quantize"], "properties": {"quantize": _FEW}}, "then": _RUN})


class QuantizeLayers(StrictSection):
    """Which layers are quantized: fnmatch patterns on module names."""

    exclude: Patterns = Field(default=(), description="layers whose weights and outputs stay floating")


class QuantizeConfig(StrictSection):
    """The int8 file of the compressed model, or the file of fewer bits for its weights."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                {"if": _AUTO, "then": {"required": ["bytes"]}, "else": {"not": {"required": ["bytes"]}}},
                {"if": _FEW, "then": {"not": {"anyOf": [{"required": [key]} for key in _OF_INT8]}}},
            ]
        }
    )

    bits: Literal[8, 6, 5, 4, 3, 2, "ternary", "binary", "auto"] = Field(
        description="`8`: of each weight and of each activation, in an ONNX file, which needs the extra `onnx`. Fewer "
        "are of weights alone; `ternary` and `binary` are three and two values; `auto` gives each layer its own number",
        examples=[8],
    )
    bytes: BytesTarget | None = Field(
        default=None,
        description="with bits `auto`: most bytes of all that the file stores, or a percentage of the full model's",
    )
    samples: int = Field(
        default=256,
        ge=1,
        description="with 8 bits: first samples of the probe, of which the ranges of the activations are taken; all of "
        "them where it has fewer",
    )
    reduce_range: bool = Field(
        default=True,
        description="with 8 bits: whether weights use 7 of their 8 bits, so that sums of products saturate on no "
        "processor; `false` uses all 8, which processors without VNNI answer differently",
    )
    layers: QuantizeLayers = QuantizeLayers.model_construct()

    @property
    def width(self) -> int | Literal["ternary", "binary"]:
        """Of every layer.

        Raises:
            TypeError: each layer has its own.
        """
        if self.bits == "auto":
            raise TypeError("Each layer has a width of its own.")
        return self.bits


def quantize_faults(gate: object, at: Keys) -> Iterator[tuple[Keys, str, str]]:
    """Find what needs the section `quantize` where there is none, or 8 bits where there are fewer.

    Args:
        gate: as plain data, of any shape.
        at: its own path in the config.

    Returns:
        For each fault its path, what is wrong there, and the remedy.

    Example:
        >>> [fault[1] for fault in quantize_faults({"budgets": {"quantized": {"bytes": "20%"}}}, ())]
        ['budgets.quantized needs the section quantize']
    """
    if not isinstance(gate, dict):
        return
    if "quantize" in gate:
        yield from _faults_of_bits(gate, gate["quantize"], at)
        return
    budgets, artifacts = gate.get("budgets"), gate.get("artifacts")
    if isinstance(budgets, dict) and budgets.get("quantized"):
        made = "Add quantize: {bits: 8}, or remove these budgets."
        remedy = "A candidate is judged as it is: remove these budgets." if "candidate" in gate else made
        yield (*at, "budgets", "quantized"), "budgets.quantized needs the section quantize", remedy
    if isinstance(artifacts, list) and FILE in artifacts and "candidate" not in gate:
        remedy = f"Add quantize: {{bits: 8}}, or take {FILE} out of artifacts."
        yield (*at, "artifacts", artifacts.index(FILE)), f"artifacts names {FILE}, and there is no quantize", remedy


_BELOW = (6, 5, 4, 3, 2, "ternary", "binary", "auto")


def _faults_of_bits(gate: dict[str, Any], section: object, at: Keys) -> Iterator[tuple[Keys, str, str]]:
    """What does not go with the bits that are asked for."""
    if not isinstance(section, dict):
        return
    bits, here = section.get("bits"), (*at, "quantize")
    if bits == "auto" and "bytes" not in section:
        yield (*here, "bits"), "bits: auto needs quantize.bytes", "Add the target of the file, such as bytes: 12%."
    if "bytes" in section and bits in (8, *_BELOW) and bits != "auto":
        yield (*here, "bytes"), f"quantize.bytes is not read with bits: {bits}", "Remove it, or write bits: auto."
    if bits not in _BELOW or isinstance(bits, bool):
        return
    for key in _OF_INT8:
        if key in section:
            yield (*here, key), f"quantize.{key} is not read with bits: {bits}", "Remove it, or write bits: 8."
    budgets, artifacts = gate.get("budgets"), gate.get("artifacts")
    limits = budgets.get("quantized") if isinstance(budgets, dict) else None
    for key in _OF_RUNTIMES:
        if isinstance(limits, dict) and limits.get(key) is not None:
            fact = f"budgets.quantized.{key} is of a file that a runtime runs, and none runs bits: {bits}"
            yield (*at, "budgets", "quantized", key), fact, "Remove this budget, or write quantize: {bits: 8}."
    if isinstance(artifacts, list) and FILE in artifacts:
        fact = f"artifacts names {FILE}, and quantize asks for bits: {bits}"
        remedy = f"Take {FILE} out: the file of few bits is always written."
        yield (*at, "artifacts", artifacts.index(FILE)), fact, remedy
