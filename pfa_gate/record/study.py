"""The record of a study: every trial as plain data, and the rows that the reports are made from.

Sizes are counts; accuracies are values of the metric (shares of hits for accuracy and top5); times
are seconds.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pfa_gate.budget import Size
from pfa_gate.config.field_types import Direction
from pfa_gate.errors import ArtifactError
from pfa_gate.record.measured import AnswerSummary, is_share
from pfa_gate.record.plain_data import LATER, plain, read_as, text_of

STUDY_SCHEMA = "pfa_gate.study/1"
REMEDY = "Run `pfa-gate study` again to write a fresh one."

Counts = Literal["pfa", "uniform", "random"]
Kind = Literal["pfa", "uniform", "random mean", "random best"]


@dataclass(frozen=True)
class Task:
    """The samples on which a model was probed and scored.

    Attributes:
        name: `all`, or the classes with commas between.
        studied: whether trials were run on it; the whole task beside a domain has its recipes alone.
        probe: samples of the probe.
        evaluation: samples of the evaluation; 0 without one.
        accuracy: of the full model; None without an evaluation.
        stderr: standard error of the accuracy over the evaluation's samples; None for the user's own metric.
    """

    name: str
    studied: bool
    probe: int
    evaluation: int
    accuracy: float | None = None
    stderr: float | None = None


@dataclass(frozen=True)
class StudyPlan:
    """What a strategy makes of a task, before anything is cut.

    Attributes:
        task: its name.
        strategy: as it was asked for.
        filters: that stay, in all groups that may be cut.
        size: of the model by exact count; None where there is no recipe.
        keep: group name -> filters that stay.
        reason: why there is no recipe, or None.
    """

    task: str
    strategy: str
    filters: int
    size: Size | None
    keep: Mapping[str, int]
    reason: str | None = None


@dataclass(frozen=True)
class Trial:
    """One model that was cut, recovered and scored.

    Attributes:
        task: what it was probed and scored on.
        strategy: whose number of parameters it has.
        counts: where its counts come from: the strategy itself, one share of every group, or chance.
        draw: which of the random recipes; 0 for others.
        selection: which filters stay.
        seed: of a selection that draws; 0 for others.
        recovery: the steps, joined by `+`, or `none`.
        keep: group name -> filters that stay.
        size: of the model that was scored, counted on itself; None where there is none.
        accuracy: of that model; None where it could not be scored.
        stderr: standard error of the accuracy over the evaluation's samples.
        seconds: for cut, proof and recovery.
        reason: why it could not be run, or None.
        answers: against the full model's; None for a metric other than accuracy and top5.
    """

    task: str
    strategy: str
    counts: Counts
    draw: int
    selection: str
    seed: int
    recovery: str
    keep: Mapping[str, int]
    size: Size | None
    accuracy: float | None
    stderr: float | None
    seconds: float
    reason: str | None = None
    answers: AnswerSummary | None = field(default=None, metadata=LATER)


@dataclass(frozen=True)
class Row:
    """One line of the table: trials that differ only in what was drawn, or the best of them.

    Attributes:
        task, strategy, selection, recovery: as in its trials.
        kind: whose counts, and whether the mean or the best of the random ones.
        trials: that could be scored.
        failed: that could not.
        parameters, macs: mean of the trials; None where none was scored.
        accuracy: mean of the trials, or the best one's.
        stderr: standard error of that accuracy over the evaluation's samples.
        spread: standard deviation over the trials; None with fewer than two.
        seconds: mean of the trials.
        reason: of the first that failed, or None.
        answers: mean of the trials, or the best one's.
    """

    task: str
    strategy: str
    kind: Kind
    selection: str
    recovery: str
    trials: int
    failed: int
    parameters: float | None
    macs: float | None
    accuracy: float | None
    stderr: float | None
    spread: float | None
    seconds: float | None
    reason: str | None = None
    answers: AnswerSummary | None = field(default=None, metadata=LATER)


@dataclass(frozen=True)
class Study:
    """Score against size, method by method, with uniform and random recipes at equal parameters.

    Attributes:
        gate: its name.
        config: path of pfa.yaml.
        metric: of the evaluation.
        seed: of the random recipes.
        draws: random recipes for each strategy.
        tolerance: most by which a recipe at equal parameters may differ from its strategy's, as a share.
        order: by what the rows are sorted.
        filters: of all groups that may be cut.
        model: size of the full model.
        tasks: the whole one first.
        plans: by task and strategy.
        rows: the table, in order.
        trials: in the order in which they ran.
        versions: of the packages that ran it.
        seconds: of all of it.
        schema: name and version of this layout.
        direction: which way of the metric is better; studies of older versions assume higher.
        unit: share or plain; empty in studies of older versions, in which accuracy and top5 are shares.
    """

    gate: str
    config: str
    metric: str
    seed: int
    draws: int
    tolerance: float
    order: str
    filters: int
    model: Size
    tasks: tuple[Task, ...]
    plans: tuple[StudyPlan, ...]
    rows: tuple[Row, ...]
    trials: tuple[Trial, ...]
    versions: Mapping[str, str]
    seconds: float
    schema: str = STUDY_SCHEMA
    direction: Direction = field(default="higher", metadata=LATER)
    unit: Literal["", "share", "plain"] = field(default="", metadata=LATER)

    @property
    def share(self) -> bool:
        """Whether the metric is a share, whose errors are given in percentage points."""
        return is_share(self.metric, self.unit)

    @property
    def failed(self) -> tuple[Trial, ...]:
        """The trials that could not be run."""
        return tuple(trial for trial in self.trials if trial.reason is not None)


def dumps_study(study: Study) -> str:
    """A study as JSON text.

    Raises:
        ArtifactError: a number is NaN or infinite.
    """
    return text_of({"schema": STUDY_SCHEMA, **plain(study)})


def loads_study(text: str) -> Study:
    """Read a study from JSON text. Strict: what is not exactly a study is refused.

    Raises:
        ArtifactError: it is not JSON, not a study of this schema, or a value has the wrong type.

    Example:
        >>> loads_study('{"schema": "a"}')
        Traceback (most recent call last):
            ...
        pfa_gate.errors.ArtifactError: The study has the schema 'a'; this version reads 'pfa_gate.study/1'.
          Run `pfa-gate study` again to write a fresh one.
    """
    try:
        data: Any = json.loads(text)
    # A number of thousands of digits is a ValueError as well.
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"The study is not JSON: {error}.", remedy=REMEDY) from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema is None:
        raise ArtifactError("This is not a pfa_gate study: it has no schema.", remedy=REMEDY)
    if schema != STUDY_SCHEMA:
        fact = f"The study has the schema {schema!r:.80}; this version reads '{STUDY_SCHEMA}'."
        raise ArtifactError(fact, remedy=REMEDY)
    study: Study = read_as(Study, data, "The study", REMEDY)
    return study
