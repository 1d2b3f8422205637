"""What a gate measured, as plain numbers: all that a verdict may depend on."""

from dataclasses import dataclass

from pfa_gate.budget.wording import difference


@dataclass(frozen=True)
class LayerMeasure:
    """What the probe said about one layer.

    Attributes:
        name: the module's dotted name.
        filters: number of filters, at least 1.
        kl_ratio: KL divergence over ln C, in [0, 1]; None or NaN where it could not be measured.
        kl_stderr: jackknife standard error of kl_ratio, on the same scale; None where unknown.
        kl_bias: expected upward bias of the KL divergence from few samples, in nats; None where unknown.
        peak_correlation: largest |Pearson| between two active filters, in [0, 1].
        mean_correlation: mean |Pearson| between active filters, in [0, 1].
        inactive: number of filters that never change.
        peak_stderr: standard error of peak_correlation; None where unknown.
        mean_stderr: standard error of mean_correlation; None where unknown.
        skipped: why no verdict is due on this layer (it feeds the output, say); None for all others.
            A layer that should have been measured and was not is no skipped layer: leave its numbers None.
    """

    name: str
    filters: int
    kl_ratio: float | None = None
    kl_stderr: float | None = None
    kl_bias: float | None = None
    peak_correlation: float | None = None
    mean_correlation: float | None = None
    inactive: int | None = None
    skipped: str | None = None
    peak_stderr: float | None = None
    mean_stderr: float | None = None


@dataclass(frozen=True)
class Size:
    """Parameters (count), bytes of the stored weights, MACs of one sample."""

    parameters: int
    bytes: int
    macs: int


@dataclass(frozen=True)
class Exactness:
    """Outcome of the surgery's proof.

    Attributes:
        max_error: largest difference between compressed and silenced model, relative to the output's scale.
        passed: whether every output agreed.
        put_back: groups whose own proof failed and which were left whole.
        tolerance: largest relative error allowed (1e-5 in float32, 1e-10 in float64).
    """

    max_error: float
    passed: bool
    put_back: tuple[str, ...] = ()
    tolerance: float = 1e-5


@dataclass(frozen=True)
class Scored:
    """What the evaluation gave.

    Attributes:
        full: score of the full model; in the metric's own unit, a share in [0, 1].
        compressed: score of the compressed one; None where there is none.
        share: whether it is a share, whose changes are told in percentage points.
        lower: whether a lower score is better.
        samples: how many were scored.
        interval: 95 % interval of `fall`, paired over samples, or over parts; None where there is none.
        chance: why no fall is judged: the full model is no better than chance; empty if it is, or if that is meant.
    """

    full: float | None
    compressed: float | None = None
    share: bool = True
    lower: bool = False
    samples: int = 0
    interval: tuple[float, float] | None = None
    chance: str = ""

    @property
    def fall(self) -> float | None:
        """By how much the score gets worse from the full to the compressed model; negative where it gets better.

        Example:
            >>> Scored(0.99, 0.98).fall, Scored(0.36, 6.37, share=False, lower=True).fall
            (0.01, 6.01)
        """
        if self.full is None or self.compressed is None:
            return None
        rise = difference(self.compressed, self.full)
        return rise if self.lower else -rise + 0.0


@dataclass(frozen=True)
class Measurements:
    """Everything budgets are judged on.

    Each `*_reason` says why the value before it is None.

    Attributes:
        layers: one measure per layer, in model order, skipped ones included.
        full: size of the full model.
        compressed: size of the compressed model.
        scores: of both models; None without an evaluation.
        scores_reason: why there are none, or none of the compressed model.
        latency: time of the compressed model over that of the full one (0.8 is 80 %).
        exact: the surgery's proof; None where nothing was compressed, for the reason `compressed_reason`.
    """

    layers: tuple[LayerMeasure, ...]
    full: Size
    compressed: Size | None = None
    compressed_reason: str = ""
    scores: Scored | None = None
    scores_reason: str = ""
    latency: float | None = None
    latency_reason: str = ""
    exact: Exactness | None = None
