"""Plain data back into a record. Strict: what is not exactly a record is refused, and where it is not."""

import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from pfa_gate.errors import ArtifactError
from pfa_gate.record.parts import SCHEMA, Record

LARGEST_WHOLE = 2**63 - 1
"""What a whole number of a record may be at most, either way: more is no count of anything."""

_REMEDY = "Run `pytest --pfa` again to write a fresh record."
_LONGEST_KEY = 80
_NAMES = {str: "a string", int: "a whole number", float: "a finite number", bool: "true or false"}


def loads(text: str) -> Record:
    """Read a record from JSON text.

    Raises:
        ArtifactError: it is not JSON, or not a record of this schema.

    Example:
        >>> loads("{}")
        Traceback (most recent call last):
            ...
        pfa_gate.errors.ArtifactError: This is not a pfa_gate record: it has no schema.
          Run `pytest --pfa` again to write a fresh record.
    """
    try:
        data = json.loads(text, object_pairs_hook=_once)
    # A number of thousands of digits is a ValueError as well.
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"The record is not JSON: {error}.", remedy=_REMEDY) from error
    return from_dict(data)


def from_dict(data: object) -> Record:
    """Read a record from plain data, as `to_dict` gives it.

    Raises:
        ArtifactError: unknown schema, a key missing or unknown, or a value of the wrong type.

    Example:
        >>> from_dict({"schema": "a"})
        Traceback (most recent call last):
            ...
        pfa_gate.errors.ArtifactError: The record has the schema 'a'; this version reads 'pfa_gate.record/1'.
          Read it with the version of pfa_gate that wrote it, or run `pytest --pfa` again.
    """
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema is None:
        raise ArtifactError("This is not a pfa_gate record: it has no schema.", remedy=_REMEDY)
    if schema != SCHEMA:
        raise ArtifactError(
            f"The record has the schema {schema!r:.80}; this version reads '{SCHEMA}'.",
            remedy="Read it with the version of pfa_gate that wrote it, or run `pytest --pfa` again.",
        )
    record: Record = read_as(Record, data)
    return record


class _MisfitError(Exception):
    """Data that do not fit.

    Args:
        place: where in the data; empty for the whole.
        words: what is wrong there.
    """

    def __init__(self, place: str, words: str) -> None:
        super().__init__(place, words)
        self.place, self.words = place, words


def read_as(kind: Any, data: object, whole: str = "The record", remedy: str = _REMEDY) -> Any:
    """Read plain data as a frozen dataclass, with every field of its own type.

    Args:
        kind: the dataclass.
        data: plain data.
        whole: what an error calls all of the data.
        remedy: of an error.

    Raises:
        ArtifactError: a key is missing or unknown, or a value of the wrong type.

    Example:
        >>> from pfa_gate.record import Probe
        >>> read_as(Probe, {"samples": 64, "sha256": "ab"})
        Probe(samples=64, sha256='ab', positions=None)
    """
    try:
        return _read(kind, data, "")
    except _MisfitError as error:
        raise ArtifactError(f"{error.place or whole} {error.words}.", remedy=remedy) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of two equal keys no reader knows which one counts."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ArtifactError(f"The record has the key {key!r:.80} twice.", remedy=_REMEDY)
        found[key] = value
    return found


def _read(kind: Any, value: object, place: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _object(kind, value, place)
    if origin is types.UnionType:
        return None if value is None else _read(arguments[0], value, place)
    if origin is typing.Literal:
        return _one_of(arguments, value, place)
    if origin is tuple:
        return _tuple(arguments, value, place)
    if origin is Mapping:
        return _mapping(arguments[1], value, place)
    return _scalar(kind, value, place)


def _object(kind: Any, value: object, place: str) -> Any:
    if not isinstance(value, dict):
        raise _fault(place, "an object", value)
    hints = _hints(kind)
    lacking = hints.keys() - value.keys() - _later(kind)
    for verb, keys in (("lacks", lacking), ("has unknown", value.keys() - hints.keys())):
        if keys:
            named = ", ".join(f"{key!r:.80}" for key in sorted(map(str, keys))[:5])
            raise _MisfitError(place, f"{verb} keys: {named}")
    present = {key: hint for key, hint in hints.items() if key in value}
    return kind(**{key: _read(hint, value[key], f"{place}.{key}".lstrip(".")) for key, hint in present.items()})


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


@functools.cache
def _later(kind: Any) -> frozenset[str]:
    """Keys that older records of this schema do not have."""
    return frozenset(each.name for each in dataclasses.fields(kind) if each.metadata.get("later"))


def _one_of(options: tuple[Any, ...], value: object, place: str) -> Any:
    if value not in options:
        raise _fault(place, "one of " + ", ".join(map(repr, options)), value)
    return value


def _tuple(kinds: tuple[Any, ...], value: object, place: str) -> Any:
    if not isinstance(value, list | tuple):
        raise _fault(place, "a list", value)
    if kinds[-1] is Ellipsis:
        return tuple(_read(kinds[0], entry, f"{place}[{index}]") for index, entry in enumerate(value))
    if len(kinds) != len(value):
        raise _fault(place, f"a list of {len(kinds)}", value)
    return tuple(_read(kind, entry, place) for kind, entry in zip(kinds, value, strict=True))


def _mapping(kind: Any, value: object, place: str) -> Any:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise _fault(place, "an object", value)
    return {key: _read(kind, entry, f"{place}.{_key(key)}") for key, entry in value.items()}


def _key(key: str) -> str:
    """A key of a stranger in a place: as it is where it is a plain name, else quoted, and never long."""
    return key if len(key) <= _LONGEST_KEY and key.isprintable() else f"{key!r:.{_LONGEST_KEY}}"


def _scalar(kind: Any, value: object, place: str) -> Any:
    # bool is an int in Python and a fault in a record.
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**1000 else math.inf
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        raise _fault(place, _NAMES[kind], value)
    if isinstance(value, int) and abs(value) > LARGEST_WHOLE:
        raise _fault(place, "below 2**63", value)
    return value


def _fault(place: str, wanted: str, value: object) -> _MisfitError:
    return _MisfitError(place, f"should be {wanted}, not {value!r:.80}")
