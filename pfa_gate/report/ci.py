"""A verdict for the tools of CI: annotations of a workflow, properties of JUnit, and a badge."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pfa_gate.budget import ClassAnswers, Finding, Outcome
from pfa_gate.budget.answers import answer_values
from pfa_gate.budget.wording import plural
from pfa_gate.config.budgets import ANSWERS, DEMANDS, DROPS, PARITY, SIZES
from pfa_gate.record import Record
from pfa_gate.report.advice import advice
from pfa_gate.report.answers import worst_class
from pfa_gate.report.formatting import SEVERITY, headline, rerun_command, share
from pfa_gate.report.text import clean, shorten

# A step shows ten of a kind; the last tells how many more there are.
_MOST = 9
_LONGEST = 1000
_COLOURS: dict[Outcome, str] = {"kept": "brightgreen", "broken": "red", "not judged": "yellow"}
_LONGEST_LABEL = 40


@dataclass(frozen=True)
class Failed:
    """A gate that could not be measured.

    Attributes:
        config: path of its pfa.yaml.
        gate: its name.
        reason: what is the case, in words.
        line: of the config, from 1.
        column: of the same; 0 where only the line is known.
    """

    config: str
    gate: str
    reason: str
    line: int = 1
    column: int = 0


def annotations(
    records: Sequence[Record],
    failed: Sequence[Failed] = (),
    file: Callable[[str], str] = str,
) -> tuple[str, ...]:
    """One command for each gate without a record and each budget that is not kept: the worst nine, and a count.

    Args:
        records: one for each gate.
        failed: gates that could not be measured.
        file: the path of a config as the repository has it.

    Example:
        >>> annotations([], [Failed("pfa.yaml", "digits", "No data.", 4, 22)])
        ('::error file=pfa.yaml,line=4,col=22,title=pfa_gate digits%3A not measured::No data.',)
    """
    commands = [*(_unmeasured(gate, file) for gate in failed), *_findings(records, file)]
    left = len(commands) - _MOST
    more = [_command({"title": "pfa_gate"}, f"and {plural(left, 'more budget')} not kept; the report has them all")]
    return (*commands[:_MOST], *(more if left > 0 else []))


def _unmeasured(failed: Failed, file: Callable[[str], str]) -> str:
    title = f"pfa_gate {_shown_name(failed.gate)}: not measured"
    column = {"col": str(failed.column)} if failed.column > 0 else {}
    position = {"file": file(failed.config), "line": str(max(1, failed.line)), **column}
    return _command({**position, "title": title}, _safe(failed.reason))


def _findings(records: Sequence[Record], file: Callable[[str], str]) -> Iterator[str]:
    open_findings = [(record, finding) for record in records for finding in record.budgets if finding.outcome != "kept"]
    for record, finding in sorted(open_findings, key=lambda pair: SEVERITY.index(pair[1].outcome)):
        title = f"pfa_gate {_shown_name(record.gate)}: {finding.id} {finding.outcome}"
        position = {"file": file(record.config), "line": str(max(1, finding.line)), "title": title}
        yield _command(position, "\n".join(_sentences(record, finding)))


def _sentences(record: Record, finding: Finding) -> Iterator[str]:
    for sentence in (finding.sentence, *advice(record, finding), *finding.notes):
        yield _safe(sentence)
    yield f"Again: {_safe(rerun_command(record, finding.id))}"


def _safe(text: str) -> str:
    return shorten("\n".join(map(clean, text.splitlines())), _LONGEST)


def _shown_name(text: str) -> str:
    return shorten(clean(text), 80)


def _command(properties: dict[str, str], message: str) -> str:
    """Escape by the runner's rules, so that no name can begin a command or a property of its own."""
    escaped = (f"{name}={_escaped(clean(value), ':,')}" for name, value in properties.items())
    return f"::error {','.join(escaped)}::{_escaped(message)}"


def _escaped(text: str, more: str = "") -> str:
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    for sign in more:
        text = text.replace(sign, f"%{ord(sign):02X}")
    return text


def scalars(record: Record, finding: Finding) -> dict[str, str | int | float]:
    """Properties of a budget's test case, all of them strings and numbers, which xdist can send.

    Example:
        >>> from pfa_gate.record import Probe, Size
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"))
        >>> properties = scalars(record, Finding("model.parameters", "8", "9", "broken", "Too many.", 7))
        >>> properties["pfa_outcome"], properties["pfa_value"]
        ('broken', 9)
    """
    properties: dict[str, str | int | float] = {
        "pfa_outcome": str(finding.outcome),
        "pfa_limit": str(finding.limit),
        "pfa_observed": str(finding.observed),
        "pfa_record": str(record.files.get("record", "")),
    }
    value = _value(record, finding)
    if value is not None:
        properties["pfa_value"] = value
    before = record.baseline.values.get(finding.id) if record.baseline is not None else None
    if before is not None:
        properties["pfa_baseline"] = before / 100 if _in_percent(record, finding.id) else float(before)
    if finding.id.endswith(".class_drop") and (worst_of := _worst(record, finding)) is not None:
        properties |= {"pfa_class": worst_of.label, "pfa_lost": worst_of.lost, "pfa_won": worst_of.won}
    measured = [detail for detail in finding.details if detail.observed is not None]
    if measured:
        worst = max(measured, key=lambda detail: (detail.observed or 0.0) - (detail.limit or 0.0))
        properties["pfa_value"] = float(worst.observed or 0.0)
        properties["pfa_layer"] = clean(worst.layer)
        properties["pfa_layers"] = len(measured)
        properties["pfa_layers_broken"] = sum(detail.outcome == "broken" and not detail.waived for detail in measured)
    return properties


def _worst(record: Record, finding: Finding) -> ClassAnswers | None:
    found = record.of(finding.id.partition(".")[0]).answers
    return None if found is None else worst_class(found)


def _in_percent(record: Record, budget: str) -> bool:
    """Whether a baseline has a value in points or percent, and a record as a fraction."""
    key = budget.partition(".")[2]
    if key in ANSWERS:
        return key != "divergence"
    if key in DROPS:
        return record.scores is None or record.scores.share
    return key == "latency"


def _value(record: Record, finding: Finding) -> int | float | None:
    """What was measured, in its plain unit: counts, bytes, picojoules; fractions for shares and times; nats."""
    area, _, key = finding.id.partition(".")
    record = record.of(area)
    part, scores = record.compressed, record.scores
    if key in (*SIZES, *DEMANDS):
        size: int | float | None = getattr(record.model if area == "model" else part, key, None)
        return size
    if key in ANSWERS:
        value = None if record.answers is None else answer_values(record.answers).get(key)
        return value / 100 if value is not None and _in_percent(record, finding.id) else value
    if key in DROPS:
        return None if scores is None or scores.chance else scores.drop
    if key == "score":
        return None if scores is None else scores.full if area == "model" else scores.compressed
    if key in ("latency", PARITY):
        return _of_file(record, area, key)
    proof = part.exact if part is not None and finding.id == "exact" else None
    return None if proof is None else proof.max_error


def _of_file(record: Record, area: str, key: str) -> int | float | None:
    if key == PARITY:
        return record.parity[area].flips if area in record.parity else None
    return None if record.compressed is None else record.compressed.latency


def badge(record: Record) -> str:
    r"""The verdict and the share of parameters that is left, as the JSON of a shields endpoint.

    Example:
        >>> from pfa_gate.record import Probe, Record, Size
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"))
        >>> badge(record)
        '{"schemaVersion": 1, "label": "pfa digits", "message": "not judged", "color": "yellow"}\n'
    """
    outcome, _ = headline(record)
    part = record.compressed
    left = share(part.parameters, record.model.parameters) if part is not None else ""
    facts = {
        "schemaVersion": 1,
        "label": f"pfa {shorten(clean(record.gate), _LONGEST_LABEL)}",
        "message": f"{outcome} · {left} of parameters" if left else outcome,
        "color": _COLOURS[outcome],
    }
    return json.dumps(facts, ensure_ascii=False) + "\n"
