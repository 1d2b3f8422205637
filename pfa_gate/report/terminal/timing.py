"""The time of the files on a terminal."""

from rich.text import Text

from pfa_gate.record import Record
from pfa_gate.report.terminal.layout import GAP, QUIET, Look, lay_out, widths
from pfa_gate.report.text import clean
from pfa_gate.report.timing import time_rows, time_sentences

_TITLES = ("", "samples", "of MACs", "times 8", "full", "smaller", "of time", "")


def timing_section(record: Record, look: Look) -> list[Text]:
    """A line for each file and size of a call; milliseconds go first where the terminal is narrow."""
    rows = time_rows(record)
    if not rows:
        return []
    cells = [[Text(title, QUIET) for title in _TITLES]]
    for row in rows:
        error = f"{look.glyphs.about}{row.error}" if row.error else ""
        texts = (row.samples, row.macs, row.multiples, row.full, row.smaller, row.ratio, error)
        cells.append([Text(f"   {clean(row.file)}"), *map(Text, texts)])
    if _width(cells) > look.width:
        cells = [[*line[:4], *line[6:]] for line in cells]
    if _width(cells) > look.width:
        cells = [[*line[:2], *line[4:]] for line in cells]
    lines = [line for sentence in time_sentences(record) for line in look.sentence(sentence, 3, QUIET)]
    return [*look.heading("Time"), *lay_out(cells, "l" + "r" * (len(cells[0]) - 1)), *lines]


def _width(cells: list[list[Text]]) -> int:
    return sum(widths(cells)) + GAP * (len(cells[0]) - 1)
