"""The text of one comment: a section for each gate of each matrix leg, and how further sections are merged into it.

Merging is a pure function. It gives the same text in whatever order legs arrive.
"""

import bisect
import dataclasses
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

from pfa_gate.report.markdown import MARKER
from pfa_gate.report.markdown.markup import units

Outcome = Literal["kept", "broken", "not judged"]
OUTCOMES = get_args(Outcome)
_HEAD, _TAIL, _END = "<!-- pfa_gate:section ", " -->", "<!-- pfa_gate:end -->"
_WRITTEN = re.compile(re.escape(_HEAD) + r"(\{[^\n]*\})" + re.escape(_TAIL) + r"\n(.*?)" + re.escape(_END), re.DOTALL)
_OURS = re.compile(r"<!--(?=\s*pfa_gate:)", re.IGNORECASE)
# GitHub refuses 65,536 characters; the rest is room for what it may count differently.
LIMIT = 65_000
_CAPS = (32_000, 16_000, 8_000, 4_000, 2_000, 1_000, 0)
_CUT = "_The rest does not fit into a comment; `report.md` of the run has it._"
_FENCE = re.compile(r"^```", re.MULTILINE)
_CLOSED = re.compile(r"(\n```)?(\n</details>)*\n\n" + re.escape(_CUT) + r"\Z")
# How long the stages took differs in every run, and is no reason to write.
_SECONDS = re.compile(r"(?<![\w.])[\d.,]+ m?s\b")
_SIGNS = {"kept": "✅", "broken": "❌", "not judged": "❔"}


@dataclasses.dataclass(frozen=True)
class CommentSection:
    """What a comment says of one gate of one matrix leg.

    Attributes:
        config: path of the gate's pfa.yaml, as its record has it.
        gate: the gate's name.
        leg: name of the matrix leg; empty without a matrix.
        outcome: the worst outcome of its budgets.
        line: the verdict in one line of Markdown.
        text: the verdict at length, in Markdown; empty where the line says enough.
        run: id and attempt of the workflow run that wrote it; (0, 0) outside of one.
        cap: UTF-16 units that `text` was cut to; None if it is whole.
    """

    config: str
    gate: str
    leg: str
    outcome: Outcome
    line: str
    text: str = ""
    run: tuple[int, int] = (0, 0)
    cap: int | None = None

    def __post_init__(self) -> None:
        """Make texts what a comment can hold: whole characters, plain line ends, none of our own markers."""
        for name in ("config", "gate", "leg", "line"):
            object.__setattr__(self, name, " ".join(_sound(getattr(self, name)).split()))
        object.__setattr__(self, "text", _OURS.sub("&lt;!--", _sound(self.text)).strip())

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells sections apart; also their order in the comment."""
        return self.config, self.gate, self.leg

    def without_run(self) -> "CommentSection":
        """The same section without its run: two of them are equal if they say the same."""
        return dataclasses.replace(self, run=(0, 0))


def to_markdown(section: CommentSection, *, shown: bool = True) -> str:
    """A section as the comment holds it: a marker that no reader sees, and the text between it and the end.

    Args:
        section: what is to be written.
        shown: False for a section that only the marker keeps.

    Example:
        >>> one = CommentSection("pfa.yaml", "digits", "", "kept", "digits: kept")
        >>> print(to_markdown(one))
        <!-- pfa_gate:section {"config":"pfa.yaml","gate":"digits",...} -->
        digits: kept
        <!-- pfa_gate:end -->
        >>> sections_of(to_markdown(one)) == (one,)
        True
    """
    facts = dataclasses.asdict(section)
    text = facts.pop("text")
    # The line is stored beside the text, and replaces it where the comment would be too long.
    body = (text or _OURS.sub("&lt;!--", section.line)) if shown else ""
    visible = f"{body}\n" if body else ""
    return f"{_HEAD}{_json(facts | {'whole': bool(text)})}{_TAIL}\n{visible}{_END}"


def sections_of(body: str) -> tuple[CommentSection, ...]:
    """Every section that a comment holds; what somebody has damaged by hand is left out.

    Example:
        >>> sections_of("A comment of somebody else.")
        ()
    """
    found = (_read(facts, text) for facts, text in _WRITTEN.findall(unix_line_ends(body)))
    return tuple(section for section in found if section is not None)


def unix_line_ends(body: str) -> str:
    r"""A comment's text with the line ends it was written with, whatever an editor made of them.

    Example:
        >>> unix_line_ends("a\r\nb")
        'a\nb'
    """
    return body.replace("\r\n", "\n")


def is_ours(body: str) -> bool:
    """Whether a comment begins with the marker; one that quotes it does not.

    Example:
        >>> is_ours(MARKER), is_ours(f"Look: {MARKER}")
        (True, False)
    """
    return body.startswith(MARKER)


def _json(facts: dict[str, Any]) -> str:
    # Without a hyphen nothing can end an HTML comment; to JSON the escape is the same.
    return json.dumps(facts, ensure_ascii=True, separators=(",", ":")).replace("-", "\\u002d")


def _sound(text: str) -> str:
    return unix_line_ends(text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _read(facts: str, text: str) -> CommentSection | None:
    try:
        data = json.loads(facts)
        names = [data["config"], data["gate"], data["leg"], data["line"]]
        run, cap = data["run"], data["cap"]
        fits = (
            all(isinstance(name, str) for name in names)
            and data["outcome"] in OUTCOMES
            and len(run) == 2
            and all(type(part) is int for part in run)
            and (cap is None or type(cap) is int)
        )
        whole = data["whole"] is True
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if not fits:
        return None
    body = text.removesuffix("\n") if whole else ""
    return CommentSection(names[0], names[1], names[2], data["outcome"], names[3], body, (run[0], run[1]), cap)


def merge(body: str, sections: Iterable[CommentSection], limit: int = LIMIT) -> str:
    """A comment with the sections of `body` and these; of one gate and leg, that of the newer run.

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

    Two sections of one run as a whole, of two uses of the action in one job, may differ: the worse one stays.

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
    """Whether a section says that a run as a whole went well, where another one says the contrary."""
    return not section.gate and section.outcome == "kept" and there.outcome != "kept"


def say_the_same(one: str, other: str) -> bool:
    """Whether two texts of a comment are equal but for the run they come from and the seconds it took.

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
    # A cut applies to all sections: else the order in which legs arrive would decide which one is cut.
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
    """The beginning of a text, with the fences and folds that it opens closed."""
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
