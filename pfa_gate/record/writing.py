"""A record into plain data and JSON, the same bytes for the same record."""

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pfa_gate.errors import ArtifactError
from pfa_gate.record.parts import SCHEMA, Record


def finite(value: float | None) -> float | None:
    """A number that JSON can hold: NaN and infinities become None, other numbers Python floats.

    Example:
        >>> finite(float("nan")), finite(1)
        (None, 1.0)
    """
    return float(value) if value is not None and math.isfinite(value) else None


def to_dict(record: Record) -> dict[str, Any]:
    """The record as dicts, lists, strings and numbers, keys in the order of the dataclasses, schema first.

    Raises:
        ArtifactError: a number is NaN or infinite; it should be None, with its reason in `unmeasured`.

    Example:
        >>> from pfa_gate.record import Probe, Record, Size
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"))
        >>> to_dict(record)["model"]
        {'parameters': 9, 'bytes': 36, 'macs': 81}
    """
    return {"schema": SCHEMA, **plain(record)}


def plain(value: object) -> Any:
    """A dataclass of ours as dicts, lists, strings and numbers.

    Raises:
        ArtifactError: a number is NaN or infinite.

    Example:
        >>> from pfa_gate.record import Probe
        >>> plain(Probe(64, "ab"))
        {'samples': 64, 'sha256': 'ab', 'positions': None}
    """
    found = _plain(value)
    for place, number in _numbers(found, ""):
        if not math.isfinite(number):
            raise ArtifactError(
                f"The record cannot be written: {place} is {number}.",
                remedy="This is a fault of pfa_gate; please report it with your pfa.yaml.",
            )
    return found


def dumps(record: Record) -> str:
    r"""The record as JSON text: two spaces, lists of plain values on one line, a line break at the end.

    Raises:
        ArtifactError: a number is NaN or infinite.

    Example:
        >>> from pfa_gate.record import Probe, Record, Size
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"))
        >>> dumps(record)[:35]
        '{\n  "schema": "pfa_gate.record/1",\n'
    """
    return text_of(to_dict(record))


def text_of(data: object) -> str:
    r"""Plain data as JSON text: two spaces, lists of plain values on one line, a line break at the end.

    Example:
        >>> text_of({"a": [1, 2]})
        '{\n  "a": [1, 2]\n}\n'
    """
    return _text(data, "\n") + "\n"


def _plain(value: object) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value


def _numbers(value: object, place: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        yield place, value
    entries: Iterable[tuple[object, object]] = ()
    if isinstance(value, dict):
        entries = value.items()
    elif isinstance(value, list):
        entries = enumerate(value)
    for key, entry in entries:
        step = f"[{key}]" if isinstance(key, int) else f".{key}".removeprefix("" if place else ".")
        yield from _numbers(entry, place + step)


def _text(value: object, newline: str) -> str:
    inner = newline + "  "
    if isinstance(value, dict) and value:
        rows = [f"{_scalar(key)}: {_text(entry, inner)}" for key, entry in value.items()]
        return "{" + inner + f",{inner}".join(rows) + newline + "}"
    if isinstance(value, list) and any(isinstance(entry, dict | list) for entry in value):
        return "[" + inner + f",{inner}".join(_text(entry, inner) for entry in value) + newline + "]"
    return _scalar(value)


def _scalar(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
