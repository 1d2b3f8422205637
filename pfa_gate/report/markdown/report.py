"""The report as Markdown: a comment on a pull request, and the summary of a job."""

from collections.abc import Iterator, Sequence

from pfa_gate.budget.wording import plural
from pfa_gate.record import Record
from pfa_gate.report.markdown.gate_section import FULL, parts, verdict_line
from pfa_gate.report.markdown.markup import Detail, code, prose, units

MARKER = "<!-- pfa_gate:comment -->"
# From all there is to the verdicts alone; the first that fits is taken.
_STEPS = (
    FULL,
    Detail(rows=200),
    Detail(rows=100, folded=False),
    Detail(rows=40, folded=False, advice=False),
    Detail(rows=15, folded=False, advice=False),
    Detail(rows=5, folded=False, advice=False),
    Detail(rows=0, folded=False, advice=False),
)


def section(record: Record, limit: int = 65_000) -> str:
    """What one gate found, as one section of a comment; its first line is the verdict.

    Tells less and less until it fits, always at the border of a row; the verdict is never cut.

    Args:
        record: what the run found.
        limit: most UTF-16 units; at least 400.

    Example:
        >>> from pfa_gate.record import Probe, Record, Size
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"))
        >>> print(section(record).splitlines()[0])
        ### ❔ `digits`: not judged · no budget was judged
    """
    texts = (_section(record, detail) for detail in _STEPS)
    return next((text for text in texts if units(text) <= limit), f"### {verdict_line(record).text}\n")


def comment(records: Sequence[Record], limit: int = 65_000) -> str:
    """The whole comment: marker, verdict, one section for each gate, worst first.

    Tells less and less until it fits, always at the border of a row; marker and verdict are never cut.

    Args:
        records: one for each gate.
        limit: most UTF-16 units; at least 400.

    Example:
        >>> print(comment([]))
        <!-- pfa_gate:comment -->
        ## ❔ pfa_gate: no gate was judged
        <BLANKLINE>
    """
    order = sorted(records, key=lambda record: (_rank(record), record.gate, record.config))
    head = f"{MARKER}\n{_verdict(order)}\n"
    for detail in _STEPS:
        text = "\n".join([head, *(_section(record, detail) for record in order)]) if order else head
        if units(text) <= limit:
            return text
    return _verdicts_only(head, order, limit)


def not_measured(config: str, gate: str, reason: str) -> str:
    """A section for a gate that has no record, because it could not be measured.

    Example:
        >>> print(not_measured("pfa.yaml", "digits", "There is no data."))
        ### ❔ `digits`: not measured
        <BLANKLINE>
        `pfa.yaml`: There is no data.
        <BLANKLINE>
    """
    return f"### ❔ {code(gate)}: not measured\n\n{code(config)}: {prose(reason)}\n"


def _section(record: Record, detail: Detail) -> str:
    return "\n\n".join(part for part in parts(record, detail) if part) + "\n"


def _rank(record: Record) -> int:
    return {"broken": 0, "not judged": 1, "kept": 2}[verdict_line(record).outcome]


def _verdict(records: Sequence[Record]) -> str:
    if not records:
        return "## ❔ pfa_gate: no gate was judged"
    ranks = [_rank(record) for record in records]
    sign = ("❌", "❔", "✅")[min(ranks)]
    counts = ((ranks.count(rank), word) for rank, word in enumerate(("broken", "not judged", "kept")))
    if len(records) == 1:
        return f"## {sign} pfa_gate: {code(records[0].gate)} {verdict_line(records[0]).outcome}"
    words = ", ".join(f"{count:,} {word}" for count, word in counts if count)
    return f"## {sign} pfa_gate: {plural(len(records), 'gate')}, {words}"


def _verdicts_only(head: str, records: Sequence[Record], limit: int) -> str:
    lines = list(_fitting([f"- {verdict_line(record).text}" for record in records], limit - units(head) - 80))
    left = len(records) - len(lines)
    more = [f"- and {plural(left, 'more gate')}; the records have them all"] if left else []
    return "\n".join([head, *lines, *more, ""])


def _fitting(lines: Sequence[str], room: int) -> Iterator[str]:
    for line in lines:
        room -= units(line) + 1
        if room < 0:
            return
        yield line
