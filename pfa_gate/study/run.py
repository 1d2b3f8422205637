"""The study: the score against size for every method, and `pfa-gate study`, which shows how far it is and prints it."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev

from pfa_gate.artifacts.folders import write_study
from pfa_gate.config import Document, GateConfig, load
from pfa_gate.config.evaluation import EvaluationConfig
from pfa_gate.config.paths import from_root
from pfa_gate.errors import ConfigError
from pfa_gate.model import load as load_subject
from pfa_gate.model.device import exact_arithmetic
from pfa_gate.model.global_state import defaults_restored, freed_memory_kept
from pfa_gate.model.metric import direction_of, is_share
from pfa_gate.pipeline.demands import demanded
from pfa_gate.pipeline.findings import versions
from pfa_gate.pipeline.job import Stages
from pfa_gate.pipeline.run import OUTPUT, Progress, only_gate
from pfa_gate.record import AnswerSummary, Size
from pfa_gate.record.study import Counts, Kind, Row, Study, StudyPlan, Trial, dumps_study
from pfa_gate.report.formatting import shows_unicode
from pfa_gate.report.result_folders import require_study
from pfa_gate.report.study import markdown, svg, terminal
from pfa_gate.report.text import printable
from pfa_gate.study.context import TaskContext, stderr_of, task_contexts
from pfa_gate.study.options import StudyOptions
from pfa_gate.study.progress import StudyProgress
from pfa_gate.study.recipes import TOLERANCE
from pfa_gate.study.trials import TrialSeries, plans, trials

ORDER = "task and strategy as asked for, then score, best first"

_Key = tuple[str, str, Counts, str, str]


@dataclass(frozen=True)
class StudyObserver:
    """What is called while a study runs.

    Attributes:
        progress: called as (stage, done, total) before the trials and for each of them; None for nobody.
        trial: called with each trial as it is done; by default what it gives is for nobody.
    """

    progress: Progress | None = None
    trial: Callable[[Trial], object] = str


@defaults_restored()
@freed_memory_kept()
def run(config_path: Path | str, gate: str | None, ask: StudyOptions, watch: StudyObserver = StudyObserver()) -> Study:
    """Run a study of one gate's model; nothing is written.

    Trace, probe, spectra and one removal order per selection are made once for each task and serve all recipes.

    Args:
        config_path: a pfa.yaml; its recipe, selection and recovery are replaced by those asked for.
        gate: which of its gates; may be None when there is one.
        ask: what to compare.
        watch: what is called while it runs.

    Raises:
        PFAGateError: the model could not be measured at all; an error in one trial is a row with its reason.
    """
    started = time.perf_counter()
    document = load(config_path)
    config = document.gate(only_gate(document) if gate is None else gate)
    try:
        _evaluation(config)
    except ConfigError as error:
        raise error.at(str(document.place("gates", config.name))) from None
    series = TrialSeries.of(config, ask)
    stages = Stages(document, config.name, watch.progress)
    with stages.stage("loading"):
        subject = load_subject(document, config.name)
    with exact_arithmetic(subject.device):
        contexts = list(task_contexts(config, subject, ask.domains, stages))
        made = [tuple(plans(context, ask.strategies)) for context in contexts]
        done = list(_reported(_tried(document, contexts, series, made), series, stages, watch))
    found = _study(document, contexts, ask, tuple(plan for mine in made for plan in mine), tuple(done))
    return replace(found, seconds=round(time.perf_counter() - started, 3))


def _evaluation(config: GateConfig) -> EvaluationConfig:
    if config.evaluation is None:
        raise ConfigError("A study needs an evaluation.", remedy="Add the section evaluation with its data.")
    return config.evaluation


def _tried(
    document: Document, contexts: Sequence[TaskContext], series: TrialSeries, made: Sequence[Sequence[StudyPlan]]
) -> Iterator[Trial]:
    """All trials of all tasks; the whole task is only there for its recipes where there are domains."""
    for context, mine in zip(contexts, made, strict=True):
        if context.task.studied:
            yield from trials(context, series, mine, Stages(document, context.config.name))


def _reported(found: Iterable[Trial], series: TrialSeries, stages: Stages, watch: StudyObserver) -> Iterator[Trial]:
    total = series.trials * max(1, len(series.ask.domains))
    for done, trial in enumerate(found, 1):
        watch.trial(trial)
        stages.report("trials", done, max(total, done))
        yield trial


def _study(
    document: Document,
    contexts: Sequence[TaskContext],
    ask: StudyOptions,
    made: tuple[StudyPlan, ...],
    done: tuple[Trial, ...],
) -> Study:
    whole = contexts[0]
    config, evaluation = whole.config, _evaluation(whole.config)
    direction = direction_of(whole.subject.metric)
    samples = {context.task.name: context.task.evaluation for context in contexts}
    return Study(
        gate=config.name,
        config=from_root(document.path),
        metric=evaluation.metric,
        seed=config.probe.seed,
        draws=ask.random,
        tolerance=TOLERANCE,
        order=ORDER,
        filters=whole.filters,
        model=demanded(
            Size(whole.full.parameters, whole.full.bytes, whole.full.macs),
            whole.subject.model,
            whole.subject.example,
            config.energy,
        ),
        tasks=tuple(context.task for context in contexts),
        plans=made,
        rows=rows_of(done, samples, direction == "lower"),
        trials=done,
        versions=versions(),
        seconds=0.0,
        direction=direction,
        unit="share" if is_share(whole.subject.metric) else "plain",
    )


def rows_of(trials: Sequence[Trial], samples: Mapping[str, int], lower: bool = False) -> tuple[Row, ...]:
    """The rows of a study, in the order that `ORDER` tells.

    Args:
        trials: in the order in which they ran.
        samples: task -> samples of its evaluation.
        lower: whether a lower score is better.
    """
    alike: dict[_Key, list[Trial]] = {}
    for trial in trials:
        key = trial.task, trial.strategy, trial.counts, trial.selection, trial.recovery
        alike.setdefault(key, []).append(trial)
    rows = [row for group in alike.values() for row in _rows(group, samples[group[0].task], lower)]
    first = {(row.task, row.strategy): place for place, row in reversed(list(enumerate(rows)))}
    return tuple(sorted(rows, key=lambda row: (first[row.task, row.strategy], *_rank(row.accuracy, lower))))


def _rank(score: float | None, lower: bool) -> tuple[bool, float]:
    """Best first, what was not scored last."""
    return score is None, (score or 0.0) if lower else -(score or 0.0)


def _rows(trials: Sequence[Trial], samples: int, lower: bool) -> Iterator[Row]:
    counts = trials[0].counts
    if counts != "random":
        yield _row(trials, trials, counts, samples)
        return
    yield _row(trials, trials, "random mean", samples)
    done = [trial for trial in trials if trial.accuracy is not None]
    if done:
        best = min(done, key=lambda trial: (*_rank(trial.accuracy, lower), trial.draw))
        yield _row(trials, [best], "random best", samples)


def _row(trials: Sequence[Trial], shown: Sequence[Trial], kind: Kind, samples: int) -> Row:
    """A row for some of the trials, or for all."""
    first = trials[0]
    done = [trial for trial in shown if trial.size is not None and trial.accuracy is not None]
    scores = [trial.accuracy for trial in done if trial.accuracy is not None]
    sizes = [trial.size for trial in done if trial.size is not None]
    accuracy = fmean(scores) if scores else None
    known = accuracy is not None and all(trial.stderr is not None for trial in done)
    failed = [trial.reason for trial in trials if trial.reason is not None]
    return Row(
        task=first.task,
        strategy=first.strategy,
        kind=kind,
        selection=first.selection,
        recovery=first.recovery,
        trials=len([trial for trial in trials if trial.reason is None]),
        failed=len(failed),
        parameters=fmean(size.parameters for size in sizes) if sizes else None,
        macs=fmean(size.macs for size in sizes) if sizes else None,
        accuracy=accuracy,
        stderr=stderr_of(accuracy, samples) if accuracy is not None and known else None,
        spread=stdev(scores) if len(scores) > 1 else None,
        seconds=fmean(trial.seconds for trial in done) if done else None,
        reason=failed[0] if failed else None,
        answers=_mean_answers([trial.answers for trial in done if trial.answers is not None]),
    )


def _mean_answers(found: Sequence[AnswerSummary]) -> AnswerSummary | None:
    """The mean of each measure that every trial has."""
    if not found:
        return None
    columns = {key: [getattr(each, key) for each in found] for key in vars(found[0])}
    return AnswerSummary(**{key: None if None in values else fmean(values) for key, values in columns.items()})


FAILED = 1


@dataclass(frozen=True)
class StudyCommand:
    """What the command was asked for.

    Attributes:
        config: a pfa.yaml.
        gate: one of its gates; None where it has one.
        ask: what to compare.
        output: folder for the files; None for `.pfa/<gate>.study` beside the config.
    """

    config: Path
    gate: str | None
    ask: StudyOptions
    output: Path | None


def study(order: StudyCommand) -> int:
    """Run a study, print it, write it.

    Returns:
        0, or 1 where a trial could not be run.

    Raises:
        PFAGateError: nothing could be run, or nothing written.
    """
    document = load(order.config)
    gate = order.gate or only_gate(document)
    folder = order.output or document.path.parent / OUTPUT / f"{gate}.study"
    require_study(folder)  # hours before it is written
    series = TrialSeries.of(document.gate(gate), order.ask)
    print(printable(_announced(gate, series, max(1, len(order.ask.domains)))), file=sys.stderr, flush=True)
    with StudyProgress() as bar:
        found = run(order.config, gate, order.ask, StudyObserver(bar.show))
    texts = {"study.json": dumps_study(found), "study.md": markdown(found), "study.svg": svg(found)}
    files = write_study(folder, texts)
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    unicode = shows_unicode(sys.stdout.encoding)
    shown = terminal(found, width=shutil.get_terminal_size().columns, colour=colour, unicode=unicode)
    print(printable(shown, styled=True), end="")
    print(printable(f"\nFiles: {', '.join(files)}"))
    return FAILED if found.failed or any(plan.reason for plan in found.plans) else 0


def _announced(gate: str, series: TrialSeries, tasks: int) -> str:
    models, trials = series.models * tasks, series.trials * tasks
    return f"Study of {gate}: {models:,} models to cut and recover, {trials:,} scores."
