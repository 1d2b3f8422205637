"""Posting the comment: read, decide, write, and read again until nothing is left to do.

GitHub has no write that fails where another process was faster, so a poster may overwrite what another has just
written. Every poster therefore reads again `settle` seconds after its own write. That is longer than any poster takes
from its reading to its write, so a poster whose section was lost sees it, and writes it again.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from pfa_gate.errors import CommentError
from pfa_gate.github.comment_text import CommentSection, compose, is_ours, newest_sections, say_the_same, sections_of

Policy = Literal["auto", "always", "never", "on_failure"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
_ROUNDS = 12


@dataclass(frozen=True)
class Pace:
    """How long to wait, and how often to try again.

    Attributes:
        settle: seconds between a write and the look at what became of it. Longer than any other poster takes from
            its own look to its write, so that a lost section is seen by the one who lost it.
        backoff: seconds; the n-th retry after a server's error waits backoff * 2**n.
        longest: seconds to wait at most where GitHub asks for patience.
        timeout: seconds to wait for an answer.
        between_writes: seconds between two writes, as GitHub asks.
        stale: seconds after which a look at many pages is too old to write by.
    """

    settle: float = 2.0
    backoff: float = 0.5
    longest: float = 120.0
    timeout: int = 20
    between_writes: float = 1.0
    stale: float = 1.0


@dataclass(frozen=True)
class Comment:
    """A comment of ours: its id, and its text."""

    id: int
    body: str


class UncertainError(Exception):
    """A write whose answer was lost: it may have been stored or not."""


class Comments(Protocol):
    """What posting needs of a pull request's comments."""

    def listed(self) -> list[Comment]:
        """Comments of our own account, oldest first."""

    def get(self, number: int) -> Comment | None:
        """One comment, or None if it is gone."""

    def create(self, body: str) -> Comment:
        """Write a new comment."""

    def edit(self, number: int, body: str) -> None:
        """Replace a comment's text."""

    def delete(self, number: int) -> None:
        """Delete a comment."""


@dataclass(frozen=True)
class Update:
    """What a run adds to the comment, and when.

    Attributes:
        sections: of this run.
        policy: auto, always, never or on_failure.
        only: drop the sections of all others.
    """

    sections: tuple[CommentSection, ...]
    policy: Policy = "auto"
    only: bool = False


@dataclass(frozen=True)
class Edits:
    """What is to be written: a text for a new comment or for the one that stays, and the comments that go."""

    create: str | None = None
    edit: tuple[int, str] | None = None
    delete: tuple[int, ...] = ()


def decide(comments: Sequence[Comment], update: Update) -> Edits:
    """What has to be written so that one comment has every section.

    Args:
        comments: what our account has written on the pull request, oldest first.
        update: what is new.

    Example:
        >>> broken = CommentSection("pfa.yaml", "digits", "", "broken", "digits: broken")
        >>> decide([], Update((broken,))).create.splitlines()[2]
        'digits: broken'
        >>> decide([], Update((CommentSection("pfa.yaml", "digits", "", "kept", "digits: kept"),)))
        Edits(create=None, edit=None, delete=())
    """
    ours = [comment for comment in comments if is_ours(comment.body)]
    sections = _merged([section for comment in ours for section in sections_of(comment.body)], update)
    if not ours:
        return Edits(create=compose(sections) if sections else None)
    if update.policy == "on_failure" and all(section.outcome == "kept" for section in sections):
        return Edits(delete=tuple(comment.id for comment in ours))
    body = compose(sections) if sections else ours[0].body
    edit = None if say_the_same(body, ours[0].body) else (ours[0].id, body)
    return Edits(edit=edit, delete=tuple(comment.id for comment in ours[1:]))


def _merged(written: Sequence[CommentSection], update: Update) -> tuple[CommentSection, ...]:
    """The sections that the comment is to have, given those that our comments have."""
    stored = newest_sections(written)
    known, new = ({section.key for section in sections} for sections in (stored, update.sections))
    stays = [section for section in stored if not update.only or section.key in new]
    added = [section for section in update.sections if section.key in known or _is_worth_a_comment(section, update)]
    merged = newest_sections([*stays, *added])
    # A run that left its verdict needs no section beside its gates.
    return tuple(section for section in merged if section.gate or section.outcome != "kept") or merged


def _is_worth_a_comment(section: CommentSection, update: Update) -> bool:
    """Whether a section is written that no comment has: under `always` that of each gate, else what is not kept."""
    return section.outcome != "kept" or (update.policy == "always" and bool(section.gate))


def post(comments: Comments, update: Update, pace: Pace) -> str:
    """Write until one comment has every section, and say in a word what was done.

    Returns:
        created, updated, deleted, unchanged, or not needed.

    Raises:
        CommentError: GitHub refuses, or others overwrite faster than this can write.
        NotAllowedError: the token may not write.
    """
    done = ""
    made: Comment | None = None
    for round_ in range(_ROUNDS):
        looked = time.monotonic()
        ours = [comment for comment in _with(made, comments) if is_ours(comment.body)]
        edits = decide(ours, update)
        if edits.edit and time.monotonic() - looked > pace.stale:
            ours = _fresh(ours, comments)
            edits = decide(ours, update)
        if edits == Edits():
            return done or ("unchanged" if ours else "not needed")
        try:
            made = _execute(edits, comments) or made
            done = done or _summary(edits, len(ours))
        except UncertainError:
            # It may have been stored: the next reading tells.
            done = "created"
        # Posters that collided wait for different times.
        time.sleep(pace.settle * (1 + random.random() * min(round_, 4)))
    raise CommentError(
        f"The comment was not the same after {_ROUNDS} attempts.",
        remedy="Others write it at the same time, or GitHub fails; run the job again.",
    )


def _summary(edits: Edits, there: int) -> str:
    if edits.create is not None:
        return "created"
    return "deleted" if edits.edit is None and len(edits.delete) == there else "updated"


def _execute(edits: Edits, comments: Comments) -> Comment | None:
    made = comments.create(edits.create) if edits.create is not None else None
    if edits.edit is not None:
        comments.edit(*edits.edit)
    for number in edits.delete:
        comments.delete(number)
    return made


def _fresh(ours: Sequence[Comment], comments: Comments) -> list[Comment]:
    """The same comments, the first read once more: others may have written it since the list was read."""
    first = comments.get(ours[0].id)
    return [*([first] if first else []), *ours[1:]]


def _with(made: Comment | None, comments: Comments) -> list[Comment]:
    """The comments that are listed, and the one we made if the list does not have it yet."""
    listed = comments.listed()
    if made is None or any(comment.id == made.id for comment in listed) or any(is_ours(each.body) for each in listed):
        return listed
    late = comments.get(made.id)
    return [*listed, late] if late else listed
