"""The time of the files in words: against the full model, beside the multiply-accumulates that are left."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pfa_gate.budget.wording import percent, plural, significant
from pfa_gate.record import BatchTiming, CompressedRecord, Record, TimingRecord

_FORECAST = "round_to: auto"
_AT_A_TIME = 8  # filters that a kernel computes at a time


@dataclass(frozen=True)
class TimeRow:
    """A file, or what a recipe would give, for calls of one size.

    Attributes:
        file: its name; what both ran in where there was none.
        samples: of a call.
        macs: as a share of the full model's.
        multiples: how many counts of the recipe are multiples of 8.
        full, smaller: time of a sample in the full model and in this one.
        ratio: of the two.
        error: standard error of the ratio.
    """

    file: str
    samples: str
    macs: str
    multiples: str
    full: str
    smaller: str
    ratio: str
    error: str


def time_rows(record: Record) -> tuple[TimeRow, ...]:
    """Each file for each size of a call, and what `round_to: auto` would give; empty where nothing was timed.

    Example:
        >>> from pfa_gate.record import Probe, Size
        >>> batch = BatchTiming(1, 0.8, 0.01, (0.78, 0.82), 2.0, 1.6, 16)
        >>> timing = TimingRecord("model.onnx", "ONNX Runtime", "CPU time", "CPU", 1, (batch,))
        >>> part = CompressedRecord(4, 16, 36, 0.8, None, timing=timing)
        >>> time_rows(Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"), compressed=part))
        (TimeRow(file='model.onnx', samples='1', macs='44.4%', multiples='', full='2 ms', smaller='1.6 ms', \
ratio='80.0%', error='1.0%'),)
    """
    return tuple(_rows(record))


def _rows(record: Record) -> Iterator[TimeRow]:
    part, file = record.compressed, record.quantized
    keep = record.recipe.keep if record.recipe else {}
    macs = _share(part.macs if part else None, record)
    for timing in (part.timing if part else None, file.timing if file else None):
        for batch in timing.batches if timing else ():
            yield _row((timing.file or timing.runtime) if timing else "", batch, (macs, _multiples(keep)))
    if part is not None and part.rounded is not None:
        told = _share(part.rounded.macs, record), _multiples(part.rounded.keep)
        yield TimeRow(_FORECAST, "", *told, "", "", "not measured", "")


def _row(name: str, batch: BatchTiming, told: tuple[str, str]) -> TimeRow:
    full, smaller = ("" if taken is None else f"{significant(taken)} ms" for taken in (batch.full, batch.smaller))
    error = "" if batch.error is None else percent(batch.error)
    return TimeRow(name, f"{batch.samples:,}", *told, full, smaller, percent(batch.ratio), error)


def _share(macs: int | None, record: Record) -> str:
    return percent(macs / record.model.macs) if macs is not None and record.model.macs else ""


def _multiples(keep: Mapping[str, int]) -> str:
    return f"{sum(count % _AT_A_TIME == 0 for count in keep.values())} of {len(keep)}" if keep else ""


def time_sentences(record: Record) -> tuple[str, ...]:
    """How the times were measured, what was not timed, and whether fewer MACs save time.

    Example:
        >>> from pfa_gate.record import Probe, Size
        >>> batch = BatchTiming(1, 0.97, 0.01, (0.95, 0.99), 2.0, 1.94, 16)
        >>> timing = TimingRecord("model.onnx", "ONNX Runtime 1.31", "CPU time", "CPU", 1, (batch,))
        >>> part = CompressedRecord(4, 16, 36, 0.97, None, timing=timing)
        >>> for sentence in time_sentences(
        ...     Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"), compressed=part)
        ... ):
        ...     print(sentence)
        CPU time on one thread in ONNX Runtime 1.31, both models in turns; the budget is judged for calls of 1 sample.
        The MACs fall to 44.4% and the time does not: 97.0%.
    """
    return tuple(_sentences(record))


def _sentences(record: Record) -> Iterator[str]:
    part, file = record.compressed, record.quantized
    told: set[str] = set()
    for timing in (part.timing if part else None, file.timing if file else None):
        for sentence in _how(timing) if timing else ():
            if sentence not in told:
                yield sentence
            told.add(sentence)
    if part is None or part.timing is None or part.macs is None or not record.model.macs:
        return
    if part.timing.saves_less_than_macs(part.macs / record.model.macs):
        share, ratio = _share(part.macs, record), part.timing.ratio or 0.0
        yield f"The MACs fall to {share} and the time does not: {percent(ratio)}.{_forecast(record)}"


def _how(timing: TimingRecord) -> Iterator[str]:
    clock = "CPU time on one thread" if timing.clock == "CPU time" else f"Wall clock of {timing.device}"
    calls = f"the budget is judged for calls of {plural(timing.judged, 'sample')}"
    if timing.reason:
        yield f"Measured in torch, eager, on {timing.device}, because {timing.reason}."
    yield f"{clock} in {timing.runtime}, both models in turns; {calls}."
    for what, reason in timing.skipped.items():
        yield f"Not timed for calls of {what} {'sample' if what == '1' else 'samples'}: {reason}."


def _forecast(record: Record) -> str:
    rounded = record.compressed.rounded if record.compressed else None
    if rounded is None:
        return ""
    counts = f"{_multiples(rounded.keep)} counts in multiples of {_AT_A_TIME}"
    return f" recipe.{_FORECAST} would give {_share(rounded.macs, record)} of the MACs with {counts}."


def time_interval(part: CompressedRecord) -> str:
    """The 95 % interval of the ratio that the budget is judged on; empty where there is none.

    Example:
        >>> batch = BatchTiming(1, 0.8, 0.01, (0.78, 0.82), 2.0, 1.6, 16)
        >>> timing = TimingRecord("model.onnx", "ONNX Runtime", "CPU time", "CPU", 1, (batch,))
        >>> time_interval(CompressedRecord(4, 16, 36, 0.8, None, timing=timing))
        '95%: 78.0% to 82.0%'
    """
    batch = part.timing.verdict if part.timing else None
    ends = batch.interval if batch else None
    return f"95%: {percent(ends[0])} to {percent(ends[1])}" if ends else ""
