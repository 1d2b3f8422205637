"""From the full model over the cut to the model that is delivered: what each recovery step bought."""

from collections.abc import Iterator

from rich.text import Text

from pfa_gate.record import Record, Scores
from pfa_gate.report.recovery import recovery_rows
from pfa_gate.report.terminal.grid import lay_out
from pfa_gate.report.terminal.look import QUIET, Look
from pfa_gate.report.view import clean

BAR = 20  # cells of a bar that is as good as the best score in the table


def recovery_section(record: Record, look: Look) -> list[Text]:
    """One line for the full model, the cut and each step: score, change, bar, seconds; details below when verbose."""
    steps = record.compressed.recovery if record.compressed is not None else ()
    if not steps:
        return []
    cells = list(_rows(record, look))
    lines = lay_out(cells, "lrrlr")
    details = [f"{step.step}: {step.detail}" for step in steps if step.detail]
    told = [line for text in details for line in look.sentence(clean(text), 3, QUIET)] if look.verbosity > 0 else []
    return [*look.heading("Recovery"), *lines, *told]


def _rows(record: Record, look: Look) -> Iterator[list[Text]]:
    yield [Text(title, QUIET) for title in ("", "score", "change", "", "time")]
    for row in recovery_rows(record):
        bar = _bar(row.value, record.scores, look)
        yield [Text(f"   {clean(row.name)}"), Text(row.score), Text(row.change), Text(bar), Text(row.seconds, QUIET)]


def _bar(value: float | None, scores: Scores | None, look: Look) -> str:
    """A bar from zero; only fractions have one, since only they have a zero and a top."""
    if value is None or scores is None or scores.metric not in ("accuracy", "top5") or look.width < 60:
        return ""
    return look.glyphs.blocks[-1] * round(BAR * value)
