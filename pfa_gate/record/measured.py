"""What was measured, as plain data: each layer, the scores of both models, and each step of recovery."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pfa_gate.budget import LayerMeasure, Scored
from pfa_gate.compress.repair import Repair
from pfa_gate.config.field_types import SHARES, Direction
from pfa_gate.record.plain_data import LATER


@dataclass(frozen=True)
class Correlations:
    """|Pearson| between the filters of a layer, coarse: a picture for people, not for judging.

    Attributes:
        side: rows and columns of the picture.
        order: the filters in clustered order, one for each row; empty where a row is the mean of several filters.
        cells: the upper triangle row by row, diagonal included: one of sixteen signs a cell, `0` is 0 and `f` is 1.
    """

    side: int
    order: tuple[int, ...]
    cells: str


@dataclass(frozen=True)
class LayerRecord:
    """One layer: what was measured, and how many of its filters stay.

    Attributes:
        name: the module's dotted name.
        kind: the module's class.
        filters: number of filters C.
        group: the coupled group its filters live or die with; None where it has none.
        calls: how often one forward pass calls the layer.
        samples: responses it was measured on.
        kl: KL divergence of its spectrum from the uniform one, nats.
        kl_ratio: the same over ln C, in [0, 1].
        kl_ratio_standardised: kl_ratio with all filters at unit variance, to tell scale from correlation.
        kl_stderr: jackknife standard error of kl_ratio, on the same scale.
        peak_stderr: jackknife standard error of peak_correlation.
        mean_stderr: jackknife standard error of mean_correlation.
        correlations: a coarse picture of them; None where there is none.
        sensitivity: how far the answers are from the full model's where its group alone is cut to half and compensated;
            None where `pfa-gate sensitivity` was not run.
        kl_bias: expected upward bias of kl from few samples, nats.
        peak_correlation: largest |Pearson| between two active filters.
        mean_correlation: mean |Pearson| between active filters.
        inactive: number of filters that never change.
        eigenvalues: of the covariance, descending, their sum 1 (all 0 where nothing moves).
        keep: filters the recipe keeps; None where the layer is not cut.
        kept: which filters stay, sorted; None where the layer is not cut.
        skipped: why no verdict is due on the layer; None for all others.
    """

    name: str
    kind: str
    filters: int
    group: str | None = None
    calls: int = 1
    samples: int = 0
    kl: float | None = None
    kl_ratio: float | None = None
    kl_ratio_standardised: float | None = None
    kl_stderr: float | None = None
    kl_bias: float | None = None
    peak_correlation: float | None = None
    mean_correlation: float | None = None
    inactive: int | None = None
    eigenvalues: tuple[float, ...] = ()
    keep: int | None = None
    kept: tuple[int, ...] | None = None
    skipped: str | None = None
    peak_stderr: float | None = None
    mean_stderr: float | None = None
    correlations: Correlations | None = field(default=None, metadata=LATER)
    sensitivity: float | None = field(default=None, metadata=LATER)

    def measure(self) -> LayerMeasure:
        """What budgets are judged on.

        Example:
            >>> LayerRecord("stem", "Conv2d", 16, kl_ratio=0.2, inactive=0).measure().kl_ratio
            0.2
        """
        return LayerMeasure(
            name=self.name,
            filters=self.filters,
            kl_ratio=self.kl_ratio,
            kl_stderr=self.kl_stderr,
            kl_bias=self.kl_bias,
            peak_correlation=self.peak_correlation,
            mean_correlation=self.mean_correlation,
            inactive=self.inactive,
            skipped=self.skipped,
            peak_stderr=self.peak_stderr,
            mean_stderr=self.mean_stderr,
        )


@dataclass(frozen=True)
class Scores:
    """The metric on the evaluation data; `accuracy` and `top5` are fractions.

    Attributes:
        metric: accuracy, top5, a class of torchmetrics or module:callable.
        full: score of the full model.
        compressed: score of the compressed one; None where there is none.
        drop: by how much it gets worse: full minus compressed where higher is better, else compressed minus full.
        interval: 95 % interval of the drop, paired over samples, or over parts for the user's own metric.
        basis: what the interval is made of, in words; empty where there is none, and in records of older versions.
        direction: which way is better; records of older versions assume higher.
        unit: share, whose changes are given in percentage points, or plain; empty in records of older versions, whose
            accuracy and top5 are shares.
        chance: why no drop is judged: the full model is no better than chance; empty if it is, or if that is meant.
    """

    metric: str
    full: float | None
    compressed: float | None
    drop: float | None
    interval: tuple[float, float] | None = None
    direction: Direction = field(default="higher", metadata=LATER)
    unit: Literal["", "share", "plain"] = field(default="", metadata=LATER)
    chance: str = field(default="", metadata=LATER)
    basis: str = field(default="", metadata=LATER)

    @property
    def share(self) -> bool:
        """Whether it is a share, whose changes are given in percentage points."""
        return is_share(self.metric, self.unit)

    @property
    def lower(self) -> bool:
        """Whether a lower score is better."""
        return self.direction == "lower"

    def measure(self) -> Scored:
        """What budgets are judged on, without the noise: a record does not have the number of samples.

        Example:
            >>> Scores("net:loss", 0.36, 6.37, 6.01, direction="lower", unit="plain").measure().fall
            6.01
        """
        return Scored(self.full, self.compressed, self.share, self.lower, chance=self.chance)


def is_share(metric: str, unit: str) -> bool:
    """Whether a score of this metric is a share; older records name no unit, and their accuracy and top5 are shares.

    Example:
        >>> is_share("top5", ""), is_share("net:loss", ""), is_share("net:loss", "plain")
        (True, False, False)
    """
    return unit == "share" or (not unit and metric in SHARES)


@dataclass(frozen=True)
class AnswerSummary:
    """The answers of a model against the full one's; None where they were not measured.

    Attributes:
        agreement: share of samples with the same answer.
        divergence: mean KL divergence, nats.
        output_error: relative to the outputs' spread.
        class_drop: largest fall of the recall of a class of at least 20 samples, as a share.
    """

    agreement: float | None = None
    divergence: float | None = None
    output_error: float | None = None
    class_drop: float | None = None


@dataclass(frozen=True)
class RecoveryStep:
    """One step from the cut to the model that is delivered.

    Attributes:
        step: cut, then the steps of pfa.yaml in their order.
        accuracy: the metric after it; None without an evaluation.
        seconds: that it took.
        detail: what it did, in one line.
        repairs: layer by layer in forward order, where the step is compensate.
        answers: against the full model's; None where the score's pass did not give them.
        spared: layer -> why the step, which changes the kind of layers, left it as it is.
    """

    step: str
    accuracy: float | None
    seconds: float
    detail: str = ""
    repairs: tuple[Repair, ...] = field(default=(), metadata=LATER)
    answers: AnswerSummary | None = field(default=None, metadata=LATER)
    spared: Mapping[str, str] = field(default_factory=dict, metadata=LATER)
