"""What the bits of each layer are worth to the answers: the record that `pfa-gate sensitivity --bits` writes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pfa_gate.errors import ArtifactError
from pfa_gate.record.plain_data import RepeatedKeyError, plain, read_as, text_of, unique_keys

BITS_SCHEMA = "pfa_gate.bits/1"
_REMEDY = "Run `pfa-gate sensitivity --bits` again to write a fresh one."


@dataclass(frozen=True)
class LayerWidths:
    """One layer, whose weights alone get few bits.

    Attributes:
        layer: its name.
        weights: how many.
        bytes: by width, what they and their scales take.
        values: by width, how far the answers are from those of the full model; None where an answer that the full model
            gives is ruled out, which is infinitely far.
    """

    layer: str
    weights: int
    bytes: Mapping[str, int] = field(default_factory=dict)
    values: Mapping[str, float | None] = field(default_factory=dict)

    def at(self, width: str) -> float:
        """The value at a width, infinite where an answer is ruled out.

        Example:
            >>> LayerWidths("stem", 64, {}, {"4": 0.25, "2": None}).at("2")
            inf
        """
        value = self.values[width]
        return float("inf") if value is None else value


@dataclass(frozen=True)
class BitSensitivityRecord:
    """The layers of a gate's model, each alone with few bits.

    Attributes:
        gate: its name.
        config: path of its pfa.yaml.
        versions: of the packages that took part.
        measure: divergence, in nats, or output error, a share, where the model gives no class scores.
        widths: in the order of their bits, fewest first.
        samples: of the probe, on which answers were compared.
        model: fingerprint of the model's weights and operators.
        probe: sha256 of the probe's inputs.
        bytes: of the full model.
        layers: in the order of the model.
        floating: weights that have no few bits, and why.
        written: when, in UTC.
    """

    gate: str
    config: str
    versions: Mapping[str, str]
    measure: Literal["divergence", "output error"]
    widths: tuple[str, ...]
    samples: int
    model: str
    probe: str
    bytes: int
    layers: tuple[LayerWidths, ...] = ()
    floating: Mapping[str, str] = field(default_factory=dict)
    written: str = ""

    def worst_first(self, width: str) -> tuple[LayerWidths, ...]:
        """The layers by the value at a width, largest first."""
        return tuple(sorted(self.layers, key=lambda each: -each.at(width)))


def dumps_bits(record: BitSensitivityRecord) -> str:
    """The record as JSON text."""
    return text_of({"schema": BITS_SCHEMA, **plain(record)})


def loads_bits(text: str) -> BitSensitivityRecord:
    """Read one from JSON text; what is not exactly one is refused.

    Raises:
        ArtifactError: it is not JSON, or no such record.

    Example:
        >>> loads_bits("{}")
        Traceback (most recent call last):
            ...
        pfa_gate.errors.ArtifactError: This is no record of `pfa-gate sensitivity --bits` that this version reads.
          Run `pfa-gate sensitivity --bits` again to write a fresh one.
    """
    try:
        data: Any = json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError, RepeatedKeyError) as error:
        raise ArtifactError(f"The sensitivity is not JSON: {error}.", remedy=_REMEDY) from error
    if not isinstance(data, dict) or data.get("schema") != BITS_SCHEMA:
        fact = "This is no record of `pfa-gate sensitivity --bits` that this version reads."
        raise ArtifactError(fact, remedy=_REMEDY)
    body = {key: value for key, value in data.items() if key != "schema"}
    record: BitSensitivityRecord = read_as(BitSensitivityRecord, body, "The sensitivity", _REMEDY)
    return record
