"""Verdicts that outlive a run: found again by the digest of all they depend on, never trusted if torn.

PYTEST_DONT_REWRITE
"""

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

from pfa_gate.cache.lock import held, holder_of
from pfa_gate.errors import PfaWarning
from pfa_gate.files import replacing_file, sha256_of, sweep
from pfa_gate.record.progress import Progress
from pfa_gate.report.ownership import REPORTS

if TYPE_CHECKING:
    from pfa_gate.cache.fingerprint import GateFingerprint

_FORMAT = 2
_MOST_FILES = 64
_MOST_BYTES = 64 * 2**20
_DAY = 24 * 60 * 60
_NAME = re.compile(r"[0-9a-f]{32}-[0-9a-f]{16}\.json")


@dataclass(frozen=True)
class GateVerdict:
    """A record, and where it comes from.

    Attributes:
        record: as plain data.
        since: when it was measured, if an earlier run did; empty if this one.
        not_reusable: why it holds for this run only; empty if later runs may use it.
        remark: what everybody is to know of why it was measured, or will be: files are gone, or changed meanwhile.
        subject: of what model, probe and evaluation it speaks, and of which text of the config; asked where a baseline
            is to be written, and empty where that changed while it was measured.
    """

    record: dict[str, Any]
    since: str = ""
    not_reusable: str = ""
    remark: str = ""
    subject: Mapping[str, Any] = field(default_factory=dict)


class CodeTracker(Protocol):
    """What is to be known of the code of a gate; see `cache.code.Code`."""

    def begin(self) -> None:
        """Look at what is loaded before the gate's code is."""

    def end(self) -> tuple[dict[str, Any], str]:
        """Give plain data on what was loaded; or none, and why it cannot be known."""

    def holds(self, evidence: Mapping[str, Any]) -> bool:
        """Whether the same would be loaded now."""


def measured_or_cached(
    folder: Path | None,
    look: "Callable[[], GateFingerprint]",
    code: CodeTracker,
    measure: Callable[[], dict[str, Any]],
    tell: Progress | None = None,
) -> GateVerdict:
    """Give a gate's record: that of an earlier run if nothing it depends on has changed, else a new one.

    Args:
        folder: that of the cache; None for none.
        look: digests what the record is known to depend on.
        code: tells whether the code that it came from is the same.
        measure: makes the record.
        tell: told while another run makes it.

    Raises:
        ArtifactError: the run that makes it gives no sign of life.
    """
    if folder is None:
        return GateVerdict(measure())
    before = look()
    if before.not_reusable or not before.digest:
        return GateVerdict(measure(), not_reusable=before.not_reusable)
    with one_at_a_time(folder, before.digest, tell):
        found, gone = find_verdict(folder, before.digest, code)
        if found is not None:
            return found
        code.begin()
        record = measure()
        evidence, why = code.end()
        # What changed while it was measured belongs to neither digest.
        why = why or ("" if look() == before else "a file that it depends on was written while it was measured")
        if not why:
            keep(folder, before.digest, record, evidence)
        return GateVerdict(record, remark=f"not kept for later runs: {why}" if why else gone)


@contextmanager
def one_at_a_time(folder: Path, digest: str, tell: Progress | None = None) -> Iterator[None]:
    """Let one process at a time, of any run, work on the verdict of a digest.

    Raises:
        ArtifactError: the process that does gives no sign of life.
    """
    with ExitStack() as stack:
        # Without a place to meet, each works for itself.
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            lock = folder / f"{digest[:32]}.lock"
            stack.enter_context(held(lock, tell, " --pfa-no-cache waits for no other run."))
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
        whole = entry["format"] == _FORMAT and entry["digest"] == digest and seal == _seal(entry)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return entry if whole else None


def keep(folder: Path, digest: str, record: dict[str, Any], code: dict[str, Any]) -> None:
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
        text = json.dumps({**entry, "record": record, "seal": _seal({**entry, "record": record})})
        part = hashlib.sha256(json.dumps(code, sort_keys=True).encode()).hexdigest()[:16]
        with replacing_file(folder / f"{digest[:32]}-{part}.json") as fresh:
            fresh.write_text(text, encoding="utf-8")
        sweep(folder)
        _bound(folder)
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
    written = {"record", *REPORTS.values()}
    names = [name for key, name in record["files"].items() if key not in written]
    return {name: [*_state(Path(name)), sha256_of(Path(name))] for name in names}


def _same(path: Path, known: Sequence[int | str]) -> bool:
    """Whether a file is what it was; its content is read only where size and time do not say so."""
    try:
        size, changed, sha256 = known
        found = _state(path)
        return found[0] == size and (found[1] == changed or sha256_of(path) == sha256)
    except OSError:
        return False


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _seal(entry: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _bound(folder: Path) -> None:
    """Drop what was used longest ago, and locks that no verdict is stored under and nobody has taken for a day."""
    own = (path for path in folder.glob("*.json") if _NAME.fullmatch(path.name))
    found = sorted(((path.stat(), path) for path in own), key=_used)
    total = sum(state.st_size for state, _ in found)
    while found and (len(found) > _MOST_FILES or total > _MOST_BYTES):
        state, path = found.pop(0)
        total -= state.st_size
        path.unlink(missing_ok=True)
    held = {path.stem[:32] for _, path in found}
    for lock in folder.glob("*.lock"):
        if lock.stem not in held and time.time() - _time(lock) > _DAY:
            lock.unlink(missing_ok=True)
            holder_of(lock).unlink(missing_ok=True)


def _used(entry: tuple[os.stat_result, Path]) -> tuple[int, str]:
    return entry[0].st_mtime_ns, entry[1].name
