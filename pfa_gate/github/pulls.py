"""Which pull requests a run belongs to: what the event says, checked with the API where the event is all there is."""

from github.PullRequest import PullRequest

from pfa_gate.github.place import Place
from pfa_gate.github.post import Pace
from pfa_gate.github.thread import hub, told


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
    repository = hub(place, token, pace).get_repo(place.repository)
    found: list[PullRequest] = []
    # A run for a pull request from a fork names none; its branch does.
    with told(place, place.numbers[0] if place.numbers else 0):
        if place.numbers:
            found = [repository.get_pull(number) for number in place.numbers]
        else:
            found = list(repository.get_pulls(state="open", head=place.branch))
        return {pull.number: pull.head.sha for pull in found}
