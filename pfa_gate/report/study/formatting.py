"""What the reports of a study share: names of rows, numbers, and how to read them."""

from collections.abc import Iterator
from dataclasses import dataclass

from pfa_gate.budget.wording import amount, plural, significant
from pfa_gate.record.study import Row, Study, StudyPlan, Task
from pfa_gate.report.formatting import metric_name, score, share


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
    if len(study.tasks) > 1:
        sentences.append("A domain has fewer probe samples than the whole task; answers are taken among all classes.")
    return tuple(sentences)
