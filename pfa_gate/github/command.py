"""`pfa-gate comment`: records in, one comment on the pull request out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pfa_gate.config.paths import from_root
from pfa_gate.errors import CommentError, NotAllowedError
from pfa_gate.github.comment_text import CommentSection, merge
from pfa_gate.github.post import Pace, Policy, Update, post
from pfa_gate.github.records import LegRecord, read, section_of, section_of_run
from pfa_gate.github.target import CommentTarget, target_of


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
