"""Curves over the runs on a terminal."""

from collections.abc import Iterator, Sequence

from rich.text import Text

from pfa_gate.budget.wording import plural
from pfa_gate.report.history.past import Curve, Past, height
from pfa_gate.report.terminal.grid import lay_out, shorten
from pfa_gate.report.view import ASCII, UNICODE, Glyphs, clean

_MOST = 40


def words(pasts: Sequence[Past], refused: Sequence[str] = (), *, width: int = 80, unicode: bool = True) -> str:
    """The history of all gates as text; no line is wider than `width`.

    Args:
        pasts: one for each gate.
        refused: sentences on files that are no records.
        width: terminal cells in a line; at least 40.
        unicode: whether the terminal can show more than ASCII.

    Example:
        >>> print(words([]))
        There is no record yet.
        <BLANKLINE>
    """
    glyphs = UNICODE if unicode else ASCII
    lines = [line for past in pasts for line in _gate(past, glyphs, width)]
    lines += [f"Left out: {clean(sentence)}" for sentence in refused]
    text = "\n".join(shorten(line, width, glyphs.dots) for line in lines or ["There is no record yet."]) + "\n"
    return text if unicode else text.encode("ascii", "replace").decode("ascii")


def _gate(past: Past, glyphs: Glyphs, width: int) -> Iterator[str]:
    marks = "".join(glyphs.mark(run.outcome) for run in past.runs)
    between = glyphs.between
    yield f"{clean(past.gate)}{between}{clean(past.config)}{between}{plural(len(past.runs), 'run')}"
    columns = max(4, min(_MOST, width - 56))
    rows = [[Text("  verdicts"), Text(marks[-columns:]), Text(""), Text(past.runs[-1].outcome)]]
    for curve in past.curves():
        first, last, _, _ = curve.ends
        title = shorten(curve.title, 30, glyphs.dots)
        rows.append([Text(f"  {title}"), Text(_bars(curve, glyphs, columns)), Text(first), Text(last)])
    yield from (line.plain for line in lay_out(rows, "llrr"))
    yield ""


def _bars(curve: Curve, glyphs: Glyphs, columns: int) -> str:
    """One sign a run, from the smallest to the largest value that is shown; a gap where it was not measured."""
    shown = curve.values[-columns:]
    known = [value for value in shown if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    top = len(glyphs.blocks) - 1
    return "".join(" " if value is None else glyphs.blocks[round(top * height(value, low, high))] for value in shown)
