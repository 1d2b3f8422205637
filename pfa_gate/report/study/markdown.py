"""A study as Markdown."""

from collections.abc import Iterator

from pfa_gate.record.study import Row, Study
from pfa_gate.report.formatting import score, share
from pfa_gate.report.markdown.escape import Escaped, code, prose
from pfa_gate.report.markdown.tables import table
from pfa_gate.report.study.formatting import (
    StudySection,
    counts,
    error,
    headline,
    method,
    notes,
    plan_words,
    sections,
    task_words,
)

_COLUMNS = ("counts", "selection, recovery", "score", "±", "spread", "parameters", "MACs", "s", "failed")


def markdown(study: Study) -> str:
    """The study as Markdown, every row told; no foreign name in it is markup."""
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
        yield from _section(section, study)
    yield "\n".join(f"- {prose(note)}" for note in notes(study))


def _section(section: StudySection, study: Study) -> Iterator[str]:
    task = "" if len(study.tasks) == 1 else f", classes {code(section.task.name)}"
    yield f"## {code(section.plan.strategy)}{task}"
    yield table(_COLUMNS, "llrrrrrrr", [_cells(row, study) for row in section.rows], None)
    reasons = [
        f"- {prose(counts(row))}, {code(method(row))}: {prose(row.reason)}"
        for row in section.rows
        if row.reason is not None
    ]
    if reasons:
        yield "\n".join(reasons)


def _cells(row: Row, study: Study) -> list[Escaped]:
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
