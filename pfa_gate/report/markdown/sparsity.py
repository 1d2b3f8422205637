"""Zeros among the weights in Markdown: the sentences in sight, the layers folded away."""

from pfa_gate.record import Record
from pfa_gate.report.markdown.markup import Detail, folded, prose, table
from pfa_gate.report.sparsity import tells_of_zeros, zeros_rows, zeros_sentences


def zeros_part(record: Record) -> str:
    """Sentences where zeros were asked for or a layer has a pattern; else empty.

    Example:
        >>> from pfa_gate.record import Probe, Size
        >>> zeros_part(Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab")))
        ''
    """
    return "\n".join(f"- {prose(each)}" for each in zeros_sentences(record)) if tells_of_zeros(record) else ""


def zeros_table(record: Record, detail: Detail) -> str:
    """Every layer, where the sentences stand too."""
    rows = [
        [prose(row.layer), prose(row.full or "–"), prose(row.smaller or "–"), prose(row.patterns), prose(row.whole)]
        for row in (zeros_rows(record) if tells_of_zeros(record) else ())
    ]
    titles = ["layer", "zeros, full", "smaller", "patterns", "all weights stay"]
    return folded("Zeros", table(titles, "lrrll", rows, detail.rows) if rows else "")
