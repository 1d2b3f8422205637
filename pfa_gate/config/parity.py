"""What the budget `parity` of the compressed model needs: model.onnx among the artifacts."""

from collections.abc import Iterator
from typing import Any

from pfa_gate.config.field_types import OTHERS
from pfa_gate.config.reader import Keys

_SECTIONS = ("budgets", "compressed", "parity")
_ASKED: Any = {"required": ["parity"]}
for _key in reversed(_SECTIONS[:-1]):
    _ASKED = {"required": [_key], "properties": {_key: _ASKED}}
PARITY_NEEDS_ONNX: Any = {
    "if": {**_ASKED, "not": {"required": ["candidate"]}},
    "then": {"properties": {"artifacts": {"contains": {"enum": ["onnx", *OTHERS]}}}},
}
"""For the JSON schema of a gate."""


def parity_faults(gate: object, at: Keys) -> Iterator[tuple[Keys, str, str]]:
    """Find a budget on the answers of a file that is not written.

    Args:
        gate: as plain data, of any shape.
        at: its own path in the config.

    Returns:
        For each fault its path, what is wrong there, and the remedy.

    Example:
        >>> gate = {"budgets": {"compressed": {"parity": 0}}, "artifacts": ["weights"]}
        >>> [fault[1] for fault in parity_faults(gate, ())]
        ['budgets.compressed.parity is of model.onnx, which artifacts does not name']
    """
    limit: object = gate
    for key in _SECTIONS:
        limit = limit.get(key) if isinstance(limit, dict) else None
    if limit is None or not isinstance(gate, dict) or "candidate" in gate:
        return
    named = gate.get("artifacts")
    if isinstance(named, list) and not {"onnx", *OTHERS} & {each for each in named if isinstance(each, str)}:
        fact = "budgets.compressed.parity is of model.onnx, which artifacts does not name"
        yield (*at, *_SECTIONS), fact, "Add onnx to artifacts, or remove this budget."
