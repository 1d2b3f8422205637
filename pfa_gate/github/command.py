"""`pfa-gate comment`: records from disk, read strictly and within limits, into one comment on the pull request."""

import dataclasses
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pfa_gate.config.paths import from_root
from pfa_gate.errors import CommentError, NotAllowedError, PFAGateError
from pfa_gate.github.comment_text import CommentSection, merge
from pfa_gate.github.post import Pace, Policy, Update, post
from pfa_gate.github.target import CommentTarget, target_of
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


@dataclass(frozen=True)
class CommentRequest:
    """What the command line asks for.

    Attributes:
        records: record files, or folders of them; if empty, all that runs have left below this folder.
        trusted: they come from a run that is not trusted, and this one is: the pull request is checked.
        repository: owner/name; empty for that of the workflow.
        pull: number of the pull request; None for that of the event.
        policy: when to comment.
        leg: name of the matrix leg.
        only: drop the sections of gates and legs that are not among the records.
        status: exit status of pytest; None if it is not known.
        dry_run: print the comment, and make no request.
    """

    records: tuple[Path, ...]
    trusted: bool = False
    repository: str = ""
    pull: int | None = None
    policy: Policy = "auto"
    leg: str = ""
    only: bool = False
    status: int | None = None
    dry_run: bool = False


def comment(request: CommentRequest, environment: Mapping[str, str]) -> str:
    """Do what is asked, and say what was done.

    Args:
        request: what the command line asks for.
        environment: GITHUB_* of the workflow, and the token in GITHUB_TOKEN or GH_TOKEN.

    Returns:
        What was done, in a sentence or two; with `dry_run` the comment itself.

    Raises:
        CommentError: there is no record, no token, or GitHub refuses for a reason that can be corrected.
        ArtifactError: a record is none.

    Example:
        >>> comment(CommentRequest((Path("gone.json"),), dry_run=True), {})
        Traceback (most recent call last):
            ...
        pfa_gate.errors.CommentError: 'gone.json' is not a regular file.
          at gone.json
          Name a record.json that a run has written.
    """
    if request.policy == "never":
        return "No comment: the policy is never."
    if request.dry_run:
        return merge("", _sections(request, read(request.records, request.leg, legs=request.trusted), (0, 0), ""))
    target = target_of(environment, request.repository, request.pull)
    failed = request.status not in (None, 0) or (request.trusted and target.failed)
    sources = read(request.records, request.leg, legs=request.trusted, failed=failed)
    if not sources and request.status is None:
        # The run was to leave records, and failed before it did.
        request = replace(request, status=1)
    token = environment.get("GITHUB_TOKEN") or environment.get("GH_TOKEN") or ""
    if not token:
        raise CommentError(
            "There is no token.", remedy="Set GITHUB_TOKEN to ${{ github.token }} in the `env` of the step."
        )
    try:
        return _posted(request, sources, target, (token, _job_and_folder(request, environment)))
    except NotAllowedError as error:
        reports = ", ".join(dict.fromkeys(_report_of(source) for source in sources)) or "none was left"
        return f"No comment was posted; the build is not affected. {error}\nThe report: {reports}"


def _job_and_folder(request: CommentRequest, environment: Mapping[str, str]) -> str:
    """The job and the folder of this run; empty for a run that is not trusted, of which only the records are known."""
    folder = from_root(Path.cwd())
    parts = (environment.get("GITHUB_JOB", ""), "" if folder == "." else folder)
    return "" if request.trusted else ": ".join(filter(None, parts))


def _posted(
    request: CommentRequest, sources: tuple[LegRecord, ...], target: CommentTarget, means: tuple[str, str]
) -> str:
    try:
        from pfa_gate.github.pull_requests import PullRequestComments, pulls  # noqa: PLC0415  PyGithub is an extra
    except ImportError as error:
        raise CommentError("PyGithub is not installed.", remedy="pip install 'pfa-gate[github]'") from error
    pace, (token, job_and_folder) = Pace(), means
    numbers, remark = pulls(target, token, pace, check=request.trusted)
    if not numbers:
        return remark
    update = Update(_sections(request, sources, target.run, job_and_folder), request.policy, request.only)
    comments = {number: PullRequestComments(target, token, number, pace) for number in numbers}
    done = {number: post(of_one, update, pace) for number, of_one in comments.items()}
    return "\n".join(f"Comment on {target.repository}#{number}: {word}." for number, word in done.items())


def _sections(
    request: CommentRequest, sources: tuple[LegRecord, ...], run: tuple[int, int], job_and_folder: str
) -> tuple[CommentSection, ...]:
    sections = [section_of(source, run, brief=request.policy != "always") for source in sources]
    if request.status is not None:
        # A gate that could not be measured leaves no record, and a comment must not say less than the build.
        explained = any(section.outcome != "kept" for section in sections)
        sections.append(section_of_run(job_and_folder, request.leg, run, silent=request.status != 0 and not explained))
    return tuple(sections)


def _report_of(source: LegRecord) -> str:
    report = source.path.with_name("report.md")
    return str(report if report.is_file() else source.path)
