"""What is wrong with a config, and where: `file:line:column`, the source line, a caret, a remedy."""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pfa_gate.errors import ConfigError
from pfa_gate.files import display_path

# The line breaks of YAML 1.1, by which PyYAML counts; str.splitlines knows more.
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_WIDEST = 100
_MOST = 40
_LONGEST = 400


@dataclass(frozen=True, order=True)
class Place:
    """A position in a file; line and column count from 1.

    Example:
        >>> str(Place(Path("pfa.yaml"), 12, 7))
        'pfa.yaml:12:7'
    """

    file: Path
    line: int
    column: int

    def __str__(self) -> str:
        """Path relative to the working directory where it lies below it."""
        return f"{display_path(self.file)}:{self.line}:{self.column}"


@dataclass(frozen=True, order=True)
class Complaint:
    """One mistake in a config; line and column count from 1."""

    line: int
    column: int
    message: str
    remedy: str = ""


class RefusalError(ValueError):
    """A value that a field does not take.

    Args:
        predicate: what is wrong, without its subject ("must lie between 0 and 1, not 2").
        remedy: what to write instead.
        key: where in the value, if it is a mapping and one of its keys is at fault.
    """

    def __init__(self, predicate: str, remedy: str = "", key: str | None = None) -> None:
        super().__init__(predicate, remedy)
        self.predicate = predicate
        self.remedy = remedy
        self.key = key


def source_lines(text: str) -> tuple[str, ...]:
    r"""Split a YAML text into lines, without their breaks.

    Example:
        >>> source_lines("a\r\nb")
        ('a', 'b')
    """
    return tuple(_LINE_BREAK.split(text))


def nearest(word: str, known: Iterable[str]) -> str:
    """Name the nearest known word as a remedy, or all of them when none is near.

    Example:
        >>> nearest("sample", ["samples", "seed"])
        'Did you mean samples?'
        >>> nearest("x", ["samples", "seed"])
        'Known here: samples, seed.'
    """
    words = list(known)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {close[0]}?"
    return f"Known here: {', '.join(words)}." if words else ""


def describe(value: object) -> str:
    """Put a value of a config in words, short enough for one line.

    Example:
        >>> describe("yes"), describe([1, 2]), describe(None), describe(True)
        ("the text 'yes'", 'a list', 'nothing', 'true')
    """
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case str():
            return f"the text {shortened(value)!r}"
        case _:
            return shortened(repr(value))


def shortened(text: str, widest: int = 60) -> str:
    """Cut text to `widest` characters.

    Example:
        >>> shortened("abcdef", widest=4)
        'abc…'
    """
    return text if len(text) <= widest else text[: widest - 1] + "…"


def config_error(file: Path, lines: Sequence[str], complaints: Iterable[Complaint]) -> ConfigError:
    """Gather all complaints in one error, sorted by place, each once.

    Example:
        >>> print(config_error(Path("pfa.yaml"), ["versoin: 1"], [Complaint(1, 1, "unknown key")]))
        pfa.yaml:1:1: unknown key
            versoin: 1
            ^
    """
    ordered = sorted(set(complaints))
    blocks = [_block(file, lines, complaint) for complaint in ordered[:_MOST]]
    if len(ordered) > _MOST:
        blocks.append(f"… and {len(ordered) - _MOST} more.")
    return ConfigError("\n\n".join(blocks))


def _block(file: Path, lines: Sequence[str], complaint: Complaint) -> str:
    place = Place(file, complaint.line, complaint.column)
    message, remedy = (
        "".join(map(_printable, text)) for text in (shortened(complaint.message, _LONGEST), complaint.remedy)
    )
    block = [f"{place}: {message}", *_excerpt(lines, complaint)]
    return "\n".join([*block, f"  {remedy}"] if remedy else block)


def _excerpt(lines: Sequence[str], complaint: Complaint) -> list[str]:
    """Give the source line and a caret beneath, cut to a window around the column."""
    if not 1 <= complaint.line <= len(lines) or not lines[complaint.line - 1].strip():
        return []
    line, column = lines[complaint.line - 1], complaint.column - 1
    start = max(0, column - _WIDEST // 2) if len(line) > _WIDEST else 0
    window = "".join(_printable(letter) for letter in line[start : start + _WIDEST])
    return [f"    {window}".rstrip(), f"    {_blank(window[: column - start])}^"]


def _printable(letter: str) -> str:
    return letter if letter == "\t" or letter.isprintable() else "\N{REPLACEMENT CHARACTER}"


def _blank(text: str) -> str:
    """Make white space as wide as the text: a tab stays a tab, a wide letter counts twice."""
    return "".join(
        "\t" if letter == "\t" else " " * (1 + (unicodedata.east_asian_width(letter) in "WF")) for letter in text
    )
