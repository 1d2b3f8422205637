"""Curves over the runs on a terminal."""

import dataclasses
from collections.abc import Iterator, Sequence

from rich.text import Text

from pfa_gate.budget.wording import plural
from pfa_gate.report.formatting import ASCII, UNICODE, Glyphs
from pfa_gate.report.history.curves import Curve, GateHistory, height
from pfa_gate.report.terminal.grid import lay_out, shorten
from pfa_gate.report.text import clean, inert

_MOST = 40
# Narrower than this there is no room for the first value beside the last.
_WIDE = 70


def words(pasts: Sequence[GateHistory], refused: Sequence[str] = (), *, width: int = 80, unicode: bool = True) -> str:
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
    return inert(text) if unicode else inert(text).encode("ascii", "replace").decode("ascii")


def _gate(past: GateHistory, glyphs: Glyphs, width: int) -> Iterator[str]:
    between = glyphs.between
    total = len(past.runs)
    past = dataclasses.replace(past, runs=past.runs[-(min(_MOST, width - 50) if width >= _WIDE else width - 32) :])
    shown = "" if len(past.runs) == total else f", the last {len(past.runs)} shown"
    yield f"{clean(past.gate)}{between}{clean(past.config)}{between}{plural(total, 'run')}{shown}"
    marks = "".join(glyphs.mark(run.outcome) for run in past.runs)
    rows = [("", "", "first", "last"), ("verdicts", marks, past.runs[0].outcome, past.runs[-1].outcome)]
    rows += [(curve.title, _bars(curve, glyphs), *curve.ends[:2]) for curve in past.curves()]
    title = 22 if width >= _WIDE else 16
    named = [[f"  {shorten(name, title, glyphs.dots)}", *cells] for name, *cells in rows]
    narrow = named if width >= _WIDE else [[*row[:2], row[3]] for row in named]
    grid = [[Text(cell) for cell in row] for row in narrow]
    yield from (line.plain for line in lay_out(grid, "llrr" if width >= _WIDE else "llr"))
    yield ""


def _bars(curve: Curve, glyphs: Glyphs) -> str:
    """One sign a run, from the smallest to the largest value; a gap where it was not measured."""
    low, high = min(curve.known), max(curve.known)
    top, signs = len(glyphs.blocks) - 1, glyphs.blocks
    return "".join(" " if value is None else signs[round(top * height(value, low, high))] for value in curve.values)
