"""The comments of one pull request over GitHub's REST API, through PyGithub: four requests, and what may go wrong."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests
from github import Auth, Github, GithubException
from github.GithubRetry import GithubRetry
from urllib3 import BaseHTTPResponse

from pfa_gate.errors import CommentError
from pfa_gate.github.place import Place
from pfa_gate.github.post import Comment, Pace, UncertainError
from pfa_gate.github.refusals import moved, refusal

_BOT = "github-actions[bot]"
# Tokens of GitHub Apps; they cannot ask who they are.
_APP_TOKEN = "ghs_"


class _Patience(GithubRetry):
    """Retries what can be repeated without harm, and waits as long as GitHub asks, within a limit."""

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        """A refusal for haste may always be repeated; a POST that failed in the server may have been stored."""
        if method == "POST":
            return status_code in (403, 429)
        return super().is_retry(method, status_code, has_retry_after)

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        """Seconds to wait: Retry-After, or until the limit is renewed."""
        said = response.headers.get("Retry-After")
        if said is not None:
            return self.parse_retry_after(said)
        reset = response.headers.get("X-RateLimit-Reset", "")
        if response.headers.get("X-RateLimit-Remaining") != "0" or not reset.isdecimal():
            return None
        # The second in which the limit is renewed has begun, but not where in it.
        return max(float(reset) - time.time(), 0) + 1

    def increment(self, method: str | None = None, url: str | None = None, **rest: object) -> "_Patience":  # type: ignore[override]
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


class Thread:
    """The comments of one pull request, as one account sees and writes them."""

    def __init__(self, place: Place, token: str, number: int, pace: Pace) -> None:
        self.place, self.number = place, number
        self._hub = hub(place, token, pace)
        self._path = f"/repos/{place.repository}/issues"
        # Tokens of apps cannot ask who they are; in a workflow the app is GitHub's own.
        self._author = _BOT if token.startswith(_APP_TOKEN) else ""

    def listed(self) -> list[Comment]:
        """All comments that our own account wrote, oldest first, over all pages."""
        self._author = self._author or self._who()
        issue = self._hub.get_repo(self.place.repository).get_issue(self.number)
        with told(self.place, self.number):
            found = {comment.id: comment for comment in issue.get_comments()}
        return [
            Comment(number, comment.body or "")
            for number, comment in sorted(found.items())
            if comment.user is not None and comment.user.login.lower() == self._author.lower()
        ]

    def get(self, number: int) -> Comment | None:
        """One comment; None if it is there no more."""
        with told(self.place, self.number):
            data = _unless_gone(lambda: self._ask("GET", f"comments/{number}"))
        return Comment(number, str(data["body"])) if data else None

    def create(self, body: str) -> Comment:
        """Write a new comment.

        Raises:
            UncertainError: the answer was lost; look before you write again.
        """
        with told(self.place, self.number), _uncertain():
            data = self._ask("POST", f"{self.number}/comments", {"body": body})
        if "id" not in data:
            raise moved(self.place.repository)
        # Whoever wrote this is who we are, whatever could be asked before.
        self._author = str(data["user"]["login"])
        return Comment(int(data["id"]), body)

    def edit(self, number: int, body: str) -> None:
        """Replace a comment's text, unless it is there no more."""
        with told(self.place, self.number):
            _unless_gone(lambda: self._ask("PATCH", f"comments/{number}", {"body": body}))

    def delete(self, number: int) -> None:
        """Delete a comment, unless it is there no more."""
        with told(self.place, self.number):
            _unless_gone(lambda: self._ask("DELETE", f"comments/{number}"))

    def _who(self) -> str:
        try:
            with told(self.place, self.number):
                return self._hub.get_user().login
        except CommentError as error:
            # Who may not ask is no person.
            if isinstance(error.__cause__, GithubException) and error.__cause__.status in (403, 404):
                return _BOT
            raise

    def _ask(self, verb: str, path: str, body: dict[str, str] | None = None) -> Any:
        _, data = self._hub.requester.requestJsonAndCheck(verb, f"{self._path}/{path}", input=body)
        return data


def hub(place: Place, token: str, pace: Pace) -> Github:
    """A client for the API of this place, on github.com or GitHub Enterprise."""
    patience = _Patience(
        total=4,
        backoff_factor=pace.backoff,
        allowed_methods=["GET", "PATCH", "DELETE"],
        status_forcelist=[429, 500, 502, 503, 504],
        raise_on_status=False,
        max_rate_limit_wait=pace.longest,
    )
    return Github(
        auth=Auth.Token(token),
        base_url=place.api,
        timeout=pace.timeout,
        per_page=100,
        retry=patience,
        seconds_between_requests=0,
        seconds_between_writes=pace.between_writes,
        lazy=True,
    )


@contextmanager
def told(place: Place, number: int) -> Iterator[None]:
    """Turn what the library raises into a sentence about this pull request."""
    try:
        yield
    except (GithubException, requests.RequestException) as error:
        raise refusal(error, place.repository, number) from error
    except RuntimeError as error:
        # PyGithub's word for an answer that leads to another server.
        raise CommentError(f"{error}", remedy=f"Check GITHUB_API_URL, which is {place.api}.") from error


@contextmanager
def _uncertain() -> Iterator[None]:
    try:
        yield
    except GithubException as error:
        if error.status < 500:
            raise
        raise UncertainError from error
    except (requests.ConnectionError, requests.Timeout) as error:
        raise UncertainError from error


def _unless_gone(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except GithubException as error:
        if error.status not in (404, 410):
            raise
        return None
