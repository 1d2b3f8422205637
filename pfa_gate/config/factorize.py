"""The section `factorize` as a type: which layers become two, and by which rank."""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from pfa_gate.config.field_types import Pattern, Patterns, SizeTarget, StrictSection
from pfa_gate.config.reader import Keys

WAYS = ("energy", "parameters", "macs", "ranks")
"""The keys by which ranks are found, of which a section has one."""
_ONE_WAY: Any = {
    "oneOf": [{"required": [way]} for way in WAYS],
    "if": {"required": ["ranks"]},
    "then": {"not": {"required": ["layers"]}},
}


class FactorizeConfig(StrictSection):
    """Layers of low rank: each becomes two of fewer parameters, solved anew on the probe."""

    model_config = ConfigDict(json_schema_extra=_ONE_WAY)

    layers: Annotated[Patterns, Field(min_length=1, json_schema_extra={"minItems": 1})] | None = Field(
        default=None,
        description="fnmatch patterns on module names: the layers that may become two. If left out: those whose "
        "filters cannot be cut, and those where cutting loses more for as many parameters",
        examples=["*.mlp.*"],
    )
    energy: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="share of the energy of each layer's outputs, by their spectrum, that its rank keeps; the layer "
        "becomes two where this saves parameters and multiply-accumulates",
        examples=[0.97],
    )
    parameters: SizeTarget | None = Field(
        default=None,
        description="what the compressed model has in the end, a count or a percentage of the full model's; the ranks "
        "are those that lose least",
    )
    macs: SizeTarget | None = Field(default=None, description="the same for the multiply-accumulates of one sample")
    ranks: Annotated[dict[Pattern, Annotated[int, Field(ge=1)]], Field(min_length=1)] | None = Field(
        default=None, description="the rank of each layer, by a pattern on its name; the last that matches counts"
    )


def factorize_faults(gate: object, at: Keys) -> Iterator[tuple[Keys, str, str]]:
    """Find what is wrong between the keys of `factorize`.

    Args:
        gate: as plain data, of any shape.
        at: its own path in the config.

    Returns:
        For each fault its path, what is wrong there, and the remedy.

    Example:
        >>> [fault[1] for fault in factorize_faults({"factorize": {"layers": ["fc"]}}, ())]
        ['factorize has none of energy, parameters, macs and ranks']
    """
    section = gate.get("factorize") if isinstance(gate, dict) else None
    if not isinstance(section, dict):
        return
    given = [way for way in WAYS if way in section]
    if not given:
        fact = "factorize has none of energy, parameters, macs and ranks"
        yield (*at, "factorize"), fact, "Add energy: 0.97, say."
    for way in given[1:]:
        yield (
            (*at, "factorize", way),
            f"factorize.{given[0]} and factorize.{way} exclude each other",
            "Remove one of the two.",
        )
    if "ranks" in section and "layers" in section:
        fact = "factorize.layers stands beside factorize.ranks, which names the layers itself"
        yield (*at, "factorize", "layers"), fact, "Remove it."
