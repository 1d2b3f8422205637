"""Records and reports as files: found, read, and written again. Nothing here measures."""

import json
import stat
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pfa_gate.budget import Outcome
from pfa_gate.errors import ArtifactError, PfaWarning
from pfa_gate.files import replace_text
from pfa_gate.record import Record, dumps, from_dict, loads
from pfa_gate.report.formatting import headline
from pfa_gate.report.ownership import BADGE_FILE, FILES, RECORD, REPORTS, require_folder

# A record of 5,000 layers has about a tenth of that.
_MOST_BYTES = 64 * 2**20
# Of all that are read at once, which takes up to two minutes: some thousand runs.
MOST_TOGETHER = 128 * 2**20


def report_text(record: Record, name: str) -> str:
    """The text of one of the files.

    Args:
        record: what the run found.
        name: report.html, report.md or badge.json.

    Raises:
        KeyError: there is no such file.

    Example:
        >>> from pfa_gate.record import Probe, Record, Size
        >>> report_text(Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab")), "badge.json")[:20]
        '{"schemaVersion": 1,'
    """
    if REPORTS[name] == "html":
        from pfa_gate.report.html import render  # noqa: PLC0415  jinja2 is needed only where a page is made

        return render(record)
    if REPORTS[name] == "markdown":
        from pfa_gate.report.markdown import comment  # noqa: PLC0415

        return comment([record])
    from pfa_gate.report.ci import badge  # noqa: PLC0415

    return badge(record)


def restore(record: dict[str, Any], folder: Path) -> None:
    """Write record.json and the reports that a record names: the missing ones, or all where another run wrote them.

    Where the record differs in its run alone, which no report shows, record.json alone is written.

    Args:
        record: as plain data.
        folder: that of the gate; the paths in the record are not used.

    Raises:
        ArtifactError: the folder is not the gate's own.

    Warns:
        PfaWarning: one cannot be written; the verdict stands.

    Example:
        >>> restore({"files": {}}, Path("no/such/folder"))
    """
    require_folder(folder)
    known = {FILES[name]: folder / name for name in (RECORD, *REPORTS)}
    files = {key: path for key, path in known.items() if key in record["files"]}
    present = _on_disk(files["record"]) if "record" in files else record
    own = present is not None and {**present, "run": ""} == {**record, "run": ""}
    for key, path in files.items():
        if not own or not path.exists() or (key == "record" and present != record):
            _restore(path, key, record)


def _on_disk(path: Path) -> dict[str, Any] | None:
    try:
        present = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return present if isinstance(present, dict) else None


def _restore(path: Path, key: str, record: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = from_dict(record)
        replace_text(path, dumps(whole) if key == "record" else report_text(whole, path.name))
    except OSError as error:
        kind = "report" if key != "record" else "record"
        fact = f"The {kind} {path.as_posix()} cannot be written: {error.strerror or error}."
        warnings.warn(PfaWarning(fact), stacklevel=3)


@dataclass(frozen=True)
class DatedRecord:
    """A record, and where it was found.

    Attributes:
        path: of its file.
        written: when it was written, in UTC, as 2026-11-20T08:30:00Z.
        record: what the run found.
    """

    path: str
    written: str
    record: Record

    @property
    def outcome(self) -> Outcome:
        """The verdict on it."""
        return headline(self.record)[0]


@dataclass(frozen=True)
class FoundRecords:
    """What was found: records, and a sentence on each file that is not a record."""

    runs: tuple[DatedRecord, ...]
    refused: tuple[str, ...] = ()


def find_record(path: Path) -> DatedRecord:
    """The record in a file, or in the gate's folder.

    Raises:
        ArtifactError: there is none, or it cannot be read.

    Example:
        >>> find_record(Path("no/such/record.json"))
        Traceback (most recent call last):
            ...
        pfa_gate.errors.ArtifactError: no/such/record.json cannot be read: No such file or directory.
          Name a record.json, or a folder that holds some.
    """
    file = path / RECORD if path.is_dir() else path
    remedy = "Name a record.json, or a folder that holds some."
    try:
        state = file.stat()
        if not stat.S_ISREG(state.st_mode):
            # A device or a pipe may never end.
            raise ArtifactError(f"{file.as_posix()} cannot be read: it is not a regular file.", remedy=remedy)
        with file.open("rb") as opened:
            content = opened.read(_MOST_BYTES + 1)
        text = content.decode("utf-8") if len(content) <= _MOST_BYTES else ""
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ArtifactError(f"{file.as_posix()} cannot be read: {why}.", remedy=remedy) from error
    if not text and content:
        raise ArtifactError(f"{file.as_posix()} is too large for a record.", remedy=remedy)
    try:
        record = loads(text)
    except ArtifactError as error:
        raise ArtifactError(f"{file.as_posix()}: {error.fact}", remedy=error.remedy) from error
    changed = datetime.fromtimestamp(state.st_mtime, UTC)
    return DatedRecord(file.as_posix(), record.written or changed.strftime("%Y-%m-%dT%H:%M:%SZ"), record)


def find_records(paths: Sequence[Path], name: str = RECORD) -> FoundRecords:
    """Every record in these files and below these folders.

    Args:
        paths: files and folders.
        name: of the files to read in folders, as a pattern.

    Raises:
        ArtifactError: they are larger than can be read at once.

    Example:
        >>> find_records([Path("no/such/record.json")]).refused
        ('no/such/record.json cannot be read: No such file or directory.',)
    """
    runs, refused, files = [], [], list(_files(paths, name))
    total = sum(file.stat().st_size for file in files if file.is_file())
    if total > MOST_TOGETHER and len(files) > 1:
        fact = f"There are {len(files):,} files of {total:,} bytes; at most {MOST_TOGETHER:,} are read at once."
        raise ArtifactError(fact, remedy="Name fewer of them, or move the oldest to another folder.")
    for file in files:
        try:
            runs.append(find_record(file))
        except ArtifactError as error:
            refused.append(error.fact)
    return FoundRecords(tuple(runs), tuple(refused))


def _files(paths: Sequence[Path], name: str) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from (file for file in sorted(path.rglob(name)) if file.name != BADGE_FILE and file.is_file())
        else:
            yield path
