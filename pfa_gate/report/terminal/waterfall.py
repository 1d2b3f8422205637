"""From the full model over the cut to the model that is delivered: what each recovery step bought."""

from collections.abc import Iterator

from rich.text import Text

from pfa_gate.record import Record, Scores
from pfa_gate.report.terminal.grid import lay_out
from pfa_gate.report.terminal.look import QUIET, Look
from pfa_gate.report.view import change, clean, score

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
    scores, steps = record.scores, record.compressed.recovery if record.compressed else ()
    names = ["full", *(step.step for step in steps)]
    values = [scores.full if scores else None, *(step.accuracy for step in steps)]
    seconds = ["", *(f"{step.seconds:.1f} s" if step.seconds else "" for step in steps)]
    yield [Text(title, QUIET) for title in ("", "score", "change", "", "time")]
    for place, (name, value, taken) in enumerate(zip(names, values, seconds, strict=True)):
        before = values[place - 1] if place else None
        drop = before - value if before is not None and value is not None else None
        metric = scores.metric if scores else ""
        yield [
            Text(f"   {clean(name)}"),
            Text(score(value, metric)),
            Text(change(drop, metric)),
            Text(_bar(value, scores, look)),
            Text(taken, QUIET),
        ]


def _bar(value: float | None, scores: Scores | None, look: Look) -> str:
    """A bar from zero; only fractions have one, since only they have a zero and a top."""
    if value is None or scores is None or scores.metric not in ("accuracy", "top5") or look.width < 60:
        return ""
    return look.glyphs.blocks[-1] * round(BAR * value)
