"""Sizes and scores before and after: the footprint, the rounds of the recipe, and what each step recovered."""

from collections.abc import Iterator

from rich.cells import cell_len
from rich.text import Text

from pfa_gate.record import Record, RecoveryStep, Scores
from pfa_gate.report.candidate import smaller_name
from pfa_gate.report.formatting import footprint
from pfa_gate.report.search import search_sentences, trial_rows
from pfa_gate.report.selection import selection_sentence
from pfa_gate.report.steps import left_alone, recovery_rows, repair_summary, round_rows, rounds_sentence, worst_repairs
from pfa_gate.report.terminal.layout import GAP, QUIET, Look, lay_out, shorten, widths
from pfa_gate.report.terminal.memory import memory_lines
from pfa_gate.report.text import clean, distinct

_WORST = 5
BAR = 20  # cells of a bar that is as good as the best score in the table


def footprint_section(record: Record, look: Look) -> list[Text]:
    """Parameters, bytes and what else was measured, and with -v the filters after each round of the recipe."""
    rows = footprint(record)
    cells = [[Text(title, QUIET) for title in ("", "full", smaller_name(record), "of full", "")]]
    for row in rows:
        texts = (Text(text) for text in (row.full, row.compressed, row.change))
        cells.append([Text(shorten(clean(row.name), 16, look.glyphs.dots)), *texts, Text(row.remark, QUIET)])
    if record.compressed is None and record.scores is None:
        cells = [line[:2] for line in cells]
    if sum(widths(cells)) + GAP * (len(cells[0]) - 1) > look.width:
        cells = [line[:4] for line in cells]
    if sum(widths(cells)) + GAP * (len(cells[0]) - 1) > look.width:
        cells = [[line[0], *line[2:]] for line in cells]
    return [
        *look.heading("Footprint"),
        *lay_out(cells, "lrrrl"[: len(cells[0])]),
        *memory_lines(record, look),
        *_search(record, look),
        *_rounds(record, look),
    ]


def _search(record: Record, look: Look) -> list[Text]:
    """What the search found, and with -v every trial."""
    sentences = [each for each in (selection_sentence(record), *search_sentences(record)) if each]
    lines = [line for sentence in sentences for line in look.sentence(sentence, 3, QUIET)]
    rows = trial_rows(record) if look.verbosity > 0 else ()
    if not rows:
        return lines
    cells = [[Text(title, QUIET) for title in ("   trial", "size", "of full", "score", "change", "verdict")]]
    for row in rows:
        texts = (f"   {row.number}", row.size, row.of_full, row.score, row.change, row.verdict)
        cells.append([Text(text) for text in texts])
    return [*lines, *lay_out(cells, "lrrrrl")]


def _rounds(record: Record, look: Look) -> list[Text]:
    lines = look.sentence(rounds_sentence(record), 0, QUIET) if look.verbosity > 0 else []
    for row in round_rows(record) if look.verbosity > 1 else ():
        lines += look.sentence(f"{row.group}: {', '.join(row.kept)} of {row.filters or '?'}", 3, QUIET)
    return lines


def recovery_section(record: Record, look: Look) -> list[Text]:
    """One line for the full model, the cut and each step: score, change, bar, seconds; details below when verbose.

    With -v the layers that were left alone and why, with -vv those that were solved and still have the largest error.
    """
    steps = record.compressed.recovery if record.compressed is not None else ()
    if not steps:
        return []
    details = [line for step in steps for line in _details(step, look)] if look.verbosity > 0 else []
    return [*look.heading("Recovery"), *_table(list(_rows(record, look)), look), *details]


def _table(cells: list[list[Text]], look: Look) -> list[Text]:
    """Where the terminal is narrow the bars go first, then the times."""
    if _width(cells) > look.width:
        cells = [[*line[:3], line[4]] for line in cells]
    if _width(cells) > look.width:
        cells = [line[:3] for line in cells]
    return lay_out(cells, {5: "lrrlr", 4: "lrrr", 3: "lrr"}[len(cells[0])])


def _width(cells: list[list[Text]]) -> int:
    return sum(widths(cells)) + GAP * (len(cells[0]) - 1)


def _details(step: RecoveryStep, look: Look) -> Iterator[Text]:
    detail = repair_summary(step) if step.repairs else step.detail
    if detail:
        yield from look.sentence(f"{step.step}: {detail}", 3, QUIET)
    for reason, names in left_alone(step):
        yield from look.sentence(f"left alone, {reason}: {', '.join(names)}", 3)
    rows = worst_repairs(step, _WORST) if look.verbosity > 1 else ()
    if rows:
        titles = ("   largest errors", "before", "after", "ridge", "patches")
        cells = [[Text(title, QUIET) for title in titles]]
        cells += [[Text(f"   {clean(r.layer)}"), *map(Text, (r.before, r.after, r.ridge, r.patches))] for r in rows]
        room = max(GAP, look.width - sum(widths(cells)[1:]) - GAP * (len(titles) - 1))
        layers = distinct(
            (clean(repair.layer) for repair in step.repairs), max(1, room - 3), look.glyphs.dots, cell_len
        )
        for line in cells:
            name = line[0].plain
            short = f"   {layers[name[3:]]}" if name[3:] in layers else shorten(name, room, look.glyphs.dots)
            line[0] = Text(short, line[0].style)
        yield from lay_out(cells, "lrrrr")


def _rows(record: Record, look: Look) -> Iterator[list[Text]]:
    yield [Text(title, QUIET) for title in ("", "score", "change", "", "time")]
    for row in recovery_rows(record):
        bar = _bar(row.value, record.scores, look)
        yield [Text(f"   {clean(row.name)}"), Text(row.score), Text(row.change), Text(bar), Text(row.seconds, QUIET)]


def _bar(value: float | None, scores: Scores | None, look: Look) -> str:
    """A bar from zero to one; scores that are not fractions have none."""
    if value is None or scores is None or not scores.share or look.width < 60:
        return ""
    return look.glyphs.blocks[-1] * round(BAR * value)
