"""Tables and folds in Markdown, and how much of them is told."""

from collections.abc import Sequence
from dataclasses import dataclass

from pfa_gate.report.markdown.escape import Escaped


@dataclass(frozen=True)
class Detail:
    """How much a section tells.

    Attributes:
        rows: most rows of a table and entries of a list; None for all.
        folded: whether it has the parts that are folded away.
        advice: whether it says what would mend a broken budget.
    """

    rows: int | None = None
    folded: bool = True
    advice: bool = True


def table(names: Sequence[str], align: str, rows: Sequence[Sequence[Escaped]], most: int | None) -> str:
    """A table; what it leaves out it counts.

    Args:
        names: of the columns, ours.
        align: one letter per column: l, r or c.
        rows: cells, all rows of one length.
        most: rows that are told; None for all.

    Example:
        >>> from pfa_gate.report.markdown.escape import code, prose
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
    told = rows if most is None else rows[:most]
    left = len(rows) - len(told)
    more = ["", f"{left:,} more row{' is' if left == 1 else 's are'} not shown."] if left else []
    if not told:
        return more[1]
    return "\n".join([_row(names), _row([rule[side] for side in align]), *map(_row, told), *more])


def folded(title: str, content: str) -> str:
    """A part that opens when its title is clicked; nothing where it is empty.

    Example:
        >>> folded("All layers", "")
        ''
    """
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>" if content else ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
