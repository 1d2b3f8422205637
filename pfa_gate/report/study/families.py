"""A study of families as text: the sentences, then one table with a part for each size and each time."""

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.text import Text

from pfa_gate.budget.wording import amount, percent, significant
from pfa_gate.config.field_types import SHARES
from pfa_gate.record.families import FamilyStudy
from pfa_gate.report.formatting import ASCII, UNICODE, metric_name, score
from pfa_gate.report.markdown.markup import Escaped, code, prose, table
from pfa_gate.report.study.levels import (
    FamilyRow,
    Level,
    byte_levels,
    family_headline,
    faster_without_runtime,
    time_levels,
    winner_sentences,
)
from pfa_gate.report.study.tables import error
from pfa_gate.report.terminal import printed
from pfa_gate.report.terminal.layout import GAP, HEADING, QUIET, Look, lay_out, shorten, widths
from pfa_gate.report.text import clean, distinct

_LEAST_WIDTH = 60
_NAME = 2  # the column of the family in `_lines_of`
_COLUMNS = ("family", "score", "±", "divergence", "agreement", "bytes", "time", "MACs", "s", "pfa.yaml")


def facts(study: FamilyStudy) -> tuple[str, ...]:
    """What was compared, and the full model.

    Example:
        >>> from pfa_gate.record import Size
        >>> full = Size(1000, 4000, 80000)
        >>> study = FamilyStudy("a", "b", "accuracy", 761, full, 0.9172, 0.01, "l1", "compensate", (), (), (), 0, 0, 1,
        ...     (), {}, 1.0)
        >>> facts(study)[0]
        'The full model has 91.72% ± 1.00 on 761 samples, 4 kB, 80 k MACs.'
    """
    within = f" ± {error(study.stderr, study.share)}" if study.stderr is not None else ""
    full = f"{score(study.accuracy, study.share)}{within} on {study.samples:,} samples"
    size = f"{amount(study.model.bytes, 'B')}, {amount(study.model.macs)} MACs"
    made = f"Filters are selected by {study.selection}; recovery: {study.recovery}."
    return f"The full model has {full}, {size}.", made


def family_notes(study: FamilyStudy) -> tuple[str, ...]:
    """How to read the table."""
    calls = "one sample" if study.batch == 1 else f"{study.batch:,} samples"
    sentences = [
        f"Rows are sorted by {study.order}. A family that has no size of its own stands at the smallest that it keeps.",
        "Bytes are those of all tensors that the file stores, over the full model's.",
    ]
    if study.runtime:
        sentences.append(
            f"Time: CPU time of {study.runtime} on one thread for calls of {calls}, over the full model's."
        )
    sentences += [*faster_without_runtime(study), *study.notes]
    if study.direction == "lower":
        sentences.append(f"Of {metric_name(study.metric)} lower is better.")
    if study.stderr is not None:
        sentences.append("± is one standard error over the evaluation's samples, which all rows share.")
    many = "The winners are picked on the evaluation itself, among all rows: the best of many is lucky too."
    sentences.append(many)
    if any(trial.rule == "random" for trial in study.trials):
        sentences.append(f"Random recipes are drawn with seed {study.seed}; the best of them is an upper bound.")
    if study.metric not in SHARES and not any(trial.answers for trial in study.trials):
        sentences.append("Answers are not compared here: the metric does not call the model once for each batch.")
    return tuple(sentences)


def families_terminal(study: FamilyStudy, *, width: int, colour: bool, unicode: bool) -> str:
    """The study as text; no line is wider than `width` (60 at least).

    Args:
        study: what was found.
        width: terminal cells in a line.
        colour: write ANSI styles.
        unicode: whether the terminal can show more than ASCII.
    """
    look = Look(max(width, _LEAST_WIDTH), UNICODE if unicode else ASCII, 0)
    text = printed(list(_text(study, look)), look.width, colour)
    return text if unicode else text.encode("ascii", "replace").decode("ascii")


def _text(study: FamilyStudy, look: Look) -> Iterator[Text]:
    name = shorten(clean(study.gate), look.width // 2, look.glyphs.dots)
    yield Text.assemble((name, HEADING), "  ", family_headline(study))
    yield from look.sentence(look.glyphs.between.join((study.config, f"{study.seconds:,.0f} s")), 0, QUIET)
    for fact in facts(study):
        yield from look.sentence(_plain(fact, look), 0)
    yield Text()
    for sentence in winner_sentences(study):
        yield from look.sentence(_plain(sentence, look), 0, HEADING)
    for level in (*byte_levels(study), *time_levels(study)):
        yield from _level(level, study, look)
    yield Text()
    for note in family_notes(study):
        yield from look.sentence(_plain(note, look), 0, QUIET)


def _plain(text: str, look: Look) -> str:
    return text.replace("±", look.glyphs.about)


def _level(level: Level, study: FamilyStudy, look: Look) -> Iterator[Text]:
    yield from look.heading(level.title)
    if level.rows:
        titles = ("family", study.metric, look.glyphs.about, "diverge", "bytes", "time", "MACs", "s")
        cells = [[Text(shorten(clean(title), 12, look.glyphs.dots), QUIET) for title in titles]]
        cells += [_cells(row, study, look) for row in level.rows]
        room = max(8, look.width - sum(widths(cells)[1:]) - GAP * (len(titles) - 1))
        names = distinct((line[0].plain for line in cells), room, look.glyphs.dots, cell_len)
        for line in cells:
            line[0] = Text(names[line[0].plain], line[0].style)
        yield from lay_out(cells, "l" + "r" * (len(titles) - 1))
    for name, reason in level.unable:
        yield from look.sentence(f"{look.glyphs.skipped} {name}: {reason}", 0, QUIET)


def _cells(row: FamilyRow, study: FamilyStudy, look: Look) -> list[Text]:
    style = QUIET if row.kind != "own" else ""
    numbers = (
        score(row.accuracy, study.share),
        error(row.stderr, study.share),
        "" if row.divergence is None else significant(row.divergence),
        percent(row.bytes),
        look.glyphs.skipped if row.time is None else percent(row.time),
        look.glyphs.skipped if row.macs is None else percent(row.macs),
        f"{row.seconds:.0f}",
    )
    return [Text(clean(row.name), style), *(Text(number, style) for number in numbers)]


def families_markdown(study: FamilyStudy) -> str:
    """The study as Markdown with every row; no foreign name in it is markup."""
    return "\n\n".join(_parts(study)) + "\n"


def _parts(study: FamilyStudy) -> Iterator[str]:
    yield f"# Families of {code(study.gate)}"
    yield f"{code(study.config)}, {prose(family_headline(study))}, {study.seconds:,.0f} s."
    yield "\n".join(f"- {prose(fact)}" for fact in facts(study))
    yield "\n".join(f"- **{prose(sentence)}**" for sentence in winner_sentences(study))
    for level in (*byte_levels(study), *time_levels(study)):
        yield f"## {prose(level.title)}"
        if level.rows:
            yield table(_COLUMNS, "lrrrrrrrrl", [_markdown_cells(row, study) for row in level.rows], None)
        if level.unable:
            yield _unable(level.unable)
    yield "\n".join(f"- {prose(note)}" for note in family_notes(study))


def _unable(pairs: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"- {prose(name)}: {prose(reason)}" for name, reason in pairs)


def _markdown_cells(row: FamilyRow, study: FamilyStudy) -> list[Escaped]:
    agreement = row.answers.agreement if row.answers else None
    numbers = (
        score(row.accuracy, study.share),
        error(row.stderr, study.share),
        "" if row.divergence is None else significant(row.divergence),
        score(agreement, True),
        percent(row.bytes),
        "" if row.time is None else percent(row.time),
        "" if row.macs is None else percent(row.macs),
        f"{row.seconds:.0f}",
    )
    config = code(row.config, 200) if row.config else prose("")
    return [prose(row.name), *map(prose, numbers), config]
