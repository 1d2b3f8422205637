"""The time of the files in Markdown."""

from pfa_gate.record import Record
from pfa_gate.report.markdown.markup import prose, table
from pfa_gate.report.timing import time_rows, time_sentences

_TITLES = ["", "samples a call", "of MACs", "multiples of 8", "full", "smaller", "of time", "±"]


def timing_part(record: Record) -> str:
    """A table of each file and size of a call, and how it was measured; empty where nothing was timed."""
    rows = [
        [
            *map(prose, (row.file, row.samples, row.macs, row.multiples)),
            *map(prose, (row.full, row.smaller, row.ratio, row.error)),
        ]
        for row in time_rows(record)
    ]
    if not rows:
        return ""
    sentences = (prose(sentence) for sentence in time_sentences(record))
    return "\n\n".join([table(_TITLES, "lrrrrrrr", rows, None), *sentences])
