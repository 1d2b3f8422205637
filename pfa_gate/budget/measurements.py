"""What a gate measured, as plain numbers, and each value in the unit of a baseline.

That unit is a count, percentage points of a share, a metric's own unit else, or percent of the full model's latency.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pfa_gate.budget.answers import Answers, answer_values, points
from pfa_gate.budget.latency import LatencyMeasure
from pfa_gate.budget.parity import Parity
from pfa_gate.budget.sizes import PartSize, Size, known_sizes
from pfa_gate.budget.wording import difference
from pfa_gate.config import Limit
from pfa_gate.config.budgets import ANSWERS, DROPS, PARITY

_DROP, _FALL = DROPS
_NATS = "divergence"


@dataclass(frozen=True)
class LayerMeasure:
    """What was measured of one layer on the probe.

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
class Exactness:
    """Outcome of the proof.

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
        share: whether it is a share, whose changes are given in percentage points.
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
class QuantizedMeasure:
    """What was measured of the int8 file, as a runtime runs it.

    Attributes:
        size: elements of its weights, and bytes of all tensors that it stores.
        scores: of the full model and of it; None without an evaluation.
        answers: against those of the full model; None where they were not compared.
        latency: of it; None where it was not timed, for the reason `latency_reason`.
        called: what people call it.
    """

    size: PartSize
    scores: Scored | None = None
    answers: Answers | None = None
    latency: LatencyMeasure | None = None
    latency_reason: str = ""
    called: str = "int8 file"


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
        timed: the same with how sure it is; None where that is not known.
        exact: the proof; None where nothing was compressed, for the reason `compressed_reason`.
        uncounted: why the compressed model's multiply-accumulates are not known.
        smaller: what the compressed model is called: `candidate` where another tool made it.
        answers: of the compressed model against the full one; None where they were not compared.
        quantized: the int8 file; None where there is none.
        parity: section of the budgets -> its file in the runtime against its reference.
        parity_reasons: section -> why there is none.
        unfollowed: why a model's memory and energy are not known, by `model` and `compressed`.
    """

    layers: tuple[LayerMeasure, ...]
    full: Size
    compressed: Size | PartSize | None = None
    compressed_reason: str = ""
    scores: Scored | None = None
    scores_reason: str = ""
    latency: float | None = None
    latency_reason: str = ""
    timed: LatencyMeasure | None = None
    exact: Exactness | None = None
    uncounted: str = ""
    smaller: str = "compressed model"
    answers: Answers | None = None
    answers_reason: str = ""
    quantized: QuantizedMeasure | None = None
    quantized_reason: str = ""
    parity: Mapping[str, Parity] = field(default_factory=dict)
    parity_reasons: Mapping[str, str] = field(default_factory=dict)
    unfollowed: Mapping[str, str] = field(default_factory=dict)

    def of(self, area: str) -> "Measurements":
        """The same with the int8 file in the place of the compressed model, for the budgets of `quantized`.

        Example:
            >>> file = QuantizedMeasure(PartSize(9, 18, None))
            >>> Measurements((), full=Size(9, 36, 81), quantized=file).of("quantized").compressed.bytes
            18
        """
        if area != "quantized":
            return self
        file, why = self.quantized, self.quantized_reason
        return replace(
            self,
            compressed=file.size if file else None,
            compressed_reason=why,
            scores=file.scores if file else None,
            scores_reason=why or "pfa.yaml has no evaluation",
            latency=file.latency.ratio if file and file.latency else None,
            latency_reason=file.latency_reason if file else why,
            timed=file.latency if file else None,
            answers=file.answers if file else None,
            answers_reason=why,
            smaller=file.called if file else "int8 file",
        )


def observed_values(measurements: Measurements) -> dict[str, float]:
    """What was measured of the models as wholes, by budget; what was not is left out.

    Example:
        >>> shares = Measurements((), full=Size(9, 36, 81), scores=Scored(0.994, 0.99))
        >>> observed_values(shares)["compressed.accuracy_drop"]
        0.4
    """
    values: dict[str, float] = known_sizes(measurements.full, "model.")
    for area in ("compressed", *(["quantized"] if measurements.quantized else [])):
        values |= {f"{area}.{key}": value for key, value in _of_smaller(measurements.of(area)).items()}
    return values | {f"{area}.{PARITY}": found.flips for area, found in measurements.parity.items()}


def _of_smaller(measurements: Measurements) -> dict[str, float]:
    """What was measured of the smaller model, by the key of its budget."""
    values: dict[str, float] = {}
    if measurements.compressed is not None:
        values |= known_sizes(measurements.compressed)
    scores = measurements.scores
    if scores is not None and scores.fall is not None and not scores.chance:
        values[_FALL] = round(100 * scores.fall, 9) if scores.share else scores.fall
        if scores.share:
            values[_DROP] = values[_FALL]
    if measurements.latency is not None:
        values["latency"] = 100 * measurements.latency
    return values | (answer_values(measurements.answers) if measurements.answers is not None else {})


def layer_values(layer: LayerMeasure) -> dict[str, float]:
    """What was measured of a layer, by the key of its budget.

    Example:
        >>> layer_values(LayerMeasure("stem", 8, kl_ratio=0.4, inactive=0))
        {'kl': 0.4, 'inactive': 0}
    """
    values = {
        "kl": layer.kl_ratio,
        "peak_correlation": layer.peak_correlation,
        "mean_correlation": layer.mean_correlation,
        "inactive": layer.inactive,
    }
    return {key: value for key, value in values.items() if value is not None}


def in_plain_units(limit: Limit, budget: str, measurements: Measurements) -> Limit:
    """A limit with its maximum, and the increase of a drop, as plain numbers in the unit of `observed_values`."""
    key = budget.partition(".")[2]
    if key in DROPS and not _shares(measurements):
        return limit  # a plain number, in the metric's own unit
    if key in DROPS:
        increase = limit.increase and replace(limit.increase, value=_points(limit.increase), unit="pp")
        return replace(limit, value=_points(limit), unit="absolute", increase=increase)
    if key == "latency":
        return replace(limit, unit="absolute")
    if key in (_NATS, PARITY):
        return limit
    if key in ANSWERS:
        increase = limit.increase and replace(limit.increase, value=points(limit.increase), unit="pp")
        return replace(limit, value=points(limit), unit="absolute", increase=increase)
    return replace(limit, value=limit.of(getattr(measurements.full, key) or 0), unit="absolute")


def in_declared_units(limit: Limit, budget: str, measurements: Measurements) -> Limit:
    """A limit that followed from a baseline, in the unit in which the budget is judged."""
    key = budget.partition(".")[2]
    if key in DROPS and _shares(measurements):
        return replace(limit, unit="pp", text=f"{limit.text} pp")
    if key in ANSWERS and key != _NATS:
        sign = " pp" if key.endswith("drop") else "%"
        return replace(limit, unit="pp" if key.endswith("drop") else "percent", text=f"{limit.text}{sign}")
    if key == "latency":
        return replace(limit, unit="percent", text=f"{limit.text}%")
    return limit


def _shares(measurements: Measurements) -> bool:
    return measurements.scores is None or measurements.scores.share


def _points(limit: Limit) -> float:
    return limit.value if limit.unit == "pp" else 100 * limit.value
