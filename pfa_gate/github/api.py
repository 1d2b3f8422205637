"""GitHub's REST API, through PyGithub: it asks, waits and tries again; every answer is checked to be one."""

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

from pfa_gate.errors import CommentError
from pfa_gate.github.post import Pace, UncertainError
from pfa_gate.github.refusals import not_github, refusal
from pfa_gate.github.target import CommentTarget

_MOVED = (301, 302, 307, 308)
_TRIES = 3
# More than any conversation has; a list that leads in a circle ends here.
_MOST_PAGES = 1_000
# PyGithub prints each retry and each refusal; the sentence at the end says what has to be known.
logging.getLogger("github").setLevel(logging.ERROR)


class _StrangeError(Exception):
    """An answer that is none: cut off, of a proxy, or not of the shape that was asked for."""


class _RetryPolicy(GithubRetry):
    """Retries what can be repeated without harm, and waits as long as GitHub asks, within a limit."""

    def is_retry(self, method: str, status_code: int, has_retry_after: bool = False) -> bool:
        """A refusal for haste may always be repeated; a POST that failed in the server may have been stored."""
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
        # The second in which the limit is renewed has begun, but not where in it.
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
        found: list[Any] = []
        url = f"{path}?{urlencode({**query, 'per_page': '100'})}"
        for _ in range(_MOST_PAGES):
            headers, items = self._repeated("GET", url, lambda data: isinstance(data, list) and all(map(sound, data)))
            found += items
            links = parse_header_links(headers.get("link", ""))
            url = next((link["url"] for link in links if link.get("rel") == "next"), "")
            if not url:
                return found
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
            except (_StrangeError, requests.exceptions.ChunkedEncodingError):
                pass
            if verb == "POST":
                raise UncertainError
        raise not_github(self.target.repository)

    def _answered(self, verb: str, url: str, body: dict[str, str] | None) -> tuple[dict[str, Any], Any]:
        status, headers, text = self._requester.requestJson(verb, self._here(url), input=body)
        if status in _MOVED and "location" in headers:
            # A repository that has another name by now answers from its number.
            status, headers, text = self._requester.requestJson(verb, self._here(headers["location"]), input=body)
        if status >= 400:
            raise self._requester.createException(status, headers, _refused(text))
        try:
            return headers, json.loads(text) if text else None
        except (ValueError, RecursionError):
            raise _StrangeError from None

    def _here(self, url: str) -> str:
        """The same address; the token is sent to no other server."""
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
        # PyGithub's word for an answer that leads to another server.
        raise CommentError(f"{error}", remedy=f"Check GITHUB_API_URL, which is {target.api}.") from error


def _refused(text: str) -> dict[str, Any]:
    """What a refusal says; a page of a proxy says nothing."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {**data, "message": str(data.get("message") or "")} if isinstance(data, dict) else {}
