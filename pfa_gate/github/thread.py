"""The comments of one pull request over GitHub's REST API: four requests, and what may go wrong."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests
from github import GithubException

from pfa_gate.errors import CommentError
from pfa_gate.github.api import GitHubApi, explaining_refusals
from pfa_gate.github.post import Comment, Pace, UncertainError
from pfa_gate.github.target import CommentTarget

_BOT = "github-actions[bot]"
# Tokens of GitHub Apps; they cannot ask who they are.
_APP_TOKEN = "ghs_"


class Thread:
    """The comments of one pull request, as one account sees and writes them."""

    def __init__(self, target: CommentTarget, token: str, number: int, pace: Pace) -> None:
        self.target, self.number = target, number
        self._api = GitHubApi(target, token, pace)
        self._path = f"/repos/{target.repository}/issues"
        # Tokens of apps cannot ask who they are; in a workflow the app is GitHub's own.
        self._author = _BOT if token.startswith(_APP_TOKEN) else ""

    def listed(self) -> list[Comment]:
        """All comments that our own account wrote, oldest first, over all pages."""
        self._author = self._author or self._who()
        with explaining_refusals(self.target, self.number):
            items = self._api.every(f"{self._path}/{self.number}/comments", _is_comment)
        found = {item["id"]: item for item in items}
        return [
            Comment(number, item["body"] or "")
            for number, item in sorted(found.items())
            if _login(item).lower() == self._author.lower()
        ]

    def get(self, number: int) -> Comment | None:
        """One comment; None if it is there no more."""
        with explaining_refusals(self.target, self.number):
            data = _unless_gone(lambda: self._api.ask("GET", f"{self._path}/comments/{number}", _is_comment))
        return Comment(number, data["body"] or "") if data else None

    def create(self, body: str) -> Comment:
        """Write a new comment.

        Raises:
            UncertainError: the answer was lost; look before you write again.
        """
        path = f"{self._path}/{self.number}/comments"
        with explaining_refusals(self.target, self.number), _uncertain():
            data = self._api.ask("POST", path, _is_comment, {"body": body})
        # Whoever wrote this is who we are, whatever could be asked before.
        self._author = _login(data) or self._author
        return Comment(data["id"], body)

    def edit(self, number: int, body: str) -> None:
        """Replace a comment's text, unless it is there no more."""
        path = f"{self._path}/comments/{number}"
        with explaining_refusals(self.target, self.number):
            _unless_gone(lambda: self._api.ask("PATCH", path, _is_comment, {"body": body}))

    def delete(self, number: int) -> None:
        """Delete a comment, unless it is there no more."""
        with explaining_refusals(self.target, self.number):
            _unless_gone(lambda: self._api.ask("DELETE", f"{self._path}/comments/{number}", lambda _: True))

    def _who(self) -> str:
        try:
            with explaining_refusals(self.target, self.number):
                return _login({"user": self._api.ask("GET", "/user", lambda data: bool(_login({"user": data})))})
        except CommentError as error:
            # Who may not ask is no person.
            if isinstance(error.__cause__, GithubException) and error.__cause__.status in (403, 404):
                return _BOT
            raise


def _is_comment(data: Any) -> bool:
    return isinstance(data, dict) and type(data.get("id")) is int and isinstance(data.get("body"), str | None)


def _login(data: dict[str, Any]) -> str:
    """Of the author; empty where there is none any more."""
    user = data.get("user")
    return str(user.get("login") or "") if isinstance(user, dict) else ""


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
