"""The tables of docs/configuration.md, made from the JSON schema of pfa.yaml."""

import json
import re
from typing import Any

from pfa_gate.config.schema import schema

SCHEMA = schema()
HEAD = "| key | takes | default | meaning |\n|---|---|---|---|\n"


_STEPS = {"CompensateStep", "DistillStep", "FinetuneStep"}


def sections() -> dict[str, dict[str, Any]]:
    """The mappings that a config may hold, by the name of their type; those of one key alone are no section."""
    named = {"Root": SCHEMA} | SCHEMA["$defs"]
    return {
        name: found for name, found in named.items() if name not in {"CompensateStep", "DistillStep", "FinetuneStep"}
    }


def table(section: dict[str, Any]) -> str:
    """A table of all keys of a section, in Markdown."""
    rows = [
        f"| `{key}` | {takes(value)} | {default(key, value, section)} | {meaning(value)} |"
        for key, value in section["properties"].items()
    ]
    return HEAD + "\n".join(rows) + "\n"


def takes(value: dict[str, Any]) -> str:
    """What may stand behind a key: all choices, a range, or an example."""
    if "$ref" in value:
        return "a mapping"
    if "anyOf" in value and "examples" not in value:
        return " or ".join(map(takes, value["anyOf"]))
    choices = [value["const"]] if "const" in value else value.get("enum", [])
    if 0 < len(choices) <= 8:
        return ", ".join(map(code, choices))
    if "examples" in value:
        return (
            f"a list such as `[{value['examples'][0]}]`" if listed(value) else f"such as {code(value['examples'][0])}"
        )
    if choices:
        return f"such as {code(choices[0])}"
    return PLAIN[value["type"]](value)


def listed(value: dict[str, Any]) -> bool:
    """Whether a value is a list."""
    return value.get("type") == "array"


def _number(value: dict[str, Any]) -> str:
    low = f"from {value['minimum']}" if "minimum" in value else f"above {value['exclusiveMinimum']},"
    high = f" up to {value['maximum']:,}" if "maximum" in value else ""
    return f"{'whole number' if value['type'] == 'integer' else 'number'} {low}{high}"


def _array(value: dict[str, Any]) -> str:
    item = value["items"]
    return "a list of mappings" if "$ref" in item or "oneOf" in item else "a list of texts"


PLAIN = {
    "integer": _number,
    "number": _number,
    "boolean": lambda _: "`true`, `false`",
    "string": lambda _: "a text",
    "array": _array,
    "object": lambda _: "a mapping",
}


def default(key: str, value: dict[str, Any], section: dict[str, Any]) -> str:
    """The default as YAML; an optional section is as good as an empty one."""
    if key in section.get("required", ()):
        return "required"
    if "$ref" in value:
        return "none" if {"required", "oneOf"} & SCHEMA["$defs"][value["$ref"].rpartition("/")[2]].keys() else "`{}`"
    return code(value["default"]) if "default" in value else "none"


def meaning(value: dict[str, Any]) -> str:
    """The description, of the section it refers to where the key has none."""
    said = value.get("description") or SCHEMA["$defs"][value["$ref"].rpartition("/")[2]]["description"]
    plain = re.sub(r"\s+", " ", said).rstrip(".").replace("|", "\\|")
    return plain[0].lower() + plain[1:]


def code(value: object) -> str:
    """A value as it is written in YAML."""
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"
