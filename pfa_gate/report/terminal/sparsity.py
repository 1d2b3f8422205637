"""Zeros among the weights on a terminal."""

from rich.text import Text

from pfa_gate.record import Record
from pfa_gate.report.sparsity import tells_of_zeros, zeros_rows, zeros_sentences
from pfa_gate.report.terminal.layout import QUIET, Look, lay_out, shorten
from pfa_gate.report.text import clean


def zeros_section(record: Record, look: Look) -> list[Text]:
    """Sentences where zeros were asked for or a layer has a pattern; with -v every layer."""
    if not tells_of_zeros(record):
        return []
    sentences = [line for sentence in zeros_sentences(record) for line in look.sentence(clean(sentence), 3)]
    lines = [*look.heading("Zeros"), *sentences]
    return [*lines, *_layers(record, look)] if look.verbosity > 0 else lines


def _layers(record: Record, look: Look) -> list[Text]:
    cells = [[Text(title, QUIET) for title in ("   layer", "full", "smaller", "patterns")]]
    room = max(8, look.width - 36)
    for row in zeros_rows(record):
        name = shorten(f"   {clean(row.layer)}", room, look.glyphs.dots)
        shares = [Text(value or look.glyphs.skipped) for value in (row.full, row.smaller)]
        cells.append([Text(name), *shares, Text(clean(row.patterns))])
    return lay_out(cells, "lrrl")
