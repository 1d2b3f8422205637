"""The pull request that a comment goes to: read from the workflow's environment and event, never from an artifact."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pfa_gate.errors import CommentError

API = "https://api.github.com"
_LARGEST_EVENT = 32 * 1024 * 1024
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class CommentTarget:
    """A repository, and what is known of the pull request in it.

    Attributes:
        repository: owner/name of the repository that holds the pull request.
        api: address of the REST API, without a slash at the end.
        numbers: pull requests that the event or the user names; may be empty.
        head: commit that was measured; empty if the event does not say.
        branch: owner:branch that this commit was the head of; empty if the event does not say.
        run: id and attempt of the workflow run that measured; (0, 0) outside of one.
        failed: the event tells of a run that did not succeed.
    """

    repository: str
    api: str
    numbers: tuple[int, ...]
    head: str
    branch: str
    run: tuple[int, int]
    failed: bool = False


def target_of(environment: Mapping[str, str], repository: str = "", pull: int | None = None) -> CommentTarget:
    """Where the comment of this run goes.

    Args:
        environment: GITHUB_REPOSITORY, GITHUB_API_URL, GITHUB_EVENT_PATH, GITHUB_REF, GITHUB_RUN_ID and
            GITHUB_RUN_ATTEMPT are read.
        repository: owner/name, if the user says so.
        pull: number of the pull request, if the user says so.

    Raises:
        CommentError: there is no repository, or the event cannot be read.

    Example:
        >>> target_of({"GITHUB_REPOSITORY": "acme/nets", "GITHUB_REF": "refs/pull/7/merge"}).numbers
        (7,)
    """
    named = repository or environment.get("GITHUB_REPOSITORY", "")
    if not _REPOSITORY.fullmatch(named):
        raise CommentError(
            f"The repository is {named!r:.80}, not owner/name.", remedy="Name it with --repo, or set GITHUB_REPOSITORY."
        )
    event = _event(environment.get("GITHUB_EVENT_PATH", ""))
    api = environment.get("GITHUB_API_URL", "").rstrip("/") or API
    if not api.startswith(("https://", "http://")):
        raise CommentError(f"GITHUB_API_URL is {api!r:.80}.", remedy=f"Set it to an address such as {API}.")
    started = _mapping(event, "workflow_run")
    head = _text(started, "head_sha") or _text(_mapping(event, "pull_request", "head"), "sha")
    owner, ref = _text(_mapping(started, "head_repository", "owner"), "login"), _text(started, "head_branch")
    return CommentTarget(
        repository=named,
        api=api,
        numbers=_numbers(event, environment.get("GITHUB_REF", "")) if pull is None else (pull,),
        head=head,
        branch=f"{owner}:{ref}" if owner and ref else "",
        run=_run(started, environment),
        failed=_text(started, "conclusion") not in ("", "success"),
    )


def _event(path: str) -> dict[str, Any]:
    if not path:
        return {}
    try:
        file = Path(path)
        if file.stat().st_size > _LARGEST_EVENT:
            raise CommentError(f"The event in '{path}' is too large to be one.", remedy="Check GITHUB_EVENT_PATH.")
        event = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CommentError(f"The event in '{path}' cannot be read.", remedy="Check GITHUB_EVENT_PATH.") from error
    return event if isinstance(event, dict) else {}


def _numbers(event: dict[str, Any], ref: str) -> tuple[int, ...]:
    listed = _mapping(event, "workflow_run").get("pull_requests")
    entries = listed if isinstance(listed, list) else []
    named = [
        _mapping(event, "pull_request").get("number"),
        *(_mapping({"": entry}, "").get("number") for entry in entries),
    ]
    valid = tuple(number for number in named if type(number) is int and number > 0)
    if valid:
        return valid
    match = re.fullmatch(r"refs/pull/(\d{1,10})/\w+", ref)
    return (int(match[1]),) if match else ()


def _run(started: dict[str, Any], environment: Mapping[str, str]) -> tuple[int, int]:
    # Of the run that measured, not of the one that posts, so that an older measurement never replaces a newer one.
    said = [started.get("id"), started.get("run_attempt", 1)] if started else []
    said = said or [environment.get(name, "") for name in ("GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT")]
    first, second = (int(part) if str(part).isdecimal() else 0 for part in said)
    return first, second


def _mapping(data: dict[str, Any], *keys: str) -> dict[str, Any]:
    for key in keys:
        inner = data.get(key)
        data = inner if isinstance(inner, dict) else {}
    return data


def _text(data: dict[str, Any], key: str) -> str:
    value = data.get(key)
    return value if isinstance(value, str) else ""
