"""The section `quantize` as a type: how few bits the compressed model's weights get."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from pfa_gate.config.field_types import Patterns, StrictSection
from pfa_gate.config.reader import Keys

FILE = "onnx-int8"
"""What the int8 file is called under `artifacts`."""

_ASKS: Any = {"required": ["quantized"], "properties": {"quantized": {"minProperties": 1}}}
NEEDS_QUANTIZE: Any = [
    {"if": {"properties": {"budgets": _ASKS}}, "then": {"required": ["quantize"]}},
    {
        "if": {"properties": {"artifacts": {"contains": {"const": FILE}}}, "required": ["artifacts"]},
        "then": {"required": ["quantize"]},
    },
]
"""For the JSON schema of a gate."""


class QuantizeLayers(StrictSection):
    """Which layers are quantized: fnmatch patterns on module names."""

    exclude: Patterns = Field(default=(), description="layers whose weights and outputs stay floating")


class QuantizeConfig(StrictSection):
    """The int8 file of the compressed model, made by ONNX Runtime's quantizer; it needs the extra `onnx`."""

    bits: Literal[8] = Field(description="bits of each weight and of each activation", examples=[8])
    samples: int = Field(
        default=256,
        ge=1,
        description="first samples of the probe, of which the ranges of the activations are taken; all of them where "
        "it has fewer",
    )
    reduce_range: bool = Field(
        default=True,
        description="whether weights use 7 of their 8 bits, so that sums of products saturate on no processor; `false` "
        "uses all 8, which processors without VNNI answer differently",
    )
    layers: QuantizeLayers = QuantizeLayers.model_construct()


def quantize_faults(gate: object, at: Keys) -> Iterator[tuple[Keys, str, str]]:
    """Find what needs the section `quantize` where there is none.

    Args:
        gate: as plain data, of any shape.
        at: its own path in the config.

    Returns:
        For each fault its path, what is wrong there, and the remedy.

    Example:
        >>> [fault[1] for fault in quantize_faults({"budgets": {"quantized": {"bytes": "20%"}}}, ())]
        ['budgets.quantized needs the section quantize']
    """
    if not isinstance(gate, dict) or "quantize" in gate:
        return
    budgets, artifacts = gate.get("budgets"), gate.get("artifacts")
    if isinstance(budgets, dict) and budgets.get("quantized"):
        made = "Add quantize: {bits: 8}, or remove these budgets."
        remedy = "A candidate is judged as it is: remove these budgets." if "candidate" in gate else made
        yield (*at, "budgets", "quantized"), "budgets.quantized needs the section quantize", remedy
    if isinstance(artifacts, list) and FILE in artifacts and "candidate" not in gate:
        remedy = f"Add quantize: {{bits: 8}}, or take {FILE} out of artifacts."
        yield (*at, "artifacts", artifacts.index(FILE)), f"artifacts names {FILE}, and there is no quantize", remedy
