"""The int8 file in Markdown: what it is and what it answers in sight, its layers folded away."""

from pfa_gate.record import Record
from pfa_gate.report.markdown.markup import Detail, code, folded, prose, table
from pfa_gate.report.quantized import int8_facts


def int8_part(record: Record, detail: Detail) -> str:
    """Its measures with their intervals, and its sentences; empty where there is none."""
    facts = int8_facts(record)
    if not facts.sentences:
        return ""
    measures = [[prose(row.name), prose(row.value, 40), prose(row.interval, 60)] for row in facts.measures]
    sentences = "\n".join(f"- {prose(sentence)}" for sentence in facts.sentences)
    parts = (f"**{facts.title}**", table(["answers", "", "95 %"], "lrl", measures, detail.rows), sentences)
    return "\n\n".join(part for part in parts if part)


def suffering_part(record: Record, detail: Detail) -> str:
    """The layers of the file, folded away: worst first, or their widths; empty where there is none."""
    facts = int8_facts(record)
    if facts.bits:
        widths = [
            [code(row.layer), *map(prose, (row.width, row.weights, row.bytes, row.alone or "–"))] for row in facts.bits
        ]
        titles = ["layer", "width", "weights", "bytes", f"{facts.measure} alone"]
        return folded("Width of each layer", table(titles, "lrrrr", widths, detail.rows))
    rows = [[code(row.layer), prose(row.operator, 40), prose(row.noise_ratio or "–")] for row in facts.layers]
    return folded("Layers of the int8 file", table(["layer", "operator", "signal / noise"], "llr", rows, detail.rows))
