"""Sections into the text of one comment: a pure function that gives the same text in whatever order legs arrive."""

import bisect
import dataclasses
import re
from collections.abc import Iterable, Sequence

from pfa_gate.github.section import CommentSection, is_ours, sections_of, to_markdown, unix_line_ends
from pfa_gate.report.markdown import MARKER
from pfa_gate.report.markdown.markup import units

# GitHub refuses 65,536 characters; the rest is room for what it may count differently.
LIMIT = 65_000
_CAPS = (32_000, 16_000, 8_000, 4_000, 2_000, 1_000, 0)
_CUT = "_The rest does not fit into a comment; `report.md` of the run has it._"
_FENCE = re.compile(r"^```", re.MULTILINE)
_CLOSED = re.compile(r"(\n```)?(\n</details>)*\n\n" + re.escape(_CUT) + r"\Z")
# How long the stages took is news in every run, and to nobody.
_SECONDS = re.compile(r"(?<![\w.])[\d.,]+ m?s\b")
_SIGNS = {"kept": "✅", "broken": "❌", "not judged": "❔"}


def merge(body: str, sections: Iterable[CommentSection], limit: int = LIMIT) -> str:
    """The comment that says what `body` says and what these sections say, the newer run first believed.

    Args:
        body: text of the comment so far; empty, or somebody else's, counts as nothing.
        sections: what is new.
        limit: UTF-16 units the text may have.

    Returns:
        The whole text. It depends on neither the order nor the number of times that sections arrive; sections of
        an older run than the one that is there are passed over.

    Example:
        >>> one = CommentSection("pfa.yaml", "digits", "", "broken", "digits: broken", "Two layers.", (7, 1))
        >>> print(merge("", [one]))
        <!-- pfa_gate:comment -->
        <!-- pfa_gate:section {...} -->
        Two layers.
        <!-- pfa_gate:end -->
        >>> merge(merge("", [one]), [one]) == merge("", [one])
        True
    """
    return compose(newest_sections([*(sections_of(body) if is_ours(body) else ()), *sections]), limit)


def newest_sections(sections: Iterable[CommentSection]) -> tuple[CommentSection, ...]:
    """One section per key, in their order: that of the newest run, and of equals the last.

    Of what one run says twice of itself as a whole, in two uses of one job, the worse stays: it is not mended by the
    other.

    Example:
        >>> old, new = (CommentSection("pfa.yaml", "digits", "", "kept", str(n), run=(n, 1)) for n in (7, 8))
        >>> newest_sections([new, old])[0].line
        '8'
    """
    chosen: dict[tuple[str, str, str], CommentSection] = {}
    for section in sections:
        there = chosen.get(section.key)
        if there is None or section.run > there.run or (section.run == there.run and not _reverses(section, there)):
            chosen[section.key] = section
    return tuple(chosen[key] for key in sorted(chosen))


def _reverses(section: CommentSection, there: CommentSection) -> bool:
    """Whether a run would say of itself that all is well, after it has said the contrary."""
    return not section.gate and section.outcome == "kept" and there.outcome != "kept"


def say_the_same(one: str, other: str) -> bool:
    """Whether two texts of a comment say the same, whichever run they come from and however long it took.

    Example:
        >>> one = CommentSection("pfa.yaml", "digits", "", "kept", "kept", run=(7, 1))
        >>> say_the_same(compose([one]), compose([dataclasses.replace(one, run=(8, 1))]))
        True
    """
    return one == other or _ageless(one) == _ageless(other)


def compose(sections: Sequence[CommentSection], limit: int = LIMIT) -> str:
    """Text of a comment that holds these sections and no others; one visible line when all budgets are kept.

    Texts are cut at line borders, all to the same length, until the whole fits; then each gate has one line.
    Beyond that gates are left out from the end, those with kept budgets first, and counted.
    """
    # A cut, once made, binds all: else the order in which legs arrive would decide who is cut.
    bound = min((section.cap for section in sections if section.cap is not None), default=None)
    for cap in (bound, *(each for each in _CAPS if bound is None or each < bound)):
        body = _joined([_cut(section, cap) for section in sections])
        if units(body) <= limit:
            return body
    return _as_many_as_fit([_cut(section, 0) for section in sections], limit)


def _joined(sections: Sequence[CommentSection], absent: Sequence[CommentSection] = ()) -> str:
    brief = all(section.outcome == "kept" and not section.text for section in sections)
    every = (*sections, *absent)
    parts = [f"{MARKER}\n{_headline(every)}" if brief or len(every) > 1 else MARKER]
    gap = "\n" if brief or len(parts[0]) == len(MARKER) else "\n\n"
    parts += [to_markdown(section, shown=not brief) for section in sections]
    if absent:
        parts.append(f"_{len(absent)} more gates have no room here._")
    return gap.join(parts)


def _headline(sections: Sequence[CommentSection]) -> str:
    failed = [section for section in sections if section.outcome != "kept"]
    if not failed and len(sections) == 1:
        return f"**pfa_gate**: {sections[0].line}"
    if not failed:
        return f"{_SIGNS['kept']} **pfa_gate**: all {len(sections)} gates keep every budget."
    sign = _SIGNS["broken" if any(section.outcome == "broken" for section in failed) else "not judged"]
    verb = "does" if len(failed) == 1 else "do"
    return f"{sign} **pfa_gate**: {len(failed)} of {len(sections)} gates {verb} not keep every budget."


def _cut(section: CommentSection, cap: int | None) -> CommentSection:
    if cap is None or (units(section.text) <= cap and section.cap is None):
        return section
    kept: list[str] = []
    room = cap
    for line in _CLOSED.sub("", section.text).split("\n"):
        room -= units(line) + 1
        if room < 0:
            break
        kept.append(line)
    return dataclasses.replace(section, text=_closed("\n".join(kept)) if kept else "", cap=cap)


def _closed(text: str) -> str:
    """A beginning of a text, with what it has opened closed, so that what follows is not folded away."""
    fence = "\n```" if len(_FENCE.findall(text)) % 2 else ""
    folds = "\n</details>" * max(text.count("<details>") - text.count("</details>"), 0)
    return f"{text}{fence}{folds}\n\n{_CUT}"


def _as_many_as_fit(sections: Sequence[CommentSection], limit: int) -> str:
    ranked = sorted(sections, key=lambda section: (section.outcome == "kept", section.key))

    def room_for(count: int) -> str:
        return _joined(sorted(ranked[:count], key=lambda section: section.key), ranked[count:])

    most = bisect.bisect_right(range(1, len(ranked)), limit, key=lambda count: units(room_for(count)))
    return room_for(most)


def _ageless(body: str) -> str:
    body = unix_line_ends(body)
    for section in sections_of(body):
        body = body.replace(_marker(section), _marker(section.without_run()))
    return _SECONDS.sub("", body)


def _marker(section: CommentSection) -> str:
    return to_markdown(section).split("\n", 1)[0]
