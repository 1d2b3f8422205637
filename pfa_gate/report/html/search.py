"""The curve of a search on the page: how far the score falls, against the size, with every trial and the limit."""

from dataclasses import dataclass

from pfa_gate.record import Record
from pfa_gate.record.search import SearchRecord
from pfa_gate.report.plot_axis import PlotAxis, axis_of
from pfa_gate.report.search import TrialRow, part_of_full, search_sentences, searched, trial_rows

_MOST = 1e9  # no search comes to such numbers: the record is a stranger's
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 560, 240, 64, 16, 14, 40


@dataclass(frozen=True)
class Tick:
    """A tick of an axis: where it is, and what is written there."""

    place: float
    text: str


@dataclass(frozen=True)
class Dot:
    """One trial in the plot: where it is, how it is drawn, and what it says when it is pointed at."""

    x: float
    y: float
    kind: str
    title: str


@dataclass(frozen=True)
class SearchCurve:
    """A search as it is drawn, in units of the picture.

    Attributes:
        sentences: what was searched for, and what was found.
        rows: every trial in the order in which they were tried.
        of: what is on the horizontal axis.
        dots: the trials, by size.
        line: the path through them.
        limit: the height of the limit; None where it lies outside.
        across, up: ticks of both axes.
        width, height, left, right, top, base: of the picture and its frame.
    """

    sentences: tuple[str, ...]
    rows: tuple[TrialRow, ...]
    of: str
    dots: tuple[Dot, ...]
    line: str
    limit: float
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    right: int = _WIDTH - _RIGHT
    top: int = _TOP
    base: int = _HEIGHT - _BOTTOM


def curve(record: Record) -> SearchCurve | None:
    """The picture of a record's search; None for any other strategy.

    Example:
        >>> from pfa_gate.record import Probe, Size
        >>> curve(Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"))) is None
        True
    """
    found = searched(record)
    if found is None or max(map(abs, _numbers(record, found))) > _MOST:
        return None
    return _drawn(record, found)


def _numbers(record: Record, found: SearchRecord) -> list[float]:
    """All that is drawn."""
    sizes = [part_of_full(trial, found, record) for trial in found.trials]
    return [found.limit, *sizes, *(trial.drop for trial in found.trials)]


def _drawn(record: Record, found: SearchRecord) -> SearchCurve:
    sizes = [part_of_full(trial, found, record) for trial in found.trials]
    falls = [trial.drop for trial in found.trials]
    is_share = record.scores is not None and record.scores.share
    x, y = axis_of([*sizes, 1.0], True), axis_of([*falls, found.limit, 0.0], is_share)
    rows = trial_rows(record)
    places = [(_across(x, size), _up(y, fall)) for size, fall in zip(sizes, falls, strict=True)]
    kinds = {"chosen": "chosen", "holds": "held", "does not hold": "broken"}
    dots = [
        Dot(*place, kinds[row.verdict], f"trial {row.number}: {row.of_full}, {row.change}, {row.verdict}")
        for place, row in zip(places, rows, strict=True)
    ]
    ends = sorted([*places, (_across(x, 1.0), _up(y, 0.0))])
    return SearchCurve(
        sentences=search_sentences(record),
        rows=rows,
        of={"macs": "MACs"}.get(found.of, found.of),
        dots=tuple(sorted(dots, key=lambda dot: (dot.x, dot.y))),
        line="M" + "L".join(f"{left} {height}" for left, height in ends),
        limit=_up(y, found.limit),
        across=tuple(Tick(_across(x, tick), x.word(tick)) for tick in x.ticks()),
        up=tuple(Tick(_up(y, tick), y.word(tick).replace("%", " pp")) for tick in y.ticks()),  # falls, not shares
    )


def _across(axis: PlotAxis, value: float) -> float:
    return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * axis.position(value), 1)


def _up(axis: PlotAxis, value: float) -> float:
    """A fall is drawn downwards."""
    return round(_TOP + (_HEIGHT - _TOP - _BOTTOM) * axis.position(value), 1)
