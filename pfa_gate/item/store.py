"""Verdicts that outlive a run: found again by the digest of all they depend on, never trusted if torn.

PYTEST_DONT_REWRITE
"""

import hashlib
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfa_gate.errors import PfaWarning
from pfa_gate.report import files as reports

if TYPE_CHECKING:
    from pfa_gate.item.inputs import Inputs

_FORMAT = 1
_MOST_FILES = 64
_MOST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Verdict:
    """A record, and where it comes from.

    Attributes:
        record: as plain data.
        since: when it was measured, if an earlier run did; empty if this one.
        open: why it holds for this run only; empty if later runs may use it.
    """

    record: dict[str, Any]
    since: str = ""
    open: str = ""


def across_runs(folder: Path | None, look: "Callable[[], Inputs]", measure: Callable[[], dict[str, Any]]) -> Verdict:
    """Give a gate's record: that of an earlier run if nothing it depends on has changed, else a new one.

    Args:
        folder: that of the cache; None for none.
        look: digests what the record depends on.
        measure: makes the record.

    Example:
        >>> across_runs(None, lambda: None, lambda: {"schema": "x"}).record
        {'schema': 'x'}
    """
    if folder is None:
        return Verdict(measure())
    before = look()
    if before.open or not before.digest:
        return Verdict(measure(), open=before.open)
    with alone(folder, before.digest):
        found = fetch(folder, before.digest)
        if found is not None:
            return Verdict(*found)
        record = measure()
        # What changed while it was measured belongs to neither digest.
        if look() == before:
            keep(folder, before.digest, record)
        return Verdict(record)


@contextmanager
def alone(folder: Path, digest: str) -> Iterator[None]:
    """Let one process at a time, of any run, work on the verdict of a digest."""
    from filelock import FileLock  # noqa: PLC0415  a run that only lists has nothing to lock

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{digest[:32]}.lock")
        lock.acquire()
    except OSError:
        yield  # without a place to meet, each works for itself
        return
    try:
        yield
    finally:
        lock.release()


def fetch(folder: Path, digest: str) -> tuple[dict[str, Any], str] | None:
    """Give the record stored under a digest, and when it was stored; None where none can be trusted.

    A record whose files have since been removed or changed is not given: they would be missing from the run.
    """
    path = folder / f"{digest[:32]}.json"
    try:
        entry = json.loads(path.read_bytes())
        record: dict[str, Any] = entry["record"]
        whole = entry["format"] == _FORMAT and entry["digest"] == digest and entry["seal"] == _seal(record)
        if not whole or entry["files"] != states(record):
            return None
        os.utime(path)
        return record, str(entry["stored"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def keep(folder: Path, digest: str, record: dict[str, Any]) -> None:
    """Store a record whole or not at all, and drop the oldest ones beyond 64 files or 64 MiB.

    Warns:
        PfaWarning: it cannot be written; the next run will measure again.
    """
    stored = time.strftime("%Y-%m-%d %H:%M")
    entry = {"format": _FORMAT, "digest": digest, "seal": _seal(record), "stored": stored}
    text = json.dumps({**entry, "files": states(record), "record": record})
    try:
        handle, name = tempfile.mkstemp(prefix=".", dir=folder)
        _written(handle, Path(name), text, folder / f"{digest[:32]}.json")
        _bound(folder)
    except OSError as error:
        fact = f"The verdict cannot be cached in {folder.as_posix()}: {error.strerror or error}."
        warnings.warn(PfaWarning(fact), stacklevel=2)


def _written(handle: int, unfinished: Path, text: str, path: Path) -> None:
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(unfinished, path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def states(record: dict[str, Any]) -> dict[str, list[int] | None]:
    """Size and time of each file that a record names; None for one that is not there.

    Reports are left out: they can be written again from the record alone.

    Example:
        >>> states({"files": {"record": "no/such/record.json"}})
        {'record': None}
    """
    rendered = reports.KEYS.values()
    return {name: _state(Path(path)) for name, path in record["files"].items() if name not in rendered}


def _state(path: Path) -> list[int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def _seal(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _bound(folder: Path) -> None:
    """Drop what was used longest ago."""
    found = sorted(((path.stat(), path) for path in folder.glob("*.json")), key=_used)
    total = sum(state.st_size for state, _ in found)
    while found and (len(found) > _MOST_FILES or total > _MOST_BYTES):
        state, path = found.pop(0)
        total -= state.st_size
        path.unlink(missing_ok=True)
        path.with_suffix(".lock").unlink(missing_ok=True)


def _used(entry: tuple[os.stat_result, Path]) -> tuple[int, str]:
    return entry[0].st_mtime_ns, entry[1].name
