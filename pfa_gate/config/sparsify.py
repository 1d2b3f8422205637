"""The section `sparsify` as a type: a pattern of zeros in the compressed model's weights."""

import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from pfa_gate.config.complaints import RefusalError, describe
from pfa_gate.config.field_types import Patterns, StrictSection, Text
from pfa_gate.config.reader import Keys

_PATTERN = r"^[1-9][0-9]?:[1-9][0-9]?$"
_WIDEST = 32

_BINARY: Any = {"required": ["bits"], "properties": {"bits": {"const": "binary"}}}
NEEDS_A_ZERO: Any = {"not": {"required": ["sparsify", "quantize"], "properties": {"quantize": _BINARY}}}
"""For the JSON schema of a gate."""


def pattern_of_zeros(text: str) -> str:
    """Check that a text is a pattern such as 2:4.

    Raises:
        RefusalError: it is none.

    Example:
        >>> pattern_of_zeros("2:4")
        '2:4'
    """
    kept, of = map(int, text.split(":")) if re.search(_PATTERN, text) else (0, 0)
    if 0 < kept < of <= _WIDEST:
        return text
    fact = f"must be a pattern N:M with N below M, and M at most {_WIDEST}, not {describe(text)}"
    raise RefusalError(fact, "Write 2:4: of every 4 weights 2 stay.")


class SparsifyLayers(StrictSection):
    """Which layers get zeros: fnmatch patterns on module names."""

    exclude: Patterns = Field(default=(), description="layers whose weights all stay")


class SparsifyConfig(StrictSection):
    """Zeros in the weights of the compressed model: of every M neighbouring input channels of a filter, N stay."""

    pattern: Annotated[Text, AfterValidator(pattern_of_zeros)] = Field(
        description="how many of how many neighbouring weights stay, `N:M`; hardware of today reads `2:4`",
        examples=["2:4"],
        json_schema_extra={"pattern": _PATTERN},
    )
    layers: SparsifyLayers = SparsifyLayers.model_construct()


def sparsify_faults(gate: object, at: Keys) -> Iterator[tuple[Keys, str, str]]:
    """Find what would undo the zeros.

    Args:
        gate: as plain data, of any shape.
        at: its own path in the config.

    Returns:
        For each fault its path, what is wrong there, and the remedy.

    Example:
        >>> gate = {"sparsify": {"pattern": "2:4"}, "quantize": {"bits": "binary"}}
        >>> [fault[1] for fault in sparsify_faults(gate, ())]
        ['quantize.bits is binary, which has no zero, and sparsify makes zeros']
    """
    if not isinstance(gate, dict) or "sparsify" not in gate or not isinstance(gate.get("quantize"), dict):
        return
    if gate["quantize"].get("bits") == "binary":
        message = "quantize.bits is binary, which has no zero, and sparsify makes zeros"
        yield (*at, "quantize", "bits"), message, "Write bits: ternary, or remove sparsify."
