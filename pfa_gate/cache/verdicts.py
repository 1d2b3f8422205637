"""Verdicts that outlive a run: found again by the digest of all they depend on, and never trusted if damaged."""

import hashlib
import json
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pfa_gate.cache.lock import exclusive_lock, holder_of
from pfa_gate.errors import PfaWarning
from pfa_gate.files import remove_abandoned, replacing_file, sha256_of

if TYPE_CHECKING:
    from pfa_gate.cache.fingerprint import GateFingerprint
    from pfa_gate.record.manifest import Progress

_FORMAT = 3
_MOST_FILES = 64
_MOST_BYTES = 64 * 2**20
_DAY = 24 * 60 * 60
_NAME = re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}\.json")


@dataclass(frozen=True)
class GateVerdict:
    """A record of a gate, and where it comes from.

    Attributes:
        record: as plain data.
        since: when it was measured, if an earlier run did; empty if this one.
        not_reusable: why it holds for this run only; empty if later runs may use it.
        remark: why it was measured although nothing changed, or why the next run measures again; empty if neither.
        subject: of what model, probe and evaluation it speaks, and of which text of the config; asked where a baseline
            is to be written, and empty where that changed while it was measured.
    """

    record: dict[str, Any]
    since: str = ""
    not_reusable: str = ""
    remark: str = ""
    subject: Mapping[str, Any] = field(default_factory=dict)


class CodeTracker(Protocol):
    """Observes which code a gate loads; see `cache.code.Code`."""

    def begin(self) -> None:
        """Note what is loaded before the gate's code is."""

    def end(self) -> tuple[dict[str, Any], str]:
        """Give plain data on what was loaded; or none, and why it is not known."""

    def holds(self, evidence: Mapping[str, Any]) -> bool:
        """Whether the same would be loaded now."""


def measured_or_cached(
    folder: Path | None,
    look: "Callable[[], GateFingerprint]",
    code: CodeTracker,
    measure: Callable[[], dict[str, Any]],
    progress: "Progress | None" = None,
) -> GateVerdict:
    """Give a gate's record: that of an earlier run if nothing it depends on has changed, else a new one.

    Args:
        folder: that of the cache; None for none.
        look: digests what the record is known to depend on.
        code: tells whether the code that it came from is the same.
        measure: makes the record.
        progress: called while another run makes it.

    Raises:
        ArtifactError: the run that makes it gives no sign of life.
    """
    if folder is None:
        return GateVerdict(measure())
    before = look()
    if before.not_reusable or not before.digest:
        return GateVerdict(measure(), not_reusable=before.not_reusable)
    with one_at_a_time(folder, before.digest, progress):
        stored, gone = find_verdict(folder, before.digest, code)
        if stored is not None:
            return stored
        code.begin()
        record = measure()
        evidence, why = code.end()
        # What changed while it was measured is of neither digest.
        why = why or ("" if look() == before else "a file that it depends on was written while it was measured")
        if not why:
            store_verdict(folder, before.digest, record, evidence)
        return GateVerdict(record, remark=f"not kept for later runs: {why}" if why else gone)


@contextmanager
def one_at_a_time(folder: Path, digest: str, progress: "Progress | None" = None) -> Iterator[None]:
    """Let one process at a time, of any run, work on the verdict of a digest.

    Raises:
        ArtifactError: the process that does gives no sign of life.
    """
    with ExitStack() as stack:
        # Where there can be no lock, each process works for itself.
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            lock = folder / f"{digest[:32]}.lock"
            stack.enter_context(exclusive_lock(lock, progress, " --pfa-no-cache waits for no other run."))
        yield


def find_verdict(folder: Path, digest: str, code: CodeTracker) -> tuple[GateVerdict | None, str]:
    """Give the newest verdict that is stored under a digest and came from the same code.

    Returns:
        It, or None where none can be trusted; and of one that could be, but for files of its model, which are gone.
    """
    gone = ""
    for path in sorted(folder.glob(f"{digest[:32]}-*.json"), key=_time, reverse=True):
        entry = _entry(path, digest)
        if entry is None or not code.holds(entry["code"]):
            continue
        missing = next((name for name, found in entry["files"].items() if not _same(Path(name), found)), "")
        if not missing:
            os.utime(path)
            return GateVerdict(entry["record"], since=entry["stored"]), ""
        state = "has changed" if os.path.exists(missing) else "is gone"
        gone = f"measured again: nothing that it depends on has changed, but {missing} {state}"
    return None, gone


def _entry(path: Path, digest: str) -> dict[str, Any] | None:
    """What a file of the cache holds, or None where it is not whole."""
    try:
        entry = json.loads(path.read_bytes())
        seal = entry.pop("seal")
        whole = entry["format"] == _FORMAT and entry["digest"] == digest and seal == _checksum(entry)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return entry if whole else None


def store_verdict(folder: Path, digest: str, record: dict[str, Any], code: dict[str, Any]) -> None:
    """Store a record whole or not at all, and drop the oldest ones beyond 64 files or 64 MiB.

    Args:
        folder: that of the cache.
        digest: of what the record is known to depend on.
        record: as plain data.
        code: what was loaded.

    Warns:
        PfaWarning: it cannot be written; the next run will measure again.
    """
    stored = time.strftime("%Y-%m-%d %H:%M")
    try:
        entry = {"format": _FORMAT, "digest": digest, "stored": stored, "files": model_files(record), "code": code}
        text = json.dumps({**entry, "record": record, "seal": _checksum({**entry, "record": record})})
        part = hashlib.sha256(json.dumps(code, sort_keys=True).encode()).hexdigest()[:16]
        with replacing_file(folder / f"{digest[:32]}-{part}.json") as fresh:
            fresh.write_text(text, encoding="utf-8")
        remove_abandoned(folder)
        _evict(folder)
    except OSError as error:
        fact = f"The verdict cannot be cached in {folder.as_posix()}: {error.strerror or error}."
        warnings.warn(PfaWarning(fact), stacklevel=2)


def model_files(record: dict[str, Any]) -> dict[str, list[int | str]]:
    """Size, time and SHA-256 of each file that holds a model; others can be written again from the record alone.

    Raises:
        OSError: one cannot be read.

    Example:
        >>> model_files({"files": {"record": "no/such/record.json"}})
        {}
    """
    from pfa_gate.report.ownership import REPORTS  # noqa: PLC0415  pydantic and yaml come with it

    written = {"record", *REPORTS.values()}
    names = [name for key, name in record["files"].items() if key not in written]
    return {name: [*_state(Path(name)), sha256_of(Path(name))] for name in names}


def _same(path: Path, known: Sequence[int | str]) -> bool:
    """Whether a file is what it was; its content is read only where size and time do not say so."""
    try:
        size, changed, sha256 = known
        state = _state(path)
        return state[0] == size and (state[1] == changed or sha256_of(path) == sha256)
    except OSError:
        return False


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _checksum(entry: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _evict(folder: Path) -> None:
    """Drop what was used longest ago, and locks that no verdict is stored under and nobody has taken for a day."""
    own = (path for path in folder.glob("*.json") if _NAME.fullmatch(path.name))
    entries = sorted(((path.stat(), path) for path in own), key=_used)
    total = sum(state.st_size for state, _ in entries)
    while entries and (len(entries) > _MOST_FILES or total > _MOST_BYTES):
        state, path = entries.pop(0)
        total -= state.st_size
        path.unlink(missing_ok=True)
    used = {path.stem[:32] for _, path in entries}
    for lock in folder.glob("*.lock"):
        if lock.stem not in used and time.time() - _time(lock) > _DAY:
            lock.unlink(missing_ok=True)
            holder_of(lock).unlink(missing_ok=True)


def _used(entry: tuple[os.stat_result, Path]) -> tuple[int, str]:
    return entry[0].st_mtime_ns, entry[1].name
