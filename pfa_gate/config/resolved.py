"""A config written out whole: every value that holds, and where it comes from.

PYTEST_DONT_REWRITE
"""

import json
from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from pfa_gate.config.document import Document
from pfa_gate.config.quantity import Limit
from pfa_gate.config.reader import Keys

_INDENT = "  "


def resolved(document: Document) -> str:
    """Write a config with all its defaults, as YAML that means the same, each value with its origin.

    Args:
        document: a config that holds.

    Returns:
        Lines `key: value  # pfa.yaml:12` or `# default`; a key that is not set is a comment.
    """
    rows = [("version: 1", _origin(document, ("version",))), ("gates:", "")]
    for name, gate in document.gates.items():
        rows.append((f"{_INDENT}{json.dumps(name)}:", ""))
        rows += _section(document, gate, ("gates", name))
    width = max(len(left) for left, _ in rows if len(left) <= 60)
    return "\n".join(f"{left:<{width}}  # {origin}" if origin else left for left, origin in rows)


def _section(document: Document, section: BaseModel, keys: Keys) -> Iterator[tuple[str, str]]:
    for name in type(section).model_fields:
        if keys[:1] == ("gates",) and len(keys) == 2 and name == "name":
            continue
        yield from _entry(document, f"{name}:", getattr(section, name), (*keys, name))


def _entry(document: Document, label: str, value: object, keys: Keys) -> Iterator[tuple[str, str]]:
    indent = _INDENT * (len(keys) - 1)
    if isinstance(value, BaseModel):
        rows = list(_section(document, value, keys))
        # A section of comments alone would be a key without a value.
        unset = all(left.lstrip().startswith("#") for left, _ in rows)
        yield f"{indent}{label}{' {}' if unset else ''}", ""
        yield from rows
    elif isinstance(value, tuple) and any(isinstance(each, BaseModel) for each in value):
        yield f"{indent}{label}", ""
        for index, each in enumerate(value):
            at = (*keys, index)
            yield f"{indent}{_INDENT}- {_flow(each)}", _origin(document, at)
    elif value is None:
        yield f"{indent}# {label} not set", ""
    else:
        yield f"{indent}{label} {_flow(value)}", _origin(document, keys)


def _flow(value: object) -> str:
    """A value on one line, in the part of YAML that is JSON."""
    if isinstance(value, BaseModel):
        given = {name: getattr(value, name) for name in type(value).model_fields}
        return _flow({name: each for name, each in given.items() if each is not None})
    if isinstance(value, Limit) and (value.relative or value.side):
        increase = value.increase and value.increase.text
        parts = {value.side or "max": value.text, "max_increase": increase, "ratchet": value.ratchet}
        return _flow({name: part for name, part in parts.items() if part})
    if isinstance(value, Limit):
        return value.text if value.unit == "absolute" and _is_number(value.text) else json.dumps(value.text)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return json.dumps(value, ensure_ascii=False, default=str)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _origin(document: Document, keys: Keys) -> str:
    if keys not in document.reading.marks:
        return "default"
    return f"{document.path.name}:{document.line(*keys)}"
