"""Which pull requests a run belongs to: what the event says, checked with the API where the event is all there is."""

from typing import Any

from pfa_gate.github.hub import Hub, told
from pfa_gate.github.place import Place
from pfa_gate.github.post import Pace


def pulls(place: Place, token: str, pace: Pace, *, check: bool) -> tuple[tuple[int, ...], str]:
    """Numbers of the pull requests to comment on.

    Args:
        place: what is known.
        token: for the API.
        pace: how long to wait for it.
        check: ask for each pull request, and take it only if its head is the commit that was measured.

    Returns:
        The numbers; and where there are none, the reason in a sentence.

    Raises:
        CommentError: GitHub refuses.
    """
    if not place.numbers and not place.branch:
        return (), "No comment: this run belongs to no pull request."
    if place.numbers and not check:
        return place.numbers, ""
    found = _asked(place, token, pace)
    if not found:
        return (), f"No comment: no open pull request has the branch {place.branch}."
    fresh = tuple(number for number, head in found.items() if head == place.head or not place.head)
    moved = ", ".join(f"#{number} ({head[:7]})" for number, head in found.items())
    return (
        fresh,
        "" if fresh else f"No comment: this run measured {place.head[:7]}, and there is a newer head by now: {moved}.",
    )


def _asked(place: Place, token: str, pace: Pace) -> dict[int, str]:
    """Head commit of each pull request that may be meant."""
    hub, path = Hub(place, token, pace), f"/repos/{place.repository}/pulls"
    # A run for a pull request from a fork names none; its branch does.
    with told(place, place.numbers[0] if place.numbers else 0):
        if place.numbers:
            found = [hub.ask("GET", f"{path}/{number}", _is_pull) for number in place.numbers]
        else:
            found = hub.every(path, _is_pull, state="open", head=place.branch)
    return {pull["number"]: pull["head"]["sha"] for pull in found}


def _is_pull(data: Any) -> bool:
    head = data.get("head") if isinstance(data, dict) else None
    return isinstance(head, dict) and isinstance(head.get("sha"), str) and type(data.get("number")) is int
