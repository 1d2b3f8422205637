"""Reports that lie beside a record: written again where somebody has removed them, without measuring anything.

PYTEST_DONT_REWRITE
"""

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

from pfa_gate.errors import PfaWarning
from pfa_gate.report import files as reports


def restore(record: dict[str, Any]) -> None:
    """Write those reports that a record names and that are not there.

    Args:
        record: as plain data.

    Warns:
        PfaWarning: one cannot be written; the verdict stands.

    Example:
        >>> restore({"files": {}})
    """
    named = {name: Path(record["files"][key]) for name, key in reports.KEYS.items() if key in record["files"]}
    missing = {name: path for name, path in named.items() if not path.exists()}
    if not missing:
        return
    from pfa_gate.record import from_dict  # noqa: PLC0415  hardly any run has a report to restore

    for name, path in missing.items():
        try:
            replace_text(path, reports.text(from_dict(record), name))
        except OSError as error:
            fact = f"The report {path.as_posix()} cannot be written: {error.strerror or error}."
            warnings.warn(PfaWarning(fact), stacklevel=2)


def replace_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, as public as any file of the project.

    Raises:
        OSError: it cannot be written.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    unfinished = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        unfinished.chmod(0o644)
        os.replace(unfinished, path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
