"""From the full model over the cut to the model that is delivered, one row for each step."""

from collections.abc import Iterator
from dataclasses import dataclass

from pfa_gate.record import Record
from pfa_gate.report.view import change, score


@dataclass(frozen=True)
class RecoveryRow:
    """One step.

    Attributes:
        name: full, cut, or a step of pfa.yaml.
        value: the score after it; None without an evaluation.
        score: the same in words.
        change: since the row above, in words.
        seconds: that it took, in words; empty if none.
        detail: what it did.
    """

    name: str
    value: float | None
    score: str
    change: str
    seconds: str
    detail: str = ""


def recovery_rows(record: Record) -> tuple[RecoveryRow, ...]:
    """The full model, the cut, and each step after it; none without recovery.

    Example:
        >>> from pfa_gate.record import Compressed, Exact, Probe, RecoveryStep, Scores, Size
        >>> steps = (RecoveryStep("cut", 0.5, 0.0), RecoveryStep("compensate", 0.9, 1.0))
        >>> part = Compressed(4, 16, 36, None, Exact(0.0, True), recovery=steps)
        >>> sizes, probe, scores = Size(9, 36, 81), Probe(64, "ab"), Scores("accuracy", 0.95, 0.9, 0.05)
        >>> rows = recovery_rows(Record("digits", "pfa.yaml", {}, {}, sizes, probe, compressed=part, scores=scores))
        >>> [(row.name, row.score, row.change) for row in rows]
        [('full', '95.00%', ''), ('cut', '50.00%', '-45.00 pp'), ('compensate', '90.00%', '+40.00 pp')]
    """
    return tuple(_rows(record))


def _rows(record: Record) -> Iterator[RecoveryRow]:
    steps = record.compressed.recovery if record.compressed is not None else ()
    if not steps:
        return
    metric = record.scores.metric if record.scores else ""
    before = record.scores.full if record.scores else None
    yield RecoveryRow("full", before, score(before, metric), "", "")
    for step in steps:
        drop = before - step.accuracy if before is not None and step.accuracy is not None else None
        taken = f"{step.seconds:.1f} s" if step.seconds else ""
        yield RecoveryRow(
            step.step, step.accuracy, score(step.accuracy, metric), change(drop, metric), taken, step.detail
        )
        before = step.accuracy
