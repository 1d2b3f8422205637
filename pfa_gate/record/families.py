"""The record of a study of families: every model that was made smaller, measured as the file that would ship.

Sizes are counts, shares are of the full model's, accuracies are values of the metric, times are seconds unless said.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pfa_gate.budget import Size
from pfa_gate.config.field_types import Direction
from pfa_gate.errors import ArtifactError
from pfa_gate.record.measured import AnswerSummary, is_share
from pfa_gate.record.plain_data import plain, read_as, text_of
from pfa_gate.record.timing import BatchTiming

FAMILIES_SCHEMA = "pfa_gate.families/1"
FAMILY_ORDER = "score, best first; then divergence and bytes, lowest first"
_REMEDY = "Run `pfa-gate study --families` again to write a fresh one."

FamilyRule = Literal["own", "uniform", "random"]


@dataclass(frozen=True)
class FamilyTrial:
    """One model that a family made, as its file was measured.

    Attributes:
        family: its name.
        rule: what divides the size among the layers: the family's own rule, the same for all, or chance.
        draw: which of the random ones; 0 for others.
        asked: share of the full model's bytes that it was to have; None where nothing of the family can be moved.
        config: what pfa.yaml would say for it; empty where it cannot say it.
        counts: group -> filters that stay, of groups that are cut.
        file: that ships; empty where there is none.
        parameters: that the file stores.
        bytes: of all tensors that the file stores.
        macs: of one sample.
        accuracy: of the file.
        stderr: standard error of the accuracy over the evaluation's samples.
        answers: of the file against the full model's.
        time: of one call, against the full model's file; None where it was not timed.
        timed: the file that was timed; another than `file` where no runtime runs that.
        untimed: why it was not timed.
        seconds: for all of it.
        reason: why there is no such model; None where there is one.
        failed: whether the reason is a fault, and no limit of the family or of the model.
    """

    family: str
    rule: FamilyRule
    draw: int
    asked: float | None
    config: str
    counts: Mapping[str, int] = field(default_factory=dict)
    file: str = ""
    parameters: int | None = None
    bytes: int | None = None
    macs: int | None = None
    accuracy: float | None = None
    stderr: float | None = None
    answers: AnswerSummary | None = None
    time: BatchTiming | None = None
    timed: str = ""
    untimed: str = ""
    seconds: float = 0.0
    reason: str | None = None
    failed: bool = False


@dataclass(frozen=True)
class FamilyStudy:
    """All families on one model, at equal bytes and at equal time of the file.

    Attributes:
        gate: its name.
        config: path of pfa.yaml.
        metric: of the evaluation.
        samples: of the evaluation.
        model: size of the full model.
        accuracy: of the full model.
        stderr: standard error of the accuracy over the evaluation's samples; None for the user's own metric.
        selection: which filters stay.
        recovery: the steps, joined by `+`, or `none`.
        families: the names of all that were tried.
        sizes: shares of the full model's bytes at which they are compared, the largest first.
        times: shares of the full model's time, the largest first.
        draws: random recipes at each size.
        seed: of the random recipes.
        batch: samples of a call that was timed.
        trials: in the order in which they ran.
        versions: of the packages that ran it.
        seconds: of all of it.
        runtime: in which the files were timed.
        notes: what a reader of a family's figures must know.
        order: by what rows are sorted.
        schema: name and version of this layout.
        direction: which way of the metric is better.
        unit: share or plain.
    """

    gate: str
    config: str
    metric: str
    samples: int
    model: Size
    accuracy: float
    stderr: float | None
    selection: str
    recovery: str
    families: tuple[str, ...]
    sizes: tuple[float, ...]
    times: tuple[float, ...]
    draws: int
    seed: int
    batch: int
    trials: tuple[FamilyTrial, ...]
    versions: Mapping[str, str]
    seconds: float
    runtime: str = ""
    notes: tuple[str, ...] = ()
    order: str = FAMILY_ORDER
    schema: str = FAMILIES_SCHEMA
    direction: Direction = "higher"
    unit: Literal["share", "plain"] = "share"

    @property
    def share(self) -> bool:
        """Whether the metric is a share, whose errors are given in percentage points."""
        return is_share(self.metric, self.unit)

    @property
    def failed(self) -> tuple[FamilyTrial, ...]:
        """The trials that met a fault."""
        return tuple(trial for trial in self.trials if trial.failed)


def dumps_families(study: FamilyStudy) -> str:
    """A study of families as JSON text.

    Raises:
        ArtifactError: a number is NaN or infinite.
    """
    return text_of({"schema": FAMILIES_SCHEMA, **plain(study)})


def loads_families(text: str) -> FamilyStudy:
    """Read a study of families from JSON text. Strict: what is not exactly one is refused.

    Raises:
        ArtifactError: it is not JSON, not a study of families of this schema, or a value has the wrong type.

    Example:
        >>> loads_families('{"schema": "a"}')
        Traceback (most recent call last):
            ...
        pfa_gate.errors.ArtifactError: The study has the schema 'a'; this version reads 'pfa_gate.families/1'.
          Run `pfa-gate study --families` again to write a fresh one.
    """
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"The study of families is not JSON: {error}.", remedy=_REMEDY) from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != FAMILIES_SCHEMA:
        fact = f"The study has the schema {schema!r:.80}; this version reads '{FAMILIES_SCHEMA}'."
        raise ArtifactError(fact, remedy=_REMEDY)
    study: FamilyStudy = read_as(FamilyStudy, data, "The study of families", _REMEDY)
    return study
