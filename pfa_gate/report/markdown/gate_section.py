"""The section of one gate: verdict, sizes, broken budgets, broken and changed layers, the rest folded."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pfa_gate.budget import Finding, Outcome
from pfa_gate.budget.wording import listed
from pfa_gate.record import Record
from pfa_gate.report.advice import advice
from pfa_gate.report.baseline import baseline_sentences, baseline_value, change_since, signed_change
from pfa_gate.report.candidate import smaller_name
from pfa_gate.report.delivery import delivery
from pfa_gate.report.formatting import (
    SEVERITY,
    UNICODE,
    SizeRow,
    footprint,
    headline,
    looked_at,
    ratio,
    rerun_command,
)
from pfa_gate.report.layers import KEYS, LayerRow, changed, layer_rows, limits, sparkline
from pfa_gate.report.markdown.answers import answers_part, classes_part
from pfa_gate.report.markdown.factorized import factorized_part, factorized_table
from pfa_gate.report.markdown.markup import LONGEST_NAME, Detail, Escaped, code, folded, joined, prose, table
from pfa_gate.report.markdown.memory import held_part, memory_part
from pfa_gate.report.markdown.quantized import int8_part, suffering_part
from pfa_gate.report.markdown.sparsity import zeros_part, zeros_table
from pfa_gate.report.markdown.timing import timing_part
from pfa_gate.report.parity import parity_sentences
from pfa_gate.report.search import search_sentences, trial_rows
from pfa_gate.report.selection import selection_sentence
from pfa_gate.report.steps import left_alone, recovery_rows, repair_summary, repaired, rounds_sentence
from pfa_gate.report.text import clean, distinct

FULL = Detail()
_SIGNS: dict[Outcome, str] = {"kept": "✅", "broken": "❌", "not judged": "❔"}
_SPECTRUM = 8
_COLUMNS = ["", "layer", "kept", "KL ratio", "peak r", "mean r", "inactive", "spectrum"]
_ALIGN = "clrrrrrl"


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
    """The parts in their order; some may be empty."""
    yield f"### {verdict_line(record).text}"
    yield prose(" ".join(delivery(record))) if record.candidate is not None else ""
    yield _budgets([f for f in record.budgets if f.outcome != "kept"], record, detail)
    yield _explained(record, detail)
    yield changed_layers(record, detail)
    yield _sizes(record)
    yield memory_part(record)
    yield answers_part(record, detail)
    yield zeros_part(record)
    yield factorized_part(record)
    yield int8_part(record, detail)
    yield _list("Parity", parity_sentences(record), detail)
    yield timing_part(record)
    yield "\n".join(f"- {prose(each)}" for each in (selection_sentence(record), *search_sentences(record)) if each)
    yield prose(rounds_sentence(record)) if detail.folded else ""
    if detail.folded:
        yield folded("Budgets that are kept", _budgets([f for f in record.budgets if f.outcome == "kept"], record))
        yield classes_part(record, detail)
        yield folded("All layers", every_layer(record, detail))
        yield folded("Recovery", "\n\n".join(part for part in (_recovery(record), *_repairs(record, detail)) if part))
        yield zeros_table(record, detail)
        yield factorized_table(record, detail)
        yield suffering_part(record, detail)
        yield folded("Search", _trials(record))
        yield held_part(record, detail)
    yield _list("Baseline", baseline_sentences(record), detail)
    yield _list("Not measured", (f"{gap.what}: {gap.reason}" for gap in record.unmeasured), detail)
    yield f"Again: {code(rerun_command(record), 300)}"
    yield _footer(record)


def _budgets(findings: Iterable[Finding], record: Record, detail: Detail = FULL) -> str:
    ordered = sorted(findings, key=lambda finding: SEVERITY.index(finding.outcome))
    based = any(baseline_value(record, finding.id) for finding in ordered)
    rows = [
        [
            Escaped(_SIGNS[finding.outcome]),
            code(finding.id),
            prose(finding.limit, 40),
            prose(finding.observed or "–", 40),
            *([prose(baseline_value(record, finding.id))] if based else []),
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
        remedies = (*advice(record, finding), *finding.notes) if detail.advice else ()
        lines += [f"  - {prose(sentence)}" for sentence in remedies]
    return "\n".join(lines)


def _sizes(record: Record) -> str:
    rows = [
        [prose(row.name, 40), *map(prose, (row.full, row.compressed, row.change, _remark(row)))]
        for row in footprint(record)
    ]
    return table(["", "full", smaller_name(record), "of full", ""], "lrrrl", rows, None)


def _remark(row: SizeRow) -> str:
    return f"{row.remark} ({row.basis})" if row.basis else row.remark


def _trials(record: Record) -> str:
    """Every trial of a search."""
    rows = [
        [*map(prose, (r.number, r.size, r.of_full, r.energy or "–", r.score, r.change, r.interval or "–", r.verdict))]
        for r in trial_rows(record)
    ]
    names = ["trial", "size", "of full", "energy", "score", "change", "95 %", "verdict"]
    return table(names, "rrrrrrrl", rows, None) if rows else ""


def _recovery(record: Record) -> str:
    rows = [
        [prose(row.name, 40), *map(prose, (row.score, row.change, row.seconds)), prose(row.detail, 200)]
        for row in recovery_rows(record)
    ]
    return table(["step", "score", "change", "time", "what it did"], "lrrrl", rows, None)


def _repairs(record: Record, detail: Detail) -> Iterator[str]:
    """For each step with layers: one line on all, and the layers that it left alone, by reason."""
    for repaired_step in repaired(record):
        yield f"{code(repaired_step.step)}: {prose(repair_summary(repaired_step))}."
        lines = [
            f"- left alone, {prose(reason)}: {_names(names, detail)}" for reason, names in left_alone(repaired_step)
        ]
        most = len(lines) if detail.rows is None else detail.rows
        more = [f"- and {len(lines) - most:,} more reasons"] if len(lines) > most else []
        yield "\n".join([*lines[:most], *more])


def _names(names: Sequence[str], detail: Detail) -> str:
    return listed([code(name) for name in names], len(names) if detail.rows is None else detail.rows)


def _list(title: str, sentences: Iterable[str], detail: Detail) -> str:
    items = [f"- {prose(sentence)}" for sentence in sentences]
    most = len(items) if detail.rows is None else max(1, detail.rows)
    more = [f"- and {len(items) - most:,} more"] if len(items) > most else []
    return "\n".join([f"**{title}**", "", *items[:most], *more]) if items else ""


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
        *map(prose, delivery(record) if record.candidate is None else ()),
    )
    return f"<sub>{joined(facts, ' · ')}</sub>"


def changed_layers(record: Record, detail: Detail) -> str:
    """A table of the layers that fail, could not be measured, or differ from the baseline."""
    rows = layer_rows(record)
    worth = [row for row in rows if row.broken or row.unknown or changed(record, row)]
    return _layer_table(record, sorted(worth, key=lambda row: not row.broken), rows, detail)


def every_layer(record: Record, detail: Detail) -> str:
    """A table of all layers in model order."""
    rows = layer_rows(record)
    return _layer_table(record, rows, rows, detail)


def _layer_table(record: Record, listed_rows: Sequence[LayerRow], rows: Sequence[LayerRow], detail: Detail) -> str:
    if not listed_rows:
        return ""
    words = limits(rows)
    names = distinct((clean(row.layer.name) for row in rows), LONGEST_NAME)
    titles = ["filters" if title == "kept" and record.candidate is not None else title for title in _COLUMNS]
    text = table(
        titles, _ALIGN, [_layer_cells(record, row, names[clean(row.layer.name)]) for row in listed_rows], detail.rows
    )
    bounds = ", ".join(f"{name} {words[key]}" for key, name in zip(KEYS, _COLUMNS[3:7], strict=True) if key in words)
    return f"{text}\n\n<sub>Limits: {prose(bounds)}.</sub>" if bounds else text


def _layer_cells(record: Record, row: LayerRow, short: str) -> list[Escaped]:
    layer = row.layer
    name = code(short)
    if layer.skipped is not None:
        return [prose("–"), name, prose(str(layer.filters)), prose(layer.skipped, 120), *map(prose, [""] * 4)]
    error = "" if layer.kl_stderr is None else f" ±{layer.kl_stderr:.3f}"
    values = {
        "kl": ratio(layer.kl_ratio) + error,
        "peak_correlation": ratio(layer.peak_correlation),
        "mean_correlation": ratio(layer.mean_correlation),
        "inactive": "" if layer.inactive is None else str(layer.inactive),
    }
    cells = [_layer_value(record, row, key, text) for key, text in values.items()]
    bars = sparkline(layer.eigenvalues, _SPECTRUM, UNICODE.blocks).replace(" ", "\u2007")
    return [_layer_mark(row), name, prose(row.kept), *cells, Escaped(bars)]


def _layer_mark(row: LayerRow) -> Escaped:
    noise = "~" if row.noisy else ""
    if row.broken:
        return Escaped(f"❌{noise}")
    return Escaped("❔" if row.unknown else noise)


def _layer_value(record: Record, row: LayerRow, key: str, text: str) -> Escaped:
    moved = signed_change(change_since(record, row.layer, key), key)
    value = prose(text or "?")
    value = Escaped(f"**{value}**") if key in row.broken else value
    return Escaped(f"{value} ({prose(moved)})") if moved else value
