"""The factorized layers on a terminal: what they save and lose, and with -v each of them."""

from rich.text import Text

from pfa_gate.record import Record
from pfa_gate.report.factorized import TITLES, rank_facts
from pfa_gate.report.terminal.layout import GAP, QUIET, Look, lay_out, shorten, widths
from pfa_gate.report.text import clean

_MOST = 10


def factorized_section(record: Record, look: Look) -> list[Text]:
    """Its sentences; with -v the first ten layers that are two, with -vv all."""
    facts = rank_facts(record)
    if not facts.sentences:
        return []
    lines = [line for sentence in facts.sentences for line in look.sentence(clean(sentence), 3)]
    return [*look.heading("Factorized layers"), *lines, *(_layers(record, look) if look.verbosity > 0 else [])]


def _layers(record: Record, look: Look) -> list[Text]:
    rows = rank_facts(record).rows[: None if look.verbosity > 1 else _MOST]
    if not rows:
        return []
    cells = [[Text(f"   {TITLES[0]}", QUIET), *(Text(title, QUIET) for title in TITLES[1:])]]
    for row in rows:
        values = (row.rank, row.parameters, row.macs, row.energy or look.glyphs.skipped, row.lost)
        cells.append([Text(f"   {clean(row.layer)}"), *map(Text, values)])
    while len(cells[0]) > 2 and sum(widths(cells)[1:]) + GAP * (len(cells[0]) - 1) > look.width // 2 + GAP:
        cells = [line[:-1] for line in cells]
    room = max(8, look.width - sum(widths(cells)[1:]) - GAP * (len(cells[0]) - 1))
    for line in cells:
        line[0] = Text(shorten(line[0].plain, room, look.glyphs.dots), line[0].style)
    return lay_out(cells, "l" + "r" * (len(cells[0]) - 1))
