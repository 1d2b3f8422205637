"""What past runs measured, in the order of time."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pfa_gate.budget import Outcome
from pfa_gate.budget.wording import amount
from pfa_gate.record import Record
from pfa_gate.report.formatting import headline, metric_name, ratio, score


@dataclass(frozen=True)
class RecordFile:
    """A record, and where it was found.

    Attributes:
        place: of its file.
        when: at which time it was written, as 2026-11-20T08:30:00Z.
        record: what the run found.
    """

    place: str
    when: str
    record: Record

    @property
    def outcome(self) -> Outcome:
        """The verdict on it."""
        return headline(self.record)[0]


def height(value: float, low: float, high: float) -> float:
    """Where a value stands between two others, from 0 to 1; the middle where these are one.

    Example:
        >>> height(3.0, 2.0, 4.0), height(4.0, 2.0, 4.0), height(1e308, -1e308, 1e308), height(2.0, 2.0, 2.0)
        (0.5, 1.0, 1.0, 0.5)
    """
    # Halves, because the difference of two numbers may be none.
    span = high / 2 - low / 2
    return min(1.0, max(0.0, (value / 2 - low / 2) / span)) if span > 0 else 0.5


@dataclass(frozen=True)
class Curve:
    """One quantity over the runs; a value is None where a run did not measure it."""

    title: str
    values: tuple[float | None, ...]
    word: Callable[[float], str]

    @property
    def known(self) -> tuple[float, ...]:
        """The values that are there."""
        return tuple(value for value in self.values if value is not None)

    @property
    def ends(self) -> tuple[str, str, str, str]:
        """First, last, smallest and largest value in words; there must be one."""
        known = self.known
        first, last, low, high = (self.word(value) for value in (known[0], known[-1], min(known), max(known)))
        return first, last, low, high


@dataclass(frozen=True)
class GateHistory:
    """All runs of one gate, oldest first."""

    gate: str
    config: str
    runs: tuple[RecordFile, ...]

    def curves(self) -> tuple[Curve, ...]:
        """The quantities that at least one run has measured.

        Example:
            >>> from pfa_gate.record import Probe, Size
            >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"))
            >>> [curve.title for curve in GateHistory("digits", "pfa.yaml", (RecordFile("a", "", record),)).curves()]
            ['parameters']
        """
        found = (
            Curve("parameters", self._each(lambda record: record.model.parameters), amount),
            Curve("parameters, compressed", self._each(_left), amount),
            Curve("largest KL ratio", self._each(_largest), ratio),
            *self._scores(),
        )
        return tuple(curve for curve in found if curve.known)

    def _each(self, quantity: Callable[[Record], float | None]) -> tuple[float | None, ...]:
        return tuple(quantity(run.record) for run in self.runs)

    def _scores(self) -> Iterable[Curve]:
        found = {run.record.scores.metric: run.record.scores for run in self.runs if run.record.scores is not None}
        for metric, scores in found.items():
            word = _word(scores.share)
            name, less = metric_name(metric), ", lower is better" if scores.lower else ""
            yield Curve(f"{name}{less}", self._each(lambda record, m=metric: _score(record, m, "full")), word)  # type: ignore[misc]
            compressed = self._each(lambda record, m=metric: _score(record, m, "compressed"))  # type: ignore[misc]
            yield Curve(f"{name}, compressed{less}", compressed, word)


def gates(runs: Sequence[RecordFile]) -> tuple[GateHistory, ...]:
    """The runs of each gate, by the gates' configs and names.

    Example:
        >>> gates([])
        ()
    """
    ordered = sorted(runs, key=lambda run: (run.when, run.place))
    keys = sorted({(run.record.config, run.record.gate) for run in ordered})
    return tuple(
        GateHistory(
            gate, config, tuple(run for run in ordered if (run.record.config, run.record.gate) == (config, gate))
        )
        for config, gate in keys
    )


def _left(record: Record) -> float | None:
    return None if record.compressed is None else record.compressed.parameters


def _largest(record: Record) -> float | None:
    return max((layer.kl_ratio for layer in record.layers if layer.kl_ratio is not None), default=None)


def _score(record: Record, metric: str, which: str) -> float | None:
    scores = record.scores
    value: float | None = getattr(scores, which) if scores is not None and scores.metric == metric else None
    return value


def _word(share: bool) -> Callable[[float], str]:
    return lambda value: score(value, share)
