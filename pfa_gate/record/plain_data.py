"""Frozen dataclasses to plain data and JSON text, and back: strict, and the same bytes for the same data."""

import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pfa_gate.errors import ArtifactError

LATER = {"later": True}
"""Of a key that records of a schema have not always had: reading one without it is no fault."""

LARGEST_WHOLE = 2**63 - 1
"""What a whole number of a record may be at most, either way: more is no count of anything."""

_LONGEST_KEY = 80
_NAMES = {str: "a string", int: "a whole number", float: "a finite number", bool: "true or false"}


def finite(value: float | None) -> float | None:
    """A number that JSON can hold: NaN and infinities become None, other numbers Python floats.

    Example:
        >>> finite(float("nan")), finite(1)
        (None, 1.0)
    """
    return float(value) if value is not None and math.isfinite(value) else None


def plain(value: object) -> Any:
    """A dataclass of ours as dicts, lists, strings and numbers.

    Raises:
        ArtifactError: a number is NaN or infinite.

    Example:
        >>> from pfa_gate.record import Probe
        >>> plain(Probe(64, "ab"))
        {'samples': 64, 'sha256': 'ab', 'positions': None, 'held_out': 0}
    """
    data = _plain_value(value)
    for path, number in _numbers(data, ""):
        if not math.isfinite(number):
            raise ArtifactError(
                f"The record cannot be written: {path} is {number}.",
                remedy="This is a fault of pfa_gate; please report it with your pfa.yaml.",
            )
    return data


def text_of(data: object) -> str:
    r"""Plain data as JSON text: two spaces, lists of plain values on one line, a line break at the end.

    Example:
        >>> text_of({"a": [1, 2]})
        '{\n  "a": [1, 2]\n}\n'
    """
    return _json(data, "\n") + "\n"


def _plain_value(value: object) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain_value(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain_value(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_value(entry) for entry in value]
    return value


def _numbers(value: object, path: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        yield path, value
    entries: Iterable[tuple[object, object]] = ()
    if isinstance(value, dict):
        entries = value.items()
    elif isinstance(value, list):
        entries = enumerate(value)
    for key, entry in entries:
        step = f"[{key}]" if isinstance(key, int) else f".{key}".removeprefix("" if path else ".")
        yield from _numbers(entry, path + step)


def _json(value: object, newline: str) -> str:
    inner = newline + "  "
    if isinstance(value, dict) and value:
        rows = [f"{_json_scalar(key)}: {_json(entry, inner)}" for key, entry in value.items()]
        return "{" + inner + f",{inner}".join(rows) + newline + "}"
    if isinstance(value, list) and any(isinstance(entry, dict | list) for entry in value):
        return "[" + inner + f",{inner}".join(_json(entry, inner) for entry in value) + newline + "]"
    return _json_scalar(value)


def _json_scalar(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


class RepeatedKeyError(ValueError):
    """An object of JSON has a key twice, and no reader knows which one counts."""


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, as an `object_pairs_hook`.

    Raises:
        RepeatedKeyError: a key stands there twice.

    Example:
        >>> json.loads('{"a": 1, "a": 2}', object_pairs_hook=unique_keys)
        Traceback (most recent call last):
            ...
        pfa_gate.record.plain_data.RepeatedKeyError: has the key 'a' twice
    """
    unique: dict[str, Any] = {}
    for key, value in pairs:
        if key in unique:
            raise RepeatedKeyError(f"has the key {key!r:.80} twice")
        unique[key] = value
    return unique


class _MisfitError(Exception):
    """Data that do not fit.

    Args:
        path: where in the data; empty for the whole.
        words: what is wrong there.
    """

    def __init__(self, path: str, words: str) -> None:
        super().__init__(path, words)
        self.path, self.words = path, words


def read_as(kind: Any, data: object, whole: str, remedy: str) -> Any:
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
        >>> read_as(Probe, {"samples": 64, "sha256": "ab"}, "The probe", "Write it again.")
        Probe(samples=64, sha256='ab', positions=None, held_out=0)
    """
    try:
        return _read(kind, data, "")
    except _MisfitError as error:
        raise ArtifactError(f"{error.path or whole} {error.words}.", remedy=remedy) from error


def _read(kind: Any, value: object, path: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _object(kind, value, path)
    if origin is types.UnionType:
        kind = next((each for each in arguments if type(value) is each), arguments[0])
        return None if value is None and kind is types.NoneType else _read(kind, value, path)
    if origin is typing.Literal:
        return _one_of(arguments, value, path)
    if origin is tuple:
        return _tuple(arguments, value, path)
    if origin is Mapping:
        return _mapping(arguments[1], value, path)
    return _scalar(kind, value, path)


def _object(kind: Any, value: object, path: str) -> Any:
    if not isinstance(value, dict):
        raise _fault(path, "an object", value)
    hints = _hints(kind)
    lacking = hints.keys() - value.keys() - _later(kind)
    for verb, keys in (("lacks", lacking), ("has unknown", value.keys() - hints.keys())):
        if keys:
            named = ", ".join(f"{key!r:.80}" for key in sorted(map(str, keys))[:5])
            raise _MisfitError(path, f"{verb} keys: {named}")
    present = {key: hint for key, hint in hints.items() if key in value}
    return kind(**{key: _read(hint, value[key], f"{path}.{key}".lstrip(".")) for key, hint in present.items()})


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


@functools.cache
def _later(kind: Any) -> frozenset[str]:
    """Keys that older records of this schema do not have."""
    return frozenset(field.name for field in dataclasses.fields(kind) if field.metadata.get("later"))


def _one_of(options: tuple[Any, ...], value: object, path: str) -> Any:
    if value not in options:
        raise _fault(path, "one of " + ", ".join(map(repr, options)), value)
    return value


def _tuple(kinds: tuple[Any, ...], value: object, path: str) -> Any:
    if not isinstance(value, list | tuple):
        raise _fault(path, "a list", value)
    if kinds[-1] is Ellipsis:
        return tuple(_read(kinds[0], entry, f"{path}[{index}]") for index, entry in enumerate(value))
    if len(kinds) != len(value):
        raise _fault(path, f"a list of {len(kinds)}", value)
    return tuple(_read(kind, entry, path) for kind, entry in zip(kinds, value, strict=True))


def _mapping(kind: Any, value: object, path: str) -> Any:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise _fault(path, "an object", value)
    return {key: _read(kind, entry, f"{path}.{_key(key)}") for key, entry in value.items()}


def _key(key: str) -> str:
    """A foreign key in a path: quoted where it is not printable, and shortened where it is long."""
    return key if len(key) <= _LONGEST_KEY and key.isprintable() else f"{key!r:.{_LONGEST_KEY}}"


def _scalar(kind: Any, value: object, path: str) -> Any:
    # bool is an int in Python and a fault in a record.
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**1000 else math.inf
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        raise _fault(path, _NAMES[kind], value)
    if isinstance(value, int) and abs(value) > LARGEST_WHOLE:
        raise _fault(path, "below 2**63", value)
    return value


def _fault(path: str, wanted: str, value: object) -> _MisfitError:
    return _MisfitError(path, f"should be {wanted}, not {value!r:.80}")
