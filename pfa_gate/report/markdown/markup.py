"""Markdown in which foreign text is shown, and is no markup, mention, reference or link; tables and folds of it.

Escaped text has a type of its own, so mypy refuses a cell or a fact that was not escaped.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NewType

from pfa_gate.report.text import clean, shorten

Escaped = NewType("Escaped", str)
"""Text that a reader of Markdown shows as it is."""

LONGEST_NAME = 80
LONGEST_SENTENCE = 600
_MARKUP = re.compile(r"([\\`*_\[\]!~|$])")
# What opens a heading, an item, a line across or a heading's underline where it begins a line.
_OPENING = re.compile(r"^([-+=]+(?![\w.])|\d{1,9}(?=[.)](?:\s|$)))")
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
# A sign of no width keeps apart what the host of a comment would join to a mention, a reference or an address.
_APART = "\u200b"
_JOINED = re.compile(r"([@#]|:(?=//)|\bwww(?=\.)|\bGH(?=-\d))", re.IGNORECASE)


def code(name: str, length: int = LONGEST_NAME) -> Escaped:
    """A name as code: nothing in a span of code is markup, a mention or a link, in a table or outside.

    A vertical bar becomes a look-alike: within a table no escape of it survives every reader. The opening of a
    comment is kept apart, so that no name can pass for one of the markers that comments are found by.

    Example:
        >>> code("conv1"), code("a`b|c"), code("")
        ('`conv1`', '``a`b│c``', '(no name)')
    """
    text = shorten(" ".join(clean(name).split()), length).replace("|", "│").replace("<!", f"<{_APART}!")
    if not text:
        return Escaped("(no name)")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " if text[0] == "`" or text[-1] == "`" else ""
    return Escaped(f"{fence}{pad}{text}{pad}{fence}")


def prose(text: str, length: int = LONGEST_SENTENCE) -> Escaped:
    r"""A sentence that may hold foreign names, as text and nothing else, at the beginning of a line too.

    Example:
        >>> prose("a<b> | *c*")
        'a&lt;b&gt; \\| \\*c\\*'
        >>> prose("@everyone"), prose("- 1. x"), prose("-1.5 pp")
        ('@\u200beveryone', '\\- 1. x', '-1.5 pp')
    """
    plain = shorten(" ".join(clean(text).split()), length)
    escaped = _MARKUP.sub(r"\\\1", _JOINED.sub(rf"\1{_APART}", plain.translate(_ENTITIES)))
    return Escaped(_OPENING.sub(_closed, escaped, count=1))


def joined(facts: Iterable[Escaped], between: str) -> Escaped:
    """Escaped texts in one line, with a separator between them.

    Example:
        >>> joined([code("a"), prose("b")], " · ")
        '`a` · b'
    """
    return Escaped(between.join(facts))


def _closed(opening: re.Match[str]) -> str:
    """The opening with a backslash: before a dash, after a number."""
    sign = opening[1]
    return f"{sign}\\" if sign.isdigit() else f"\\{sign}"


def units(text: str) -> int:
    """Length as the host of a comment counts it: UTF-16 code units.

    Example:
        >>> units("a"), units("😀")
        (1, 2)
    """
    return len(text.encode("utf-16-le")) // 2


@dataclass(frozen=True)
class Detail:
    """How much a section tells.

    Attributes:
        rows: most rows of a table and entries of a list; None for all.
        folded: whether it has the parts that are folded away.
        advice: whether it says what would make a broken budget hold.
    """

    rows: int | None = None
    folded: bool = True
    advice: bool = True


def table(names: Sequence[str], align: str, rows: Sequence[Sequence[Escaped]], most: int | None) -> str:
    """A table, and the number of rows that it leaves out.

    Args:
        names: of the columns, ours.
        align: one letter per column: l, r or c.
        rows: cells, all rows of one length.
        most: rows that are listed; None for all.

    Example:
        >>> from pfa_gate.report.markdown.markup import code, prose
        >>> print(table(["layer", "KL"], "lr", [[code("a"), prose("1")], [code("b"), prose("2")]], 1))
        | layer | KL |
        | :-- | --: |
        | `a` | 1 |
        <BLANKLINE>
        1 more row is not shown.
    """
    if not rows:
        return ""
    rule = {"l": ":--", "r": "--:", "c": ":-:"}
    listed = rows if most is None else rows[:most]
    left = len(rows) - len(listed)
    more = ["", f"{left:,} more row{' is' if left == 1 else 's are'} not shown."] if left else []
    if not listed:
        return more[1]
    return "\n".join([_row(names), _row([rule[side] for side in align]), *map(_row, listed), *more])


def folded(title: str, content: str) -> str:
    """A part that opens when its title is clicked; nothing where it is empty.

    Example:
        >>> folded("All layers", "")
        ''
    """
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>" if content else ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
