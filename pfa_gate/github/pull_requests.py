"""The pull requests of a run, and their comments, over GitHub's REST API."""

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
# How tokens of GitHub Apps begin.
_APP_TOKEN = "ghs_"


def pulls(target: CommentTarget, token: str, pace: Pace, *, check: bool) -> tuple[tuple[int, ...], str]:
    """Numbers of the pull requests to comment on.

    Args:
        target: what is known.
        token: for the API.
        pace: how long to wait for it.
        check: ask for each pull request, and take it only if its head is the commit that was measured.

    Returns:
        The numbers; and where there are none, the reason in a sentence.

    Raises:
        CommentError: GitHub refuses.
    """
    if not target.numbers and not target.branch:
        return (), "No comment: this run belongs to no pull request."
    if target.numbers and not check:
        return target.numbers, ""
    heads = _heads(target, token, pace)
    if not heads:
        return (), f"No comment: no open pull request has the branch {target.branch}."
    if fresh := tuple(number for number, head in heads.items() if head == target.head or not target.head):
        return fresh, ""
    moved = ", ".join(f"#{number} ({head[:7]})" for number, head in heads.items())
    return (), f"No comment: this run measured {target.head[:7]}, and there is a newer head by now: {moved}."


class PullRequestComments:
    """The comments of one pull request, as one account sees and writes them."""

    def __init__(self, target: CommentTarget, token: str, number: int, pace: Pace) -> None:
        self.target, self.number = target, number
        self._api = GitHubApi(target, token, pace)
        self._path = f"/repos/{target.repository}/issues"
        # An app cannot ask for its own name; in a workflow it is GitHub's own app.
        self._author = _BOT if token.startswith(_APP_TOKEN) else ""

    def listed(self) -> list[Comment]:
        """All comments that our own account wrote, oldest first, over all pages."""
        self._author = self._author or self._who()
        with explaining_refusals(self.target, self.number):
            items = self._api.every(f"{self._path}/{self.number}/comments", _is_comment)
        by_id = {item["id"]: item for item in items}
        return [
            Comment(number, item["body"] or "")
            for number, item in sorted(by_id.items())
            if _login(item).lower() == self._author.lower()
        ]

    def get(self, number: int) -> Comment | None:
        """One comment; None if it is gone."""
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
        # The author of this comment is our account, even where its name could not be asked for.
        self._author = _login(data) or self._author
        return Comment(data["id"], body)

    def edit(self, number: int, body: str) -> None:
        """Replace a comment's text, unless it is gone."""
        path = f"{self._path}/comments/{number}"
        with explaining_refusals(self.target, self.number):
            _unless_gone(lambda: self._api.ask("PATCH", path, _is_comment, {"body": body}))

    def delete(self, number: int) -> None:
        """Delete a comment, unless it is gone."""
        with explaining_refusals(self.target, self.number):
            _unless_gone(lambda: self._api.ask("DELETE", f"{self._path}/comments/{number}", lambda _: True))

    def _who(self) -> str:
        try:
            with explaining_refusals(self.target, self.number):
                return _login({"user": self._api.ask("GET", "/user", lambda data: bool(_login({"user": data})))})
        except CommentError as error:
            # An account that may not ask is not a person.
            if isinstance(error.__cause__, GithubException) and error.__cause__.status in (403, 404):
                return _BOT
            raise


def _heads(target: CommentTarget, token: str, pace: Pace) -> dict[int, str]:
    """Head commit of each pull request that may be meant."""
    api, path = GitHubApi(target, token, pace), f"/repos/{target.repository}/pulls"
    # The event of a run from a fork names no pull request, but its branch.
    with explaining_refusals(target, target.numbers[0] if target.numbers else 0):
        if target.numbers:
            answers = [api.ask("GET", f"{path}/{number}", _is_pull) for number in target.numbers]
        else:
            answers = api.every(path, _is_pull, state="open", head=target.branch)
    return {pull["number"]: pull["head"]["sha"] for pull in answers}


def _is_pull(data: Any) -> bool:
    head = data.get("head") if isinstance(data, dict) else None
    return isinstance(head, dict) and isinstance(head.get("sha"), str) and type(data.get("number")) is int


def _is_comment(data: Any) -> bool:
    return isinstance(data, dict) and type(data.get("id")) is int and isinstance(data.get("body"), str | None)


def _login(data: dict[str, Any]) -> str:
    """The author's name; empty where the account is gone."""
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
