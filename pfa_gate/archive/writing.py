"""What lies in a gate's folder beside the model: written again from the record, without measuring anything.

PYTEST_DONT_REWRITE
"""

import json
import warnings
from pathlib import Path
from typing import Any

from pfa_gate.errors import PfaWarning
from pfa_gate.files import replacing_file
from pfa_gate.report import files as reports


def restore(record: dict[str, Any]) -> None:
    """Write record.json and the reports that a record names: those that are not there, or all where they are others'.

    Args:
        record: as plain data.

    Warns:
        PfaWarning: one cannot be written; the verdict stands.

    Example:
        >>> restore({"files": {}})
    """
    files = {key: Path(name) for key, name in record["files"].items()}
    own = "record" not in files or _holds(files["record"], record)
    wanted = [key for key in ("record", *reports.KEYS.values()) if key in files]
    for key in wanted:
        if not own or not files[key].exists():
            _restore(files[key], key, record)


def _holds(path: Path, record: dict[str, Any]) -> bool:
    try:
        return bool(json.loads(path.read_bytes()) == record)
    except (OSError, ValueError, RecursionError):
        return False


def _restore(path: Path, key: str, record: dict[str, Any]) -> None:
    from pfa_gate.record import dumps, from_dict  # noqa: PLC0415  hardly any run has something to restore

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = from_dict(record)
        name = next((name for name, each in reports.KEYS.items() if each == key), "")
        replace_text(path, reports.text(whole, name) if name else dumps(whole))
    except OSError as error:
        kind = "report" if key != "record" else "record"
        fact = f"The {kind} {path.as_posix()} cannot be written: {error.strerror or error}."
        warnings.warn(PfaWarning(fact), stacklevel=3)


def replace_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, as public as any file of the project.

    Raises:
        OSError: it cannot be written.
    """
    with replacing_file(path) as fresh:
        fresh.write_text(text, encoding="utf-8", newline="\n")
        fresh.chmod(0o644)
