"""The parts of a gate's section: verdict, sizes, broken budgets, broken and changed layers, the rest folded."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pfa_gate.budget import Finding, Outcome
from pfa_gate.budget.wording import listed
from pfa_gate.record import Record
from pfa_gate.report.advice import advice
from pfa_gate.report.baseline import baseline_sentences, before
from pfa_gate.report.formatting import SEVERITY, again, delivery, footprint, headline, looked_at
from pfa_gate.report.markdown.escape import Escaped, code, joined, prose
from pfa_gate.report.markdown.layers import changed_layers, every_layer
from pfa_gate.report.markdown.tables import Detail, folded, table
from pfa_gate.report.recovery import left_alone, recovery_rows, repair_summary, repaired
from pfa_gate.report.rounds import rounds_sentence

FULL = Detail()
_SIGNS: dict[Outcome, str] = {"kept": "✅", "broken": "❌", "not judged": "❔"}


@dataclass(frozen=True)
class VerdictLine:
    """A gate's verdict, and the line that says it."""

    outcome: Outcome
    text: str


def verdict_line(record: Record) -> VerdictLine:
    """The verdict on a gate in one line.

    Example:
        >>> from pfa_gate.record import Probe, Size
        >>> verdict_line(Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"))).text
        '❔ `digits`: not judged · no budget was judged'
    """
    outcome, words = headline(record)
    return VerdictLine(outcome, f"{_SIGNS[outcome]} {code(record.gate)}: {outcome} · {prose(words)}")


def parts(record: Record, detail: Detail) -> Iterator[str]:
    """The parts in their order; an empty one has nothing to tell."""
    yield f"### {verdict_line(record).text}"
    yield _budgets([f for f in record.budgets if f.outcome != "kept"], record, detail)
    yield _explained(record, detail)
    yield changed_layers(record, detail)
    yield _sizes(record)
    yield prose(rounds_sentence(record)) if detail.folded else ""
    if detail.folded:
        yield folded("Budgets that are kept", _budgets([f for f in record.budgets if f.outcome == "kept"], record))
        yield folded("All layers", every_layer(record, detail))
        yield folded("Recovery", "\n\n".join(part for part in (_recovery(record), *_repairs(record, detail)) if part))
    yield _list("Baseline", baseline_sentences(record), detail)
    yield _list("Not measured", (f"{gap.what}: {gap.reason}" for gap in record.unmeasured), detail)
    yield f"Again: {code(again(record), 300)}"
    yield _footer(record)


def _budgets(findings: Iterable[Finding], record: Record, detail: Detail = FULL) -> str:
    ordered = sorted(findings, key=lambda finding: SEVERITY.index(finding.outcome))
    based = any(before(record, finding.id) for finding in ordered)
    rows = [
        [
            Escaped(_SIGNS[finding.outcome]),
            code(finding.id),
            prose(finding.limit, 40),
            prose(finding.observed or "–", 40),
            *([prose(before(record, finding.id))] if based else []),
            prose(str(finding.line)),
        ]
        for finding in ordered
    ]
    names = ["", "budget", "limit", "observed", *(["baseline"] if based else []), "line"]
    return table(names, "clrr" + "r" * based + "r", rows, detail.rows)


def _explained(record: Record, detail: Detail) -> str:
    findings = [finding for finding in record.budgets if finding.outcome != "kept"]
    lines = []
    for finding in findings[: detail.rows]:
        lines.append(f"- {code(finding.id)}: {prose(finding.sentence)}")
        told = (*advice(record, finding), *finding.notes) if detail.advice else ()
        lines += [f"  - {prose(sentence)}" for sentence in told]
    return "\n".join(lines)


def _sizes(record: Record) -> str:
    rows = [
        [prose(row.name, 40), *map(prose, (row.full, row.compressed, row.change, row.remark))]
        for row in footprint(record)
    ]
    return table(["", "full", "compressed", "of full", ""], "lrrrl", rows, None)


def _recovery(record: Record) -> str:
    rows = [
        [prose(row.name, 40), *map(prose, (row.score, row.change, row.seconds)), prose(row.detail, 200)]
        for row in recovery_rows(record)
    ]
    return table(["step", "score", "change", "time", "what it did"], "lrrrl", rows, None)


def _repairs(record: Record, detail: Detail) -> Iterator[str]:
    """For each step with layers a line on all of them, and those left alone by their reason."""
    for step in repaired(record):
        yield f"{code(step.step)}: {prose(repair_summary(step))}."
        lines = [f"- left alone, {prose(reason)}: {_names(names, detail)}" for reason, names in left_alone(step)]
        most = len(lines) if detail.rows is None else detail.rows
        more = [f"- and {len(lines) - most:,} more reasons"] if len(lines) > most else []
        yield "\n".join([*lines[:most], *more])


def _names(names: Sequence[str], detail: Detail) -> str:
    return listed([code(name) for name in names], len(names) if detail.rows is None else detail.rows)


def _list(title: str, sentences: Iterable[str], detail: Detail) -> str:
    told = [f"- {prose(sentence)}" for sentence in sentences]
    most = len(told) if detail.rows is None else max(1, detail.rows)
    more = [f"- and {len(told) - most:,} more"] if len(told) > most else []
    return "\n".join([f"**{title}**", "", *told[:most], *more]) if told else ""


def _footer(record: Record) -> str:
    samples = prose(looked_at(record.probe))
    versions = (f"{name} {record.versions[name]}" for name in ("pfa-gate", "torch") if name in record.versions)
    facts = (
        code(record.config),
        joined((samples, code(record.probe.sha256[:12])), " "),
        *map(prose, versions),
        *([prose(record.device)] if record.device != "cpu" else []),
        *([prose(record.weights)] if record.weights else []),
        prose(f"{sum(record.seconds.values()):.1f} s"),
        *map(prose, delivery(record)),
    )
    return f"<sub>{joined(facts, ' · ')}</sub>"
