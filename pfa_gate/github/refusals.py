"""What GitHub refuses, in a sentence each: the fact and the remedy."""

import requests
from github import GithubException

from pfa_gate.errors import CommentError, NotAllowedError

_AGAIN = "Run the job again; https://www.githubstatus.com tells of outages."
SCOPES = (
    "Give the job `permissions: {pull-requests: write}` (`issues: write` does as well). A pull request from a fork "
    "gets a token that may only read, whatever the workflow says: upload record.json there, and post from a "
    "workflow_run job with `pfa-gate comment --from`, as docs/ci-github.md shows under 'Pull requests from forks'."
)


def refusal(error: GithubException | requests.RequestException, repository: str, number: int) -> CommentError:
    """The error to raise for what the library raised.

    Args:
        error: of the library.
        repository: owner/name.
        number: of the pull request.

    Example:
        >>> print(refusal(GithubException(410, {"message": "Gone"}, {}), "acme/nets", 7))
        The comments of acme/nets#7 are gone.
          GitHub says: Gone. The pull request was deleted, or the repository has turned off issues.
    """
    where = f"{repository}#{number}"
    if isinstance(error, requests.RequestException):
        kind = "did not answer in time" if isinstance(error, requests.Timeout) else "could not be reached"
        return CommentError(f"GitHub {kind}, so {where} has no new comment.", remedy=_AGAIN)
    said = _said(error)
    if "locked" in said.lower():
        return NotAllowedError(f"The conversation of {where} is locked.", remedy="Unlock it, or set --policy never.")
    if error.status in (403, 429) and "rate limit" in said.lower():
        return CommentError(
            f"GitHub's limit of requests is used up for {where}.", remedy=f"GitHub says: {said}. {_AGAIN}"
        )
    if error.status == 403:
        return NotAllowedError(f"The token may not write comments on {where}.", remedy=f"GitHub says: {said}. {SCOPES}")
    if error.status >= 500:
        return CommentError(f"GitHub failed with {error.status}, so {where} has no new comment.", remedy=_AGAIN)
    fact, remedy = _FACTS.get(error.status, (f"GitHub refused with {error.status} to comment on {{}}.", ""))
    return CommentError(fact.format(where), remedy=f"GitHub says: {said}. {remedy}".strip())


def not_github(repository: str) -> CommentError:
    """The error to raise where what answers is not GitHub, or makes no sense.

    Example:
        >>> print(not_github("acme/nets").fact)
        What answers for acme/nets makes no sense: no JSON, or not what was asked for.
    """
    return CommentError(
        f"What answers for {repository} makes no sense: no JSON, or not what was asked for.",
        remedy=f"Check GITHUB_API_URL, and whether a proxy answers in GitHub's place. {_AGAIN}",
    )


_FACTS = {
    401: (
        "GitHub does not accept the token for {}.",
        "Set GITHUB_TOKEN to ${{ github.token }} in the `env` of the step.",
    ),
    404: (
        "There is no pull request {}, or the token may not see it.",
        "Check --repo and --pull, and the job's `permissions`.",
    ),
    410: (
        "The comments of {} are gone.",
        "The pull request was deleted, or the repository has turned off issues.",
    ),
    422: (
        "GitHub does not accept the comment on {}.",
        "The text is too long, or the conversation takes no comments; `report.md` of the run has it all.",
    ),
    429: ("GitHub asks for patience with {}.", _AGAIN),
}


def _said(error: GithubException) -> str:
    data = error.data if isinstance(error.data, dict) else {}
    parts = [str(data.get("message") or "nothing")]
    errors = data.get("errors")
    parts += [
        str(each.get("message") or each.get("code", "")) if isinstance(each, dict) else str(each)
        for each in (errors if isinstance(errors, list) else [])
    ]
    return " ".join("; ".join(filter(None, parts)).split()).removesuffix(".")[:300]
