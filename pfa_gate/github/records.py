"""Records from disk into sections: read strictly, within limits, and rendered from data alone.

What lies in the artifact of a pull request from a fork was written by a stranger. So nothing but `record.json` is
opened, no link is followed, and every name passes through the same escapes as in any report.
"""

import dataclasses
import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pfa_gate.errors import CommentError, PFAGateError
from pfa_gate.github.comment_text import CommentSection
from pfa_gate.record import Record, loads
from pfa_gate.report.markdown import section, verdict_line
from pfa_gate.report.markdown.markup import code

LARGEST = 16 * 1024 * 1024
MOST = 200
# Of all records of a comment: to read this much takes up to a minute, and a run leaves some tens of kilobytes.
LARGEST_SUM = 64 * 1024 * 1024
_FILE = "record.json"
# As the action names its artifacts, before the leg.
_ARTIFACT = "pfa-gate-reports"
# The end of a name, where one job uses the action twice.
_USE = re.compile(r"\.use-\d+\Z")
_LONGEST_NAME = 200


@dataclasses.dataclass(frozen=True)
class LegRecord:
    """A record, its file, and the matrix leg it comes from."""

    path: Path
    leg: str
    record: Record


def read(paths: Sequence[Path], leg: str, *, legs: bool = False, failed: bool = False) -> tuple[LegRecord, ...]:
    """Read every record that is named, or lies in a folder that is named.

    Args:
        paths: record files, and folders to look through; if empty, all that runs have left below this folder.
        leg: name of the matrix leg.
        legs: where that is empty, take the folders between the one that is named and the gate's own:
            `reports/py3.12/digits/record.json` in `reports` is of the leg `py3.12`.
        failed: the run has failed, so that it need not have left a record.

    Raises:
        CommentError: there is no record, there are too many, or they or one of them are too large or no plain file.
        ArtifactError: one is not a record.
    """
    existing = [path for path in paths if path.exists() or not failed]
    files = [(path, leg or (own if legs else "")) for each in existing for path, own in _files(each)]
    if not paths:
        files = [(path, leg) for path in sorted(Path().rglob(f".pfa/*/{_FILE}"))]
    if not files and not failed:
        named = ", ".join(f"'{path}'" for path in paths) or "any .pfa folder"
        raise CommentError(f"There is no {_FILE} in {named}.", remedy="Run `pytest --pfa` first, or name the file.")
    if len(files) > MOST:
        raise CommentError(f"There are {len(files)} records; one comment takes {MOST}.", remedy="Name fewer folders.")
    _require_room([path for path, _ in files])
    return tuple(_source(path, name, own=legs and not leg) for path, name in files)


def _require_room(paths: Sequence[Path]) -> None:
    """Refuse more bytes than can be read at once; what is not a regular file has a refusal of its own."""
    total = sum(path.stat().st_size for path in paths if path.is_file() and not path.is_symlink())
    if total > LARGEST_SUM and len(paths) > 1:
        raise CommentError(
            f"There are {len(paths)} records of {total:,} bytes; one comment takes {LARGEST_SUM:,}.",
            remedy="Name fewer folders.",
        )


def _source(path: Path, leg: str, *, own: bool) -> LegRecord:
    record = _load(path)
    # Gates of one name lie below their configs' folders, which are no part of a leg.
    folder = record.config.rpartition("/")[0]
    if own and folder and f"/{leg}".endswith(f"/{folder}"):
        leg = leg.removesuffix(folder).removesuffix("/")
    return LegRecord(path, leg, record)


def section_of(source: LegRecord, run: tuple[int, int], *, brief: bool) -> CommentSection:
    """The section of a record.

    Args:
        source: the record.
        run: id and attempt of the workflow run that speaks.
        brief: one line is enough for a gate whose budgets are all kept.
    """
    record, verdict = source.record, verdict_line(source.record)
    leg = f" · {code(source.leg)}" if source.leg else ""
    head, _, rest = section(record).partition("\n")
    return CommentSection(
        config=_short(record.config),
        gate=_short(record.gate),
        leg=_short(source.leg),
        outcome=verdict.outcome,
        line=f"{verdict.text}{leg}",
        text="" if brief and verdict.outcome == "kept" else f"{head}{leg}\n{rest}",
        run=run,
    )


def section_of_run(origin: str, leg: str, run: tuple[int, int], *, silent: bool) -> CommentSection:
    """The section of a run as a whole: whether it left a verdict.

    Args:
        origin: job and folder that it ran in, so that what two services say of themselves is kept apart.
        leg: name of the matrix leg.
        run: id and attempt of the workflow run.
        silent: it failed, and no record says why.

    Example:
        >>> section_of_run("", "", (1, 1), silent=True).outcome
        'not judged'
    """
    sentence = "❔ The run failed, and no record says why; its log does." if silent else "✅ The run left its verdict."
    at = "".join(f" · {code(name)}" for name in (origin, leg) if name)
    return CommentSection(
        _short(origin), "", _short(leg), "not judged" if silent else "kept", f"{sentence}{at}", run=run
    )


def _files(named: Path) -> Iterator[tuple[Path, str]]:
    if not named.is_dir():
        yield named, ""
        return
    for path in sorted(named.rglob(_FILE)):
        between = [part for part in path.relative_to(named).parts[:-2] if part != ".pfa"]
        if between and between[0].startswith(_ARTIFACT):
            between[0] = _USE.sub("", between[0]).removeprefix(_ARTIFACT).removeprefix("-")
        yield path, "/".join(filter(None, between))


def _load(path: Path) -> Record:
    try:
        if path.is_symlink() or not path.is_file():
            raise CommentError(f"'{path}' is not a regular file.", remedy="Name a record.json that a run has written.")
        with path.open("rb") as file:
            # A file that grows meanwhile is read no further.
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise CommentError(
                f"'{path}' has {path.stat().st_size:,} bytes; a record has at most {LARGEST:,}.",
                remedy="Name a record.json that a run has written.",
            )
        return loads(content.decode("utf-8"))
    except PFAGateError as error:
        raise error.at(str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise CommentError(f"'{path}' cannot be read: {reason}.", remedy="Run `pytest --pfa` again.") from error


def _short(name: str) -> str:
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:_LONGEST_NAME]}~{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:12]}"
