"""The JSON schema of pfa.yaml, generated from the types; editors and the error messages read it.

`pfa.schema.json` beside this file is what `text` gives; a test keeps the two the same.

PYTEST_DONT_REWRITE
"""

import functools
import json
from collections.abc import Sequence
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from pfa_gate.config.sections import Root


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
    here: dict[str, Any] = root
    for key in keys:
        here = _resolved(root, _child(here, key))
    return here


def _child(here: dict[str, Any], key: str | int) -> dict[str, Any]:
    if isinstance(key, int):
        child: Any = here.get("items", {})
    else:
        child = here.get("properties", {}).get(key, here.get("additionalProperties", {}))
    return child if isinstance(child, dict) else {}


def _resolved(root: dict[str, Any], here: dict[str, Any]) -> dict[str, Any]:
    reference = here.get("$ref", "").rpartition("/")[2]
    return {**root["$defs"][reference], **here} if reference else here


_generated = functools.cache(schema)
