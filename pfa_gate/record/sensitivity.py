"""What each group of a gate is worth to the answers: the record that `pfa-gate sensitivity` writes, and its reader."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pfa_gate.errors import ArtifactError
from pfa_gate.record.plain_data import RepeatedKeyError, plain, read_as, text_of, unique_keys

SENSITIVITY_SCHEMA = "pfa_gate.sensitivity/1"
REMEDY = "Run `pfa-gate sensitivity` again to write a fresh one."
SHARES = (0.75, 0.5, 0.25)
"""Of a group's filters, at which it is cut beside the recipe's own count."""


@dataclass(frozen=True)
class CutGroup:
    """One group, cut alone and compensated.

    Attributes:
        group: its name.
        layers: that make its filters.
        filters: of the full model.
        recipe: filters that the recipe keeps.
        values: by filters kept, how far the answers are from those of the full model; None where an answer that the
            full model gives is ruled out, which is infinitely far.
    """

    group: str
    layers: tuple[str, ...]
    filters: int
    recipe: int
    values: Mapping[str, float | None] = field(default_factory=dict)

    def at(self, count: int) -> float | None:
        """The value with so many filters left; 0 with all of them, infinite where an answer is ruled out.

        Example:
            >>> stem = CutGroup("stem", ("stem",), 8, 6, {"6": 0.01, "4": None})
            >>> stem.at(8), stem.at(6), stem.at(4), stem.at(2)
            (0.0, 0.01, inf, None)
        """
        if count >= self.filters:
            return 0.0
        if str(count) not in self.values:
            return None
        value = self.values[str(count)]
        return float("inf") if value is None else value

    @property
    def half(self) -> float | None:
        """The value with half of the filters left."""
        return self.at(share_of(self.filters, 0.5))


@dataclass(frozen=True)
class SensitivityRecord:
    """The groups of a gate, each cut alone.

    Attributes:
        gate: its name.
        config: path of its pfa.yaml.
        versions: of the packages that took part.
        measure: divergence, in nats, or output error, a share, where the model gives no class scores.
        selection: which filters were kept.
        samples: of the probe, on which answers were compared; nothing was fitted on them.
        fitted: samples of the probe on which readers were refitted.
        model: fingerprint of the model's weights and operators.
        probe: sha256 of the probe's inputs.
        groups: in the order of the model.
        whole: groups that are not cut, and why.
        written: when, in UTC.
    """

    gate: str
    config: str
    versions: Mapping[str, str]
    measure: Literal["divergence", "output error"]
    selection: str
    samples: int
    fitted: int
    model: str
    probe: str
    groups: tuple[CutGroup, ...] = ()
    whole: Mapping[str, str] = field(default_factory=dict)
    written: str = ""

    @property
    def worst_first(self) -> tuple[CutGroup, ...]:
        """The groups by the value at the recipe's count, largest first; where it keeps all, by that at half."""
        return tuple(sorted(self.groups, key=lambda each: (-(each.at(each.recipe) or 0.0), -(each.half or 0.0))))


def sensitivity_file(output: Path, gate: str) -> Path:
    """Where the record of a gate lies.

    Args:
        output: folder of all gates.
        gate: its name.

    Example:
        >>> sensitivity_file(Path(".pfa"), "digits").as_posix()
        '.pfa/digits.sensitivity/sensitivity.json'
    """
    return output / f"{gate}.sensitivity" / "sensitivity.json"


def share_of(filters: int, share: float) -> int:
    """Filters at a share of a width, at least one.

    Example:
        >>> share_of(16, 0.25), share_of(3, 0.5), share_of(1, 0.25)
        (4, 2, 1)
    """
    return max(1, round(filters * share))


def counts_at(filters: int, shares: Iterable[float]) -> list[int]:
    """Filters at shares of a width, each once, most first; never all of them.

    Example:
        >>> counts_at(16, SHARES), counts_at(3, SHARES), counts_at(1, SHARES)
        ([12, 8, 4], [2, 1], [])
    """
    counts = {share_of(filters, share) for share in shares}
    return sorted((count for count in counts if count < filters), reverse=True)


def dumps_sensitivity(record: SensitivityRecord) -> str:
    """The record as JSON text."""
    return text_of({"schema": SENSITIVITY_SCHEMA, **plain(record)})


def loads_sensitivity(text: str) -> SensitivityRecord:
    """Read one from JSON text; what is not exactly one is refused.

    Raises:
        ArtifactError: it is not JSON, or no such record.

    Example:
        >>> loads_sensitivity("{}")
        Traceback (most recent call last):
            ...
        pfa_gate.errors.ArtifactError: This is no record of `pfa-gate sensitivity` that this version reads.
          Run `pfa-gate sensitivity` again to write a fresh one.
    """
    try:
        data: Any = json.loads(text, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError, RepeatedKeyError) as error:
        raise ArtifactError(f"The sensitivity is not JSON: {error}.", remedy=REMEDY) from error
    if not isinstance(data, dict) or data.get("schema") != SENSITIVITY_SCHEMA:
        raise ArtifactError("This is no record of `pfa-gate sensitivity` that this version reads.", remedy=REMEDY)
    body = {key: value for key, value in data.items() if key != "schema"}
    record: SensitivityRecord = read_as(SensitivityRecord, body, "The sensitivity", REMEDY)
    return record
