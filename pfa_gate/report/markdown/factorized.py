"""The factorized layers in Markdown: what they save and lose in sight, each of them folded away."""

from pfa_gate.record import Record
from pfa_gate.report.factorized import TITLES, rank_facts
from pfa_gate.report.markdown.markup import Detail, code, folded, prose, table


def factorized_part(record: Record) -> str:
    """Its sentences; empty where there is nothing to say."""
    sentences = rank_facts(record).sentences
    listed = "\n".join(f"- {prose(sentence)}" for sentence in sentences)
    return f"**Factorized layers**\n\n{listed}" if sentences else ""


def factorized_table(record: Record, detail: Detail) -> str:
    """The layers that are two, folded away; empty where there are none."""
    rows = [
        [code(row.layer), *map(prose, (row.rank, row.parameters, row.macs, row.energy or "–", row.lost))]
        for row in rank_facts(record).rows
    ]
    return folded("Factorized layers", table(list(TITLES), "lrrrrr", rows, detail.rows))
