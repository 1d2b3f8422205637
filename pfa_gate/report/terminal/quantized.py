"""The int8 file on a terminal: what it is, what it answers, and which layers suffer."""

from rich.text import Text

from pfa_gate.record import Record
from pfa_gate.report.quantized import int8_facts
from pfa_gate.report.terminal.layout import QUIET, Look, lay_out, shorten
from pfa_gate.report.text import clean

_MOST = 10


def int8_section(record: Record, look: Look) -> list[Text]:
    """Its sentences and measures; with -v the ten layers whose outputs suffer most, with -vv all; or their widths."""
    facts = int8_facts(record)
    if not facts.sentences:
        return []
    sentences = [line for sentence in facts.sentences for line in look.sentence(clean(sentence), 3)]
    measures = [[Text(f"   {row.name}"), Text(row.value), Text(row.interval, QUIET)] for row in facts.measures]
    lines = [*look.heading(facts.title), *sentences, *(lay_out(measures, "lrl") if measures else [])]
    return [*lines, *_layers(record, look), *_bits(record, look)] if look.verbosity > 0 else lines


def _layers(record: Record, look: Look) -> list[Text]:
    rows = int8_facts(record).layers[: None if look.verbosity > 1 else _MOST]
    if not rows:
        return []
    cells = [[Text(title, QUIET) for title in ("   layer", "operator", "signal / noise")]]
    room = max(8, look.width - 28)
    for row in rows:
        name = shorten(f"   {clean(row.layer)}", room, look.glyphs.dots)
        cells.append([Text(name), Text(clean(row.operator)), Text(row.noise_ratio or look.glyphs.skipped)])
    return lay_out(cells, "llr")


def _bits(record: Record, look: Look) -> list[Text]:
    """The width of each layer; without -vv of the first ten."""
    facts = int8_facts(record)
    rows = facts.bits[: None if look.verbosity > 1 else _MOST]
    if not rows:
        return []
    titles = ("   layer", "width", "weights", "bytes", f"{facts.measure} alone")
    alone = any(row.alone for row in rows)
    cells = [[Text(title, QUIET) for title in titles[: 5 if alone else 4]]]
    room = max(8, look.width - (52 if alone else 30))
    for row in rows:
        name = shorten(f"   {clean(row.layer)}", room, look.glyphs.dots)
        told = (row.width, row.weights, row.bytes, *([row.alone or look.glyphs.skipped] if alone else ()))
        cells.append([Text(name), *map(Text, told)])
    left = len(facts.bits) - len(rows)
    more = look.sentence(f"{left:,} more with -vv", 3, QUIET) if left else ()
    return [*lay_out(cells, "lrrrr"[: len(cells[0])]), *more]
