"""Memory of one sample in Markdown: where it peaks in sight, what is live there folded away."""

from pfa_gate.record import Record
from pfa_gate.report.markdown.markup import Detail, folded, prose, table
from pfa_gate.report.memory import energy_sentence, followed, held_rows, memory_sentences


def memory_part(record: Record) -> str:
    """Where memory peaks, and how energy was worked out; empty where no budget asks for them.

    Example:
        >>> from pfa_gate.record import Probe, Size
        >>> memory_part(Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab")))
        ''
    """
    if not any(finding.id.endswith((".memory", ".energy")) for finding in record.budgets):
        return ""
    sentences = (*memory_sentences(record), energy_sentence(record))
    return "\n".join(f"- {prose(sentence)}" for sentence in sentences if sentence)


def held_part(record: Record, detail: Detail) -> str:
    """What is live at each model's peak, largest first."""
    parts = [
        table(
            [f"live at the peak, {each.name}", "bytes", "of peak"],
            "lrr",
            [[prose(row.name), prose(row.bytes), prose(row.of_peak)] for row in held_rows(each.memory)],
            detail.rows,
        )
        for each in followed(record)
    ]
    return folded("Memory", "\n\n".join(part for part in parts if part))
