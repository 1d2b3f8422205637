"""Finding records in files and folders; what is no record is named and left out."""

import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pfa_gate.errors import ArtifactError
from pfa_gate.record import loads
from pfa_gate.report.files import BADGE
from pfa_gate.report.history import RecordFile

# A record of 5,000 layers has about a tenth of that.
_MOST_BYTES = 64 * 2**20
# Of all that are read at once, which takes up to two minutes: some thousand runs.
MOST_TOGETHER = 128 * 2**20
_RECORD = "record.json"


@dataclass(frozen=True)
class FoundRecords:
    """What was found: records, and a sentence on each file that is none."""

    runs: tuple[RecordFile, ...]
    refused: tuple[str, ...] = ()


def one(path: Path) -> RecordFile:
    """The record in a file, or in the gate's folder.

    Raises:
        ArtifactError: there is none, or it cannot be read.

    Example:
        >>> one(Path("no/such/record.json"))
        Traceback (most recent call last):
            ...
        pfa_gate.errors.ArtifactError: no/such/record.json cannot be read: No such file or directory.
          Name a record.json, or a folder that holds some.
    """
    file = path / _RECORD if path.is_dir() else path
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
    return RecordFile(file.as_posix(), record.written or changed.strftime("%Y-%m-%dT%H:%M:%SZ"), record)


def below(places: Sequence[Path], name: str = _RECORD) -> FoundRecords:
    """Every record in these files and below these folders.

    Args:
        places: files and folders.
        name: of the files to read in folders, as a pattern.

    Raises:
        ArtifactError: they are larger than can be read at once.

    Example:
        >>> below([Path("no/such/record.json")]).refused
        ('no/such/record.json cannot be read: No such file or directory.',)
    """
    runs, refused, paths = [], [], list(_files(places, name))
    total = sum(path.stat().st_size for path in paths if path.is_file())
    if total > MOST_TOGETHER and len(paths) > 1:
        fact = f"There are {len(paths):,} files of {total:,} bytes; at most {MOST_TOGETHER:,} are read at once."
        raise ArtifactError(fact, remedy="Name fewer of them, or move the oldest to another folder.")
    for path in paths:
        try:
            runs.append(one(path))
        except ArtifactError as error:
            refused.append(error.fact)
    return FoundRecords(tuple(runs), tuple(refused))


def _files(places: Sequence[Path], name: str) -> Iterator[Path]:
    for place in places:
        if place.is_dir():
            yield from (path for path in sorted(place.rglob(name)) if path.name != BADGE and path.is_file())
        else:
            yield place
