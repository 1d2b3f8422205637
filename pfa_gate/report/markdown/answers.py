"""The answers of both models in Markdown: measures and the worst class in sight, classes and confusion folded away."""

from pfa_gate.record import Record
from pfa_gate.report.answers import answer_measures, answer_sentences, class_rows, confusion, smaller_model
from pfa_gate.report.candidate import smaller_name
from pfa_gate.report.markdown.markup import Detail, folded, prose, table


def answers_part(record: Record, detail: Detail) -> str:
    """The measures with their intervals, what changed, and which class falls most; empty where nothing was compared.

    Example:
        >>> from pfa_gate.budget import Answers
        >>> from pfa_gate.record import Probe, Size
        >>> found = Answers("evaluation", 761, changed=44)
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"), answers=found)
        >>> answers_part(record, Detail())
        'On 761 samples of the evaluation, 44 answers changed.'
    """
    measures = [[prose(row.name), prose(row.value, 40), prose(row.interval, 60)] for row in answer_measures(record)]
    sentences = [prose(sentence) for sentence in answer_sentences(record)]
    parts = [table(["answers", "", "95 %"], "lrl", measures, detail.rows), *sentences]
    return "\n\n".join(part for part in parts if part)


def classes_part(record: Record, detail: Detail) -> str:
    """Recall class by class, and what the answers of the worst classes became, folded away; empty without classes."""
    rows = [
        [prose(cell) for cell in (row.label, row.samples, row.before, row.after, row.change, row.lost, row.won, row.p)]
        for row in class_rows(record)
    ]
    left = record.answers.unlisted if record.answers is not None else 0
    more = f"{left:,} more classes fall less." if left else ""
    names = ("class", "samples", "recall, full", smaller_name(record), "change", "lost", "won", "p")
    parts = (table(names, "rrrrrrrr", rows, detail.rows), more, _confusion(record))
    return folded("Answers, class by class", "\n\n".join(part for part in parts if part))


def _confusion(record: Record) -> str:
    found = confusion(record)
    if found is None:
        return ""
    rows = [[prose(label), *map(prose, cells)] for label, cells in found.rows]
    columns = f"Columns: what the {smaller_model(record)} answers on the same samples."
    title = f"Rows: what the full model answers. {columns}"
    return f"{title}\n\n{table(['', *found.columns], 'r' * (1 + len(found.columns)), rows, None)}"
