"""The types of pfa.yaml as a JSON schema, and plain data validated against them: each complaint has its line.

Editors read the schema, and so do the error messages. `pfa.schema.json` beside this file is what `text` gives; a test
keeps the two the same.
"""

import functools
import json
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from pfa_gate.config.checks import Objection, check
from pfa_gate.config.complaints import Complaint, RefusalError, describe, nearest, shortened
from pfa_gate.config.named_sources import FORMS
from pfa_gate.config.project import Project
from pfa_gate.config.reader import Keys, ParsedYaml
from pfa_gate.config.recovery import KINDS
from pfa_gate.config.sections import GateConfig, GateSections, Root


class _Generator(GenerateJsonSchema):
    """A key without a value is refused, so the schema knows no null."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        given = super().default_schema(schema)
        default = given.get("default")
        if default is None or (isinstance(default, dict) and None in default.values()):
            given.pop("default", None)
        return given


def schema() -> dict[str, Any]:
    """Generate the JSON schema (draft 2020-12) of pfa.yaml.

    Example:
        >>> schema()["required"]
        ['version', 'gates']
    """
    generated = Root.model_json_schema(schema_generator=_Generator)
    return {"$schema": _Generator.schema_dialect, **generated, "title": "pfa.yaml"}


def text() -> str:
    """Give the schema as the text that ships.

    Example:
        >>> text().splitlines()[1]
        '  "$schema": "https://json-schema.org/draft/2020-12/schema",'
    """
    return json.dumps(schema(), indent=2) + "\n"


def known_keys(keys: Sequence[str | int]) -> tuple[str, ...]:
    """List the keys that the mapping at a path may hold; none for a free mapping.

    Example:
        >>> known_keys(("gates", "digits", "layers"))
        ('include', 'exclude')
    """
    return tuple(_at(keys).get("properties", {}))


def example_of(keys: Sequence[str | int]) -> object:
    """Give an example of the value at a path, or None.

    Example:
        >>> example_of(("gates", "digits", "budgets", "layers", 0, "match"))
        '"*"'
    """
    examples = _at(keys).get("examples", [None])
    # As it is written in YAML: a bare star would begin an alias.
    return f'"{examples[0]}"' if examples[0] == "*" else examples[0]


def needed_keys(keys: Sequence[str | int]) -> tuple[str, ...]:
    """List the keys that the mapping at a path must hold.

    Example:
        >>> needed_keys(("gates", "digits"))
        ('model', 'probe', 'budgets')
    """
    return tuple(_at(keys).get("required", ()))


def _at(keys: Sequence[str | int]) -> dict[str, Any]:
    """Find the schema at a path; empty where it says nothing."""
    root = _generated()
    subschema: dict[str, Any] = root
    for key in keys:
        subschema = _resolved(root, _child(subschema, key))
    return subschema


def _child(parent: dict[str, Any], key: str | int) -> dict[str, Any]:
    if isinstance(key, int):
        child: Any = parent.get("items", {})
    else:
        child = parent.get("properties", {}).get(key, parent.get("additionalProperties", {}))
    return child if isinstance(child, dict) else {}


def _resolved(root: dict[str, Any], subschema: dict[str, Any]) -> dict[str, Any]:
    reference = subschema.get("$ref", "").rpartition("/")[2]
    return {**root["$defs"][reference], **subschema} if reference else subschema


_generated = functools.cache(schema)


_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "model_type": "a mapping",
    "dict_type": "a mapping",
    "tuple_type": "a list",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "more than"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
}


def validate(
    reading: ParsedYaml, project: Project | None = None
) -> tuple[dict[str, GateConfig], tuple[Complaint, ...]]:
    """Turn what a text says into gates by name.

    Args:
        reading: what the text says; with complaints of its own or without.
        project: that of the config, which its paths must not leave; None for a text without a place.

    Returns:
        The gates, none if there is any complaint; and all complaints, those of the reading first.
    """
    root, problems = _root(reading)
    problems += [_of_objection(objection, reading) for objection in check(reading.data, project)]
    # The reader gave None for a value that it refused: report one mistake at a position, not two.
    refused = {(complaint.line, complaint.column) for complaint in reading.complaints}
    new = tuple(problem for problem in problems if (problem.line, problem.column) not in refused)
    complaints = (*reading.complaints, *new)
    if root is None or complaints:
        return {}, complaints
    return {name: _named(name, gate) for name, gate in root.gates.items()}, ()


def _named(name: str, gate: GateSections) -> GateConfig:
    # All of it has been validated, and what was left out must stay left out.
    return GateConfig.model_construct({"name", *gate.model_fields_set}, name=name, **dict(gate))


def _root(reading: ParsedYaml) -> tuple[Root | None, list[Complaint]]:
    try:
        return Root.model_validate(reading.data), []
    except ValidationError as error:
        refused = {(complaint.line, complaint.column) for complaint in reading.complaints}
        problems = [(_keys(details), details) for details in error.errors(include_url=False)]
        return None, [
            _complaint(keys, details, reading) for keys, details in problems if _is_new(keys, reading, refused)
        ]


def _keys(details: Any) -> Keys:
    """Path of what is wrong, without the names that pydantic gives to the kinds of a step and the forms of data."""
    return tuple(key for key in details["loc"] if key not in KINDS and key not in FORMS)


def _is_new(keys: Keys, reading: ParsedYaml, refused: set[tuple[int, int]]) -> bool:
    """Whether an error is new: not about a value that the reader has refused."""
    return not (keys in reading.marks and reading.mark(keys).value in refused)


def _of_objection(objection: Objection, reading: ParsedYaml) -> Complaint:
    mark = reading.mark(objection.keys)
    # A mistake in a name or a section is shown at its key; one in a scalar at its value.
    position = mark.key if len(objection.keys) == 2 and mark.key else mark.best
    return Complaint(*position, objection.message, objection.remedy)


def _complaint(keys: Keys, details: Any, reading: ParsedYaml) -> Complaint:
    mark = reading.mark(keys)
    if details["type"] == "missing":
        return Complaint(*reading.mark(keys[:-1]).best, *_missing(keys))
    if details["type"] == "extra_forbidden":
        return Complaint(*(mark.key or mark.value), *_unknown(keys))
    refusal = details.get("ctx", {}).get("error")
    inner = (*keys, refusal.key) if isinstance(refusal, RefusalError) and refusal.key is not None else keys
    return Complaint(*reading.mark(inner).best, *_wrong(keys, details))


def _missing(keys: Keys) -> tuple[str, str]:
    example, needed = example_of(keys), needed_keys(keys)
    if example is not None:
        remedy = f"Add it, such as {keys[-1]}: {example}."
    else:
        remedy = f"Add it, with {', '.join(needed)}." if needed else "Add it."
    return f"{_subject(keys)} is missing", remedy


def _unknown(keys: Keys) -> tuple[str, str]:
    inside = f" in {_subject(keys[:-1])}" if keys[:-1] else ""
    return f"unknown key {shortened(str(keys[-1]))!r}{inside}", nearest(str(keys[-1]), known_keys(keys[:-1]))


def _wrong(keys: Keys, details: Any) -> tuple[str, str]:
    """Message and remedy for a value that is there and wrong."""
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    subject = _subject(keys) or "the config"
    if isinstance(context.get("error"), RefusalError):
        return f"{subject} {context['error'].predicate}", context["error"].remedy
    if kind in _EXPECTED:
        return f"{subject} must be {_EXPECTED[kind]}, not {describe(value)}", _known_remedy(keys, kind)
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"{subject} must be {words} {context[name]:g}, not {describe(value)}", ""
    if kind == "literal_error":
        return _not_among(keys, value, context)
    if kind in {"too_short", "string_too_short"}:
        return f"{subject} must not be empty", _known_remedy(keys, kind)
    return f"{subject}: {details['msg']}", ""


def _known_remedy(keys: Keys, kind: str) -> str:
    known = known_keys(keys) if kind == "model_type" else ()
    return f"It holds: {', '.join(known)}." if known else ""


def _not_among(keys: Keys, value: object, context: Any) -> tuple[str, str]:
    choices = [word.strip("'") for word in context["expected"].replace(" or ", ", ").split(", ")]
    expected = choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
    message = f"{_subject(keys)} must be {expected}, not {describe(value)}"
    return message, nearest(value, choices) if isinstance(value, str) and len(choices) > 1 else ""


def _subject(keys: Keys) -> str:
    """Path in words: a gate's own keys go without `gates` and the gate's name."""
    shown: Iterable[str | int] = keys[2:] if keys[:1] == ("gates",) and len(keys) > 2 else keys
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in shown)
    return text.removeprefix(".")
