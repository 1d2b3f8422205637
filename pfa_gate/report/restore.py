"""What lies in a gate's folder beside the model: written again from the record, without measuring anything."""

import json
import warnings
from pathlib import Path
from typing import Any

from pfa_gate.errors import PfaWarning
from pfa_gate.files import replacing_file
from pfa_gate.report import files as reports
from pfa_gate.report.ownership import FILES, RECORD, require_folder


def restore(record: dict[str, Any], folder: Path) -> None:
    """Write record.json and the reports that a record names: those that are not there, or all where they are others'.

    Where the record differs in the run alone, which no report tells, it is record.json that is written.

    Args:
        record: as plain data.
        folder: that of the gate; what the record says of places is not asked.

    Raises:
        ArtifactError: the folder is not the gate's own.

    Warns:
        PfaWarning: one cannot be written; the verdict stands.

    Example:
        >>> restore({"files": {}}, Path("no/such/folder"))
    """
    require_folder(folder)
    known = {FILES[name]: folder / name for name in (RECORD, *reports.KEYS)}
    files = {key: path for key, path in known.items() if key in record["files"]}
    found = _found(files["record"]) if "record" in files else record
    own = found is not None and {**found, "run": ""} == {**record, "run": ""}
    for key, path in files.items():
        if not own or not path.exists() or (key == "record" and found != record):
            _restore(path, key, record)


def _found(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _restore(path: Path, key: str, record: dict[str, Any]) -> None:
    from pfa_gate.record import dumps, from_dict  # noqa: PLC0415  hardly any run has something to restore

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = from_dict(record)
        replace_text(path, dumps(whole) if key == "record" else reports.text(whole, path.name))
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
