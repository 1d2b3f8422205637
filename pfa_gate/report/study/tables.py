"""The tables of a study, on a terminal and in Markdown, and what all reports of a study share: names, numbers, help."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from pfa_gate.budget.wording import amount, plural, significant
from pfa_gate.config.field_types import SHARES
from pfa_gate.record.study import Row, Study, StudyPlan, Task
from pfa_gate.report.formatting import ASCII, UNICODE, metric_name, score, share
from pfa_gate.report.markdown.markup import Escaped, code, prose, table
from pfa_gate.report.study.answers import METHOD, NAMES, add_answers, answer_words
from pfa_gate.report.terminal import printed
from pfa_gate.report.terminal.layout import GAP, HEADING, QUIET, STYLES, Look, lay_out, shorten, widths
from pfa_gate.report.text import clean, distinct


@dataclass(frozen=True)
class StudySection:
    """All rows of one task and one strategy, which have one number of parameters."""

    task: Task
    plan: StudyPlan
    rows: tuple[Row, ...]


def sections(study: Study) -> Iterator[StudySection]:
    """The rows of each task and strategy, in the order of the study."""
    for task in study.tasks:
        for plan in study.plans:
            rows = [row for row in study.rows if (row.task, row.strategy) == (task.name, plan.strategy)]
            if plan.task == task.name and rows:
                yield StudySection(task, plan, tuple(rows))


def counts(row: Row) -> str:
    """Whose counts a row has.

    Example:
        >>> counts(Row("all", "kl", "random mean", "l1", "none", 30, 0, 9.0, 9.0, 0.9, None, None, 1.0))
        'mean of 30'
    """
    return {"random mean": f"mean of {row.trials}", "random best": f"best of {row.trials}"}.get(row.kind, row.kind)


def method(row: Row) -> str:
    """Selection and recovery.

    Example:
        >>> method(Row("all", "kl", "pfa", "l1", "none", 1, 0, 9.0, 9.0, 0.9, None, None, 1.0))
        'l1'
    """
    return row.selection if row.recovery == "none" else f"{row.selection}, {row.recovery}"


def error(value: float | None, share: bool) -> str:
    """A standard error or a spread, in points of a share, else in the score's own unit; empty where there is none.

    Example:
        >>> error(0.0123, True), error(0.00512, False), error(None, True)
        ('1.23', '0.00512', '')
    """
    if value is None:
        return ""
    return f"{100 * value:.2f}" if share else significant(value)


def task_words(task: Task, share: bool) -> str:
    """A task with the full model's score on it.

    Example:
        >>> task_words(Task("0,3", True, 300, 120, 0.95, 0.02), True)
        'classes 0,3: the full model has 95.00% ± 2.00 on 120 samples; probe of 300'
    """
    name = "whole task" if task.name == "all" else f"classes {task.name}"
    within = f" ± {error(task.stderr, share)}" if task.stderr is not None else ""
    full = score(task.accuracy, share)
    return f"{name}: the full model has {full}{within} on {task.evaluation:,} samples; probe of {task.probe:,}"


def plan_words(plan: StudyPlan, study: Study) -> tuple[str, str, str]:
    """Filters, parameters and MACs of a plan, each with its share of the full model.

    Example:
        >>> from pfa_gate.record import Size
        >>> full = Size(1000, 4000, 80000)
        >>> plan = StudyPlan("all", "kl", 12, Size(500, 2000, 20000), {"stem": 12})
        >>> plan_words(plan, Study("a", "b", "accuracy", 0, 0, 0.01, "", 16, full, (), (plan,), (), (), {}, 1.0))
        ('12/16', '500 (50.0%)', '20 k (25.0%)')
    """
    if plan.size is None:
        return "", "", ""
    parameters = f"{plan.size.parameters:,} ({share(plan.size.parameters, study.model.parameters)})"
    macs = f"{amount(plan.size.macs)} ({share(plan.size.macs, study.model.macs)})"
    return f"{plan.filters:,}/{study.filters:,}", parameters, macs


def headline(study: Study) -> str:
    """How much was tried, and how much of it failed."""
    failed = len(study.failed)
    trials = plural(len(study.trials), "trial")
    return f"{trials}, {failed:,} failed" if failed else f"{trials}, none failed"


def notes(study: Study) -> tuple[str, ...]:
    """How to read the table."""
    within = f"within {study.tolerance:.0%}"
    sentences = [
        f"Rows of one strategy have the same number of parameters {within}, sorted by {study.order}.",
        "± is one standard error over the evaluation's samples; spread is the standard deviation over draws or seeds.",
    ]
    if study.direction == "lower":
        sentences.append(f"Of {metric_name(study.metric)} lower is better.")
    if any(row.kind == "random best" for row in study.rows):
        sentences.append(
            "The best random recipe is picked on the evaluation itself, so it is an upper bound, not a method: "
            f"its counts are drawn with seed {study.seed}."
        )
    if any(row.answers is not None for row in study.rows):
        sentences.append(
            "Agreement, divergence (nats), output error and class drop (the largest fall of the recall of a class, pp) "
            "are against the full model's answers on the evaluation; study.md has all four."
        )
    elif study.metric not in SHARES:
        sentences.append("Answers are not compared here: the metric does not call the model once for each batch.")
    if len(study.tasks) > 1:
        sentences.append("A domain has fewer probe samples than the whole task; answers are taken among all classes.")
    return tuple(sentences)


_LEAST_WIDTH = 60
_EMPHASIS = {"random best": QUIET, "random mean": QUIET, "uniform": QUIET, "pfa": ""}
_COLUMNS = ("counts", "selection, recovery", "score", "±", "spread", "parameters", "MACs", "s", "failed")


def terminal(study: Study, *, width: int, colour: bool, unicode: bool) -> str:
    """The study as text; no line is wider than `width` (60 at least).

    Args:
        study: what was found.
        width: terminal cells in a line.
        colour: write ANSI styles; without them all is said in words.
        unicode: whether the terminal can show more than ASCII.
    """
    look = Look(max(width, _LEAST_WIDTH), UNICODE if unicode else ASCII, 0)
    text = printed(list(_lines(study, look)), look.width, colour)
    return text if unicode else text.encode("ascii", "replace").decode("ascii")


def _lines(study: Study, look: Look) -> Iterator[Text]:
    name = shorten(clean(study.gate), look.width // 2, look.glyphs.dots)
    yield Text.assemble((name, HEADING), "  ", (headline(study), STYLES["broken"] if study.failed else ""))
    yield from look.sentence(look.glyphs.between.join((study.config, f"{study.seconds:,.0f} s")), 0, QUIET)
    for task in study.tasks:
        yield from look.sentence(_plain(task_words(task, study.share), look), 0)
    yield from _plans(study, look)
    for section in sections(study):
        yield from _section(section, study, look)
    yield Text()
    for note in notes(study):
        yield from look.sentence(_plain(note, look), 0, QUIET)


def _plain(text: str, look: Look) -> str:
    return text.replace("±", look.glyphs.about)


def _plans(study: Study, look: Look) -> Iterator[Text]:
    yield from look.heading("Recipes")
    cells = [[Text(title, QUIET) for title in ("", "strategy", "task", "filters", "parameters", "MACs")]]
    for plan in study.plans:
        names = (Text(shorten(clean(name), 16, look.glyphs.dots)) for name in (plan.strategy, plan.task))
        mark = Text("" if plan.size else look.glyphs.broken, STYLES["broken"])
        cells.append([mark, *names, *map(Text, plan_words(plan, study))])
    for line, failed in zip(lay_out(cells, "lllrrr"), [None, *(plan.reason for plan in study.plans)], strict=True):
        yield line
        if failed is not None:
            yield from look.sentence(failed, 3)


def _section(section: StudySection, study: Study, look: Look) -> Iterator[Text]:
    task = "" if len(study.tasks) == 1 else f", classes {section.task.name}"
    parameters = plan_words(section.plan, study)[1]
    title = shorten(clean(section.plan.strategy + task), look.width - 30, look.glyphs.dots)
    yield from look.heading(title, f"{parameters} parameters" if parameters else "")
    titles = ("", "counts", "method", study.metric, look.glyphs.about, "spread", "MACs", "s")
    cells = [[Text(shorten(clean(title), 12, look.glyphs.dots), QUIET) for title in titles]]
    cells += [_cells(row, study, look) for row in section.rows]
    add_answers(cells, section.rows, look)
    _fit(cells, look)
    lines = lay_out(cells, "lll" + "r" * (len(cells[0]) - 3))
    yield lines[0]
    for line, row in zip(lines[1:], section.rows, strict=True):
        yield line
        if row.reason is not None and row.reason != section.plan.reason:
            several = f"{row.failed} of {row.failed + row.trials}: " if row.trials else ""
            yield from look.sentence(several + row.reason, 3, STYLES["broken"])


def _cells(row: Row, study: Study, look: Look) -> list[Text]:
    style = _EMPHASIS[row.kind]
    numbers = (
        score(row.accuracy, study.share) or look.glyphs.skipped,
        error(row.stderr, study.share),
        error(row.spread, study.share),
        share(row.macs, study.model.macs),
        "" if row.seconds is None else f"{row.seconds:.1f}",
    )
    mark = Text(look.glyphs.broken if row.failed else "", STYLES["broken"])
    return [
        mark,
        Text(counts(row), style),
        Text(clean(method(row)), style),
        *(Text(number, style) for number in numbers),
    ]


def _fit(cells: Sequence[list[Text]], look: Look) -> None:
    """Shorten the methods to what the other columns leave."""
    others = [width for index, width in enumerate(widths(cells)) if index != METHOD]
    room = max(1, look.width - sum(others) - GAP * len(others))
    methods = distinct((line[METHOD].plain for line in cells), room, look.glyphs.dots, cell_len)
    for line in cells:
        line[METHOD] = Text(methods[line[METHOD].plain], line[METHOD].style)


def markdown(study: Study) -> str:
    """The study as Markdown with every row; no foreign name in it is markup."""
    return "\n\n".join(_parts(study)) + "\n"


def _parts(study: Study) -> Iterator[str]:
    yield f"# Study of {code(study.gate)}"
    yield f"{code(study.config)}, {prose(headline(study))}, {study.seconds:,.0f} s."
    yield "\n".join(f"- {prose(task_words(task, study.share))}" for task in study.tasks)
    rows = [[code(plan.strategy), code(plan.task), *map(prose, plan_words(plan, study))] for plan in study.plans]
    yield table(("strategy", "task", "filters", "parameters", "MACs"), "llrrr", rows, None)
    failed = [f"- {code(plan.strategy)}: {prose(plan.reason)}" for plan in study.plans if plan.reason is not None]
    if failed:
        yield "\n".join(failed)
    for section in sections(study):
        yield from _markdown_section(section, study)
    yield "\n".join(f"- {prose(note)}" for note in notes(study))


def _markdown_section(section: StudySection, study: Study) -> Iterator[str]:
    task = "" if len(study.tasks) == 1 else f", classes {code(section.task.name)}"
    yield f"## {code(section.plan.strategy)}{task}"
    answered = any(row.answers is not None for row in section.rows)
    rows = [
        [*_markdown_cells(row, study), *(map(prose, answer_words(row.answers)) if answered else ())]
        for row in section.rows
    ]
    names = (*_COLUMNS, *(NAMES if answered else ()))
    yield table(names, "ll" + "r" * (len(names) - 2), rows, None)
    reasons = [
        f"- {prose(counts(row))}, {code(method(row))}: {prose(row.reason)}"
        for row in section.rows
        if row.reason is not None
    ]
    if reasons:
        yield "\n".join(reasons)


def _markdown_cells(row: Row, study: Study) -> list[Escaped]:
    numbers = (
        score(row.accuracy, study.share),
        error(row.stderr, study.share),
        error(row.spread, study.share),
        share(row.parameters, study.model.parameters),
        share(row.macs, study.model.macs),
        "" if row.seconds is None else f"{row.seconds:.1f}",
        str(row.failed) if row.failed else "",
    )
    return [prose(counts(row)), code(method(row)), *map(prose, numbers)]
