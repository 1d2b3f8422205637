"""A verdict as plain text and numbers, for JUnit and for whoever draws them over time."""

from pfa_gate.budget import Finding
from pfa_gate.config.budgets import DROPS
from pfa_gate.record import Record
from pfa_gate.report.text import clean


def scalars(record: Record, finding: Finding) -> dict[str, str | int | float]:
    """Properties of a budget's test case; nothing that a transport between processes could not carry.

    Example:
        >>> from pfa_gate.record import Probe, Size
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"))
        >>> found = scalars(record, Finding("model.parameters", "8", "9", "broken", "Too many.", 7))
        >>> found["pfa_outcome"], found["pfa_value"]
        ('broken', 9)
    """
    found: dict[str, str | int | float] = {
        "pfa_outcome": str(finding.outcome),
        "pfa_limit": str(finding.limit),
        "pfa_observed": str(finding.observed),
        "pfa_record": str(record.files.get("record", "")),
    }
    value = _value(record, finding)
    if value is not None:
        found["pfa_value"] = value
    before = record.baseline.values.get(finding.id) if record.baseline is not None else None
    if before is not None:
        found["pfa_baseline"] = before / 100 if _in_percent(record, finding.id) else float(before)
    measured = [each for each in finding.details if each.observed is not None]
    if measured:
        worst = max(measured, key=lambda each: (each.observed or 0.0) - (each.limit or 0.0))
        found["pfa_value"] = float(worst.observed or 0.0)
        found["pfa_layer"] = clean(worst.layer)
        found["pfa_layers"] = len(measured)
        found["pfa_layers_broken"] = sum(each.outcome == "broken" and not each.waived for each in measured)
    return found


def _in_percent(record: Record, budget: str) -> bool:
    """Whether a baseline holds points or percent of what a record has as fractions."""
    if budget.endswith("_drop"):
        return record.scores is None or record.scores.share
    return budget == "compressed.latency"


def _value(record: Record, finding: Finding) -> int | float | None:
    """What was measured, in its plain unit: counts, bytes, MACs; fractions for shares, latency and the proof."""
    part, scores = record.compressed, record.scores
    area, _, key = finding.id.partition(".")
    if key in ("parameters", "bytes", "macs"):
        size = record.model if area == "model" else part
        return None if size is None else int(getattr(size, key))
    if key in DROPS:
        return None if scores is None or scores.chance else scores.drop
    if key == "score":
        return None if scores is None else scores.full if area == "model" else scores.compressed
    if key == "latency":
        return None if part is None else part.latency
    return part.exact.max_error if part is not None and finding.id == "exact" else None
