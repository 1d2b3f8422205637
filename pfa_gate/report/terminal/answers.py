"""The answers of both models on a terminal: measures, what changed, the worst classes."""

from rich.text import Text

from pfa_gate.record import Record
from pfa_gate.report.answers import answer_measures, answer_sentences, class_rows, confusion
from pfa_gate.report.candidate import smaller_name
from pfa_gate.report.parity import parity_sentences
from pfa_gate.report.terminal.layout import QUIET, STYLES, Look, lay_out

_WORST = 5


def answers_section(record: Record, look: Look) -> list[Text]:
    """Agreement, divergence and output error with their intervals, and the class that falls most.

    With -v the five classes that fall most, with -vv all, and what became of the answers of the worst.
    """
    measures = [[Text(f"   {row.name}"), Text(row.value), Text(row.interval, QUIET)] for row in answer_measures(record)]
    sentences = [line for sentence in answer_sentences(record) for line in look.sentence(sentence, 3)]
    if not measures and not sentences:
        return []
    lines = [*look.heading("Answers"), *(lay_out(measures, "lrl") if measures else []), *sentences]
    return [*lines, *_classes(record, look)] if look.verbosity > 0 else lines


def parity_section(record: Record, look: Look) -> list[Text]:
    """Which answers of the files flip where they run."""
    lines = [line for sentence in parity_sentences(record) for line in look.sentence(sentence, 3)]
    return [*look.heading("Parity"), *lines] if lines else []


def _classes(record: Record, look: Look) -> list[Text]:
    rows = class_rows(record)[: None if look.verbosity > 1 else _WORST]
    if not rows:
        return []
    cells = [[Text(title, QUIET) for title in ("   class", "samples", "before", "after", "change", "lost", "won", "p")]]
    for row in rows:
        style = STYLES["broken"] if row.falls else ""
        values = (row.samples, row.before, row.after, row.change, row.lost, row.won, row.p)
        cells.append([Text(f"   {row.label}"), *(Text(value, style) for value in values)])
    return [*lay_out(cells, "lrrrrrrr"), *(_confusion(record) if look.verbosity > 1 else [])]


def _confusion(record: Record) -> list[Text]:
    found = confusion(record)
    if found is None:
        return []
    head = [Text(f"   full / {smaller_name(record)}", QUIET), *(Text(column, QUIET) for column in found.columns)]
    rows = [[Text(f"   {label}"), *map(Text, cells)] for label, cells in found.rows]
    return lay_out([head, *rows], "l" + "r" * len(found.columns))
