"""How long a smaller model takes against the full one, as plain data: each batch, and how it was measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pfa_gate.budget import LatencyMeasure

_FEWER_MACS = 0.95  # of the full model's: above, there is too little to save to tell


@dataclass(frozen=True)
class BatchTiming:
    """Times of both models for calls of one size.

    Attributes:
        samples: of a call.
        ratio: time of the smaller model over that of the full one.
        error: standard error of the ratio; None where it is not known.
        interval: 95 % interval of the ratio; None where it is not known.
        full, smaller: milliseconds of a sample; None where they are not known.
        pairs: turns that each model had.
    """

    samples: int
    ratio: float
    error: float | None
    interval: tuple[float, float] | None
    full: float | None
    smaller: float | None
    pairs: int


@dataclass(frozen=True)
class TimingRecord:
    """Times of a smaller model against the full one.

    Attributes:
        file: that was timed; empty where the models were timed in torch.
        runtime: what both ran in.
        clock: `CPU time`, on one thread, or `wall clock`.
        device: where.
        judged: samples of a call for which the budget is judged.
        batches: by samples of a call, ascending.
        reason: why no file was timed; empty where one was.
        skipped: samples of a call, or another word for it -> why it was not timed.
    """

    file: str
    runtime: str
    clock: str
    device: str
    judged: int
    batches: tuple[BatchTiming, ...]
    reason: str = ""
    skipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> BatchTiming | None:
        """The batch for which the budget is judged; None in a record that lacks it."""
        return next((batch for batch in self.batches if batch.samples == self.judged), None)

    @property
    def ratio(self) -> float | None:
        """Of that batch."""
        return self.verdict.ratio if self.verdict else None

    def saves_less_than_macs(self, macs: float) -> bool:
        """Whether the MACs fall and the time does not.

        That is so where the time saved is less than half of the share of MACs saved, even at the favourable end of its
        interval. Where less than a twentieth of the MACs is saved nothing is said.

        Args:
            macs: of the smaller model, as a share of the full model's.

        Example:
            >>> batch = BatchTiming(1, 0.97, 0.01, (0.95, 0.99), 2.0, 1.94, 16)
            >>> timing = TimingRecord("model.onnx", "ONNX Runtime", "CPU time", "CPU", 1, (batch,))
            >>> timing.saves_less_than_macs(0.64), timing.saves_less_than_macs(0.92)
            (True, False)
        """
        batch = self.verdict
        if batch is None:
            return False
        lowest = batch.interval[0] if batch.interval else batch.ratio
        return macs <= _FEWER_MACS and 1 - lowest < (1 - macs) / 2

    def measure(self) -> LatencyMeasure | None:
        """What the budget is judged on.

        Example:
            >>> batch = BatchTiming(1, 0.8, 0.01, (0.78, 0.82), 2.0, 1.6, 16)
            >>> TimingRecord("model.onnx", "ONNX Runtime", "CPU time", "CPU", 1, (batch,)).measure().ratio
            0.8
        """
        batch = self.verdict
        return None if batch is None else LatencyMeasure(batch.ratio, batch.interval, self.reason, self.device)


@dataclass(frozen=True)
class RoundedForecast:
    """What `recipe.round_to: auto` would give in place of counts that kernels compute as slowly as larger ones.

    Attributes:
        parameters, macs: of the compressed model.
        keep: filters kept per group.
    """

    parameters: int
    macs: int
    keep: Mapping[str, int]
