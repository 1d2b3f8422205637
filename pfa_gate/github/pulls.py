"""Which pull requests a run belongs to: what the event says, checked with the API where the event is all there is."""

from typing import Any

from pfa_gate.github.api import GitHubApi, explaining_refusals
from pfa_gate.github.post import Pace
from pfa_gate.github.target import CommentTarget


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
    found = _asked(target, token, pace)
    if not found:
        return (), f"No comment: no open pull request has the branch {target.branch}."
    fresh = tuple(number for number, head in found.items() if head == target.head or not target.head)
    moved = ", ".join(f"#{number} ({head[:7]})" for number, head in found.items())
    return (
        fresh,
        "" if fresh else f"No comment: this run measured {target.head[:7]}, and there is a newer head by now: {moved}.",
    )


def _asked(target: CommentTarget, token: str, pace: Pace) -> dict[int, str]:
    """Head commit of each pull request that may be meant."""
    api, path = GitHubApi(target, token, pace), f"/repos/{target.repository}/pulls"
    # A run for a pull request from a fork names none; its branch does.
    with explaining_refusals(target, target.numbers[0] if target.numbers else 0):
        if target.numbers:
            found = [api.ask("GET", f"{path}/{number}", _is_pull) for number in target.numbers]
        else:
            found = api.every(path, _is_pull, state="open", head=target.branch)
    return {pull["number"]: pull["head"]["sha"] for pull in found}


def _is_pull(data: Any) -> bool:
    head = data.get("head") if isinstance(data, dict) else None
    return isinstance(head, dict) and isinstance(head.get("sha"), str) and type(data.get("number")) is int
