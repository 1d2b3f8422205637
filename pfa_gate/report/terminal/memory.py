"""Memory of one sample on a terminal: where it peaks, and with -v its course along the program."""

from collections.abc import Iterator

from rich.text import Text

from pfa_gate.record import Record
from pfa_gate.report.memory import energy_sentence, followed, held_rows, levels, memory_sentences
from pfa_gate.report.terminal.layout import GAP, QUIET, SPECTRUM, Look, lay_out, shorten, widths
from pfa_gate.report.text import clean

_MOST = 60
_INDENT = 3


def memory_lines(record: Record, look: Look) -> list[Text]:
    """Where memory peaks, if a budget asks for it; with -v the curve of each model and what is live at its peak."""
    asked = any(finding.id.endswith((".memory", ".energy")) for finding in record.budgets)
    if not asked and look.verbosity <= 0:
        return []
    sentences = [*memory_sentences(record), energy_sentence(record)]
    lines = [line for each in sentences if each for line in look.sentence(clean(each), _INDENT, QUIET)]
    return [*lines, *_curves(record, look), *_alive(record, look)] if look.verbosity > 0 else lines


def _curves(record: Record, look: Look) -> list[Text]:
    """Live bytes along the operators, both models on one scale."""
    models = followed(record)
    most = max((level for each in models for level in each.memory.curve), default=0)
    room = look.width - _INDENT - GAP - max((len(each.name) for each in models), default=0)
    if most <= 0 or room < 10:
        return []
    signs = look.glyphs.blocks
    rows = []
    for each in models:
        cells = (max(0, level) for level in levels(each.memory, min(_MOST, room)))
        bars = "".join(signs[round((len(signs) - 1) * level / most)] for level in cells)
        rows.append([Text(f"   {each.name}", QUIET), Text(bars, SPECTRUM)])
    return lay_out(rows, "ll")


def _alive(record: Record, look: Look) -> Iterator[Text]:
    for each in followed(record):
        rows = held_rows(each.memory)
        cells = [[Text(title, QUIET) for title in (f"   live at the peak, {each.name}", "bytes", "of peak")]]
        cells += [[Text(f"   {clean(row.name)}"), Text(row.bytes), Text(row.of_peak)] for row in rows]
        room = max(GAP, look.width - sum(widths(cells)[1:]) - GAP * 2)
        for line in cells:
            line[0] = Text(shorten(line[0].plain, room, look.glyphs.dots), line[0].style)
        yield from lay_out(cells, "lrr")
