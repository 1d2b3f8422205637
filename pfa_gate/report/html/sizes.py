"""What the page shows of sizes before and after, and of what each step of recovery bought."""

from collections.abc import Iterator
from dataclasses import dataclass

from pfa_gate.record import Record
from pfa_gate.report.formatting import SizeRow, footprint
from pfa_gate.report.recovery import RepairRow, recovery_rows, repair_rows, repair_summary, repaired

_MOST_REPAIRS = 400


@dataclass(frozen=True)
class Tile:
    """A line of the footprint, and how much of a bar stays full; None for no bar."""

    row: SizeRow
    part: float | None


@dataclass(frozen=True)
class Step:
    """A step of the waterfall: a bar from `start` over `width`, in percent of the picture."""

    name: str
    score: str
    change: str
    seconds: str
    detail: str
    start: float
    width: float
    kind: str


@dataclass(frozen=True)
class Repairs:
    """A step layer by layer: the rows that are shown, and how many are not."""

    name: str
    summary: str
    rows: tuple[RepairRow, ...]
    hidden: int


def tiles(record: Record) -> tuple[Tile, ...]:
    """The footprint, each size with the share that is left.

    Example:
        >>> from pfa_gate.record import CompressedRecord, Exact, Probe, Size
        >>> part, sizes, probe = CompressedRecord(4, 16, 36, None, Exact(0.0, True)), Size(8, 32, 72), Probe(64, "ab")
        >>> [tile.part for tile in tiles(Record("digits", "pfa.yaml", {}, {}, sizes, probe, compressed=part))]
        [50.0, 50.0, 50.0]
    """
    full, part = record.model, record.compressed
    sizes = {"parameters": full.parameters, "bytes": full.bytes, "MACs": full.macs}
    after = {} if part is None else {"parameters": part.parameters, "bytes": part.bytes, "MACs": part.macs}
    shares = {name: 100 * after[name] / sizes[name] for name in after if sizes[name]}
    return tuple(Tile(row, _bounded(shares.get(row.name))) for row in footprint(record))


def steps(record: Record) -> tuple[Step, ...]:
    """The waterfall: what is left after the cut, and what each step gave back or took; none without recovery."""
    return tuple(_steps(record))


def repairs(record: Record) -> tuple[Repairs, ...]:
    """What each step did to each layer; of more than 400 those left alone and those with the largest errors."""
    return tuple(
        Repairs(
            name=step.step,
            summary=repair_summary(step),
            rows=repair_rows(step, _MOST_REPAIRS),
            hidden=max(0, len(step.repairs) - _MOST_REPAIRS),
        )
        for step in repaired(record)
    )


def _steps(record: Record) -> Iterator[Step]:
    rows = recovery_rows(record)
    known = [row.value for row in rows if row.value is not None]
    lower = record.scores is not None and record.scores.lower
    low = 0.0 if record.scores is not None and record.scores.share else min([0.0, *known])
    span = (max(known, default=0.0) - low) or 1.0
    last: float | None = None
    for row in rows:
        value = row.value
        start = low if last is None or value is None else min(last, value)
        end = low if value is None else value if last is None else max(last, value)
        kind = "none" if value is None else "whole" if last is None else _gain(value, last, lower)
        yield Step(
            name=row.name,
            score=row.score,
            change=row.change,
            seconds=row.seconds,
            detail=row.detail,
            start=round(100 * (start - low) / span, 2),
            width=round(100 * (end - start) / span, 2),
            kind=kind,
        )
        last = value if value is not None else last


def _gain(value: float, last: float, lower: bool) -> str:
    """The colour of a bar: what a step wins back is a rise, also of a metric of which less is better."""
    return "rise" if value == last or (value < last) == lower else "fall"


def _bounded(share: float | None) -> float | None:
    return None if share is None else round(min(100.0, max(0.0, share)), 2)
