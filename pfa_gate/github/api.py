"""Requests to GitHub's REST API through PyGithub, their retries, and an error in a sentence for each refusal."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests
from github import Auth, Github, GithubException
from github.GithubRetry import GithubRetry
from requests.utils import parse_header_links
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import InvalidHeader

from pfa_gate.errors import CommentError, NotAllowedError
from pfa_gate.github.post import Pace, UncertainError
from pfa_gate.github.target import CommentTarget

_MOVED = (301, 302, 307, 308)
_TRIES = 3
# More than any conversation has, so that a list whose links form a circle ends.
_MOST_PAGES = 1_000
_RETRY = "Run the job again; https://www.githubstatus.com tells of outages."
SCOPES = (
    "Give the job `permissions: {pull-requests: write}` (`issues: write` does as well). A pull request from a fork "
    "gets a token that may only read, whatever the workflow says: upload record.json there, and post from a "
    "workflow_run job with `pfa-gate comment --from`, as docs/ci-github.md shows under 'Pull requests from forks'."
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
    429: ("GitHub asks for patience with {}.", _RETRY),
}
# PyGithub prints each retry and each refusal; the error at the end says what the user needs.
logging.getLogger("github").setLevel(logging.ERROR)


class _UnusableError(Exception):
    """An answer that cannot be used: cut off, from a proxy, or of another shape than was asked for."""


class _RetryPolicy(GithubRetry):
    """Retries what can be repeated without harm, and waits as long as GitHub asks, within a limit."""

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        """Repeat a POST after a refusal for the rate limit alone; one that failed in the server may be stored."""
        if method == "POST":
            return status_code in (403, 429)
        return super().is_retry(method, status_code, has_retry_after)

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        """Seconds to wait: Retry-After, or until the limit is renewed."""
        asked = response.headers.get("Retry-After")
        if asked is not None:
            try:
                return self.parse_retry_after(asked)
            except InvalidHeader:
                return None
        reset = response.headers.get("X-RateLimit-Reset", "")
        if response.headers.get("X-RateLimit-Remaining") != "0" or not reset.isdecimal():
            return None
        # The time is in whole seconds, so the limit may be renewed up to a second later.
        return max(float(reset) - time.time(), 0) + 1

    def increment(self, method: str | None = None, url: str | None = None, **rest: object) -> "_RetryPolicy":  # type: ignore[override]
        """Count one retry; give up at once where the wait would be too long."""
        response = rest.get("response")
        longest = self.max_rate_limit_wait or 0
        wait = self.get_retry_after(response) if isinstance(response, BaseHTTPResponse) else None
        if wait is not None and wait > longest:
            raise CommentError(
                f"GitHub asks to wait {wait:,.0f} s; a comment waits {longest:,.0f} s at most.",
                remedy="Run the job again later; all its jobs share one limit of requests.",
            )
        return super().increment(method, url, **rest)  # type: ignore[arg-type,return-value]


class GitHubApi:
    """Requests to the API for one repository, on github.com or GitHub Enterprise."""

    def __init__(self, target: CommentTarget, token: str, pace: Pace) -> None:
        self.target, self._pace = target, pace
        retry = _RetryPolicy(
            total=4,
            backoff_factor=pace.backoff,
            allowed_methods=["GET", "PATCH", "DELETE"],
            status_forcelist=[429, 500, 502, 503, 504],
            raise_on_status=False,
            max_rate_limit_wait=pace.longest,
        )
        client = Github(
            auth=Auth.Token(token),
            base_url=target.api,
            timeout=pace.timeout,
            retry=retry,
            seconds_between_requests=0,
            seconds_between_writes=pace.between_writes,
        )
        self._requester = client.requester

    def ask(self, verb: str, path: str, sound: Callable[[Any], bool], body: dict[str, str] | None = None) -> Any:
        """The data of an answer.

        Args:
            verb: GET, POST, PATCH or DELETE.
            path: below the API's address.
            sound: whether data is what was asked for.
            body: of the request.

        Raises:
            GithubException: GitHub refuses.
            UncertainError: the answer to a POST was lost, so that it may have been done or not.
            CommentError: no answer makes sense.
        """
        return self._repeated(verb, path, sound, body)[1]

    def every(self, path: str, sound: Callable[[Any], bool], **query: str) -> list[Any]:
        """The items of a list over all its pages, however many GitHub puts on one.

        Args:
            path: below the API's address.
            sound: whether an item is what was asked for.
            query: of the first page.
        """
        collected: list[Any] = []
        url = f"{path}?{urlencode({**query, 'per_page': '100'})}"
        for _ in range(_MOST_PAGES):
            headers, items = self._repeated("GET", url, lambda data: isinstance(data, list) and all(map(sound, data)))
            collected += items
            links = parse_header_links(headers.get("link", ""))
            url = next((link["url"] for link in links if link.get("rel") == "next"), "")
            if not url:
                return collected
        raise not_github(self.target.repository)

    def _repeated(
        self, verb: str, url: str, sound: Callable[[Any], bool], body: dict[str, str] | None = None
    ) -> tuple[dict[str, Any], Any]:
        for count in range(_TRIES):
            time.sleep(self._pace.backoff * count)
            try:
                headers, data = self._answered(verb, url, body)
                if sound(data):
                    return headers, data
            except (_UnusableError, requests.exceptions.ChunkedEncodingError):
                pass
            if verb == "POST":
                raise UncertainError
        raise not_github(self.target.repository)

    def _answered(self, verb: str, url: str, body: dict[str, str] | None) -> tuple[dict[str, Any], Any]:
        status, headers, text = self._requester.requestJson(verb, self._here(url), input=body)
        if status in _MOVED and "location" in headers:
            # A repository that was renamed redirects to the address with its number.
            status, headers, text = self._requester.requestJson(verb, self._here(headers["location"]), input=body)
        if status >= 400:
            raise self._requester.createException(status, headers, _refused(text))
        try:
            return headers, json.loads(text) if text else None
        except (ValueError, RecursionError):
            raise _UnusableError from None

    def _here(self, url: str) -> str:
        """The same address, if it is on the server of the API: the token is sent to no other."""
        if url.startswith("/") or urlsplit(url)[:2] == urlsplit(self.target.api)[:2]:
            return url
        raise CommentError(
            f"GitHub leads to another server: {url:.200}.", remedy=f"Check GITHUB_API_URL, which is {self.target.api}."
        )


@contextmanager
def explaining_refusals(target: CommentTarget, number: int) -> Iterator[None]:
    """Turn what the library raises into a sentence about this pull request."""
    try:
        yield
    except (GithubException, requests.RequestException) as error:
        raise refusal(error, target.repository, number) from error
    except RuntimeError as error:
        # PyGithub raises it where an answer redirects to another server.
        raise CommentError(f"{error}", remedy=f"Check GITHUB_API_URL, which is {target.api}.") from error


def _refused(text: str) -> dict[str, Any]:
    """The data of a refusal; none where the text is the page of a proxy."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {**data, "message": str(data.get("message") or "")} if isinstance(data, dict) else {}


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
        return CommentError(f"GitHub {kind}, so {where} has no new comment.", remedy=_RETRY)
    said = _said(error)
    if "locked" in said.lower():
        return NotAllowedError(f"The conversation of {where} is locked.", remedy="Unlock it, or set --policy never.")
    if error.status in (403, 429) and "rate limit" in said.lower():
        return CommentError(
            f"GitHub's limit of requests is used up for {where}.", remedy=f"GitHub says: {said}. {_RETRY}"
        )
    if error.status == 403:
        return NotAllowedError(f"The token may not write comments on {where}.", remedy=f"GitHub says: {said}. {SCOPES}")
    if error.status >= 500:
        return CommentError(f"GitHub failed with {error.status}, so {where} has no new comment.", remedy=_RETRY)
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
        remedy=f"Check GITHUB_API_URL, and whether a proxy answers in GitHub's place. {_RETRY}",
    )


def _said(error: GithubException) -> str:
    data = error.data if isinstance(error.data, dict) else {}
    parts = [str(data.get("message") or "nothing")]
    errors = data.get("errors")
    parts += [
        str(each.get("message") or each.get("code", "")) if isinstance(each, dict) else str(each)
        for each in (errors if isinstance(errors, list) else [])
    ]
    return " ".join("; ".join(filter(None, parts)).split()).removesuffix(".")[:300]
