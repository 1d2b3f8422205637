"""The part of a comment that one gate of one matrix leg owns, and how it is written into the comment's text."""

import dataclasses
import json
import re
from typing import Any, Literal, get_args

from pfa_gate.report.markdown import MARKER

Outcome = Literal["kept", "broken", "not judged"]
OUTCOMES = get_args(Outcome)
_HEAD, _TAIL, _END = "<!-- pfa_gate:section ", " -->", "<!-- pfa_gate:end -->"
_WRITTEN = re.compile(re.escape(_HEAD) + r"(\{[^\n]*\})" + re.escape(_TAIL) + r"\n(.*?)" + re.escape(_END), re.DOTALL)
_OURS = re.compile(r"<!--(?=\s*pfa_gate:)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class CommentSection:
    """What one gate of one leg has to say.

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
    # The line is kept beside the text, to stand for it where the text has to go.
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
