"""Live bytes along the program on the page: one line for each model, its peak named, and what is live there."""

from dataclasses import dataclass, replace

from pfa_gate.budget.wording import amount
from pfa_gate.record import MemoryRecord, Record
from pfa_gate.report.html.search import Tick
from pfa_gate.report.memory import Followed, HeldRow, energy_sentence, followed, held_rows, memory_sentences
from pfa_gate.report.plot_axis import PlotAxis, axis_of
from pfa_gate.report.text import clean, shorten

_MOST = 1e15  # no model comes to such numbers: the record is a stranger's
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 240, 72, 16, 14, 40
_LONGEST, _LINE = 48, 15  # of a text in the picture: letters, and from one to the next


@dataclass(frozen=True)
class Peak:
    """Where a model's memory peaks in the picture, and the text beside it, which begins or ends at its place."""

    x: float
    y: float
    text: str
    beside: float
    height: float
    anchor: str


@dataclass(frozen=True)
class MemoryLine:
    """One model in the picture.

    Attributes:
        name: what it is called.
        kind: how it is drawn: `full` or `smaller`.
        path: its live bytes, operator by operator.
        stretches: a place across the picture for each value, with what it says when it is pointed at.
        peak: its highest place.
        alive: what is live there.
        unlisted: how many more are.
    """

    name: str
    kind: str
    path: str
    stretches: tuple[tuple[float, float, str], ...]
    peak: Peak
    alive: tuple[HeldRow, ...]
    unlisted: int


@dataclass(frozen=True)
class MemoryPlot:
    """Memory as it is drawn, in units of the picture."""

    sentences: tuple[str, ...]
    lines: tuple[MemoryLine, ...]
    up: tuple[Tick, ...]
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    right: int = _WIDTH - _RIGHT
    top: int = _TOP
    base: int = _HEIGHT - _BOTTOM


def memory_plot(record: Record) -> MemoryPlot | None:
    """The picture of a record's memory; None where nothing was followed.

    Example:
        >>> from pfa_gate.record import Probe, Size
        >>> memory_plot(Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"))) is None
        True
    """
    models = [each for each in followed(record) if each.memory.curve]
    levels = [level for each in models for level in each.memory.curve]
    if not levels or max(map(abs, levels)) > _MOST:
        return None
    axis = axis_of([0.0, *map(float, levels)], percent=False)
    lines = _apart([_line(each, kind, axis) for each, kind in zip(models, _kinds(record, models), strict=True)])
    sentences = (*memory_sentences(record), energy_sentence(record))
    return MemoryPlot(
        sentences=tuple(filter(None, sentences)),
        lines=lines,
        up=tuple(Tick(_up(axis, tick), amount(tick, "B")) for tick in axis.ticks()),
    )


def _kinds(record: Record, models: list[Followed]) -> list[str]:
    full = record.demands is not None and record.demands.full
    return ["full" if each.memory is full else "smaller" for each in models]


def _line(model: Followed, kind: str, axis: PlotAxis) -> MemoryLine:
    memory = model.memory
    pitch = (_WIDTH - _LEFT - _RIGHT) / len(memory.curve)
    edges = [round(_LEFT + pitch * index, 1) for index in range(len(memory.curve) + 1)]
    heights = [_up(axis, level) for level in memory.curve]
    steps = "".join(f"V{height}H{edge}" for height, edge in zip(heights, edges[1:], strict=True))
    titles = [_title(memory, index, level) for index, level in enumerate(memory.curve)]
    return MemoryLine(
        name=model.name,
        kind=kind,
        path=f"M{edges[0]} {_HEIGHT - _BOTTOM}{steps}V{_HEIGHT - _BOTTOM}",
        stretches=tuple(zip(edges, heights, titles, strict=False)),
        peak=_peak(memory, edges, heights),
        alive=held_rows(memory),
        unlisted=memory.unlisted,
    )


def _title(memory: MemoryRecord, index: int, level: int) -> str:
    name = memory.names[index] if index < len(memory.names) else ""
    return f"{name}: {amount(level, 'B')}"


def _peak(memory: MemoryRecord, edges: list[float], heights: list[float]) -> Peak:
    place = max(range(len(memory.curve)), key=lambda each: (memory.curve[each], -each))
    x = round((edges[place] + edges[place + 1]) / 2, 1)
    name = memory.peak.name if memory.peak is not None else ""
    text = shorten(clean(f"{amount(memory.curve[place], 'B')} in {name}"), _LONGEST)
    right = x < (_LEFT + _WIDTH) / 2
    height = max(heights[place] - 6, _TOP - 2.0)
    return Peak(x, heights[place], text, round(x + (6 if right else -6), 1), height, "start" if right else "end")


def _apart(lines: list[MemoryLine]) -> tuple[MemoryLine, ...]:
    """The same, the text of a later peak below that of an earlier one which it would be written over."""
    placed: list[MemoryLine] = []
    for line in lines:
        heights = [each.peak.height for each in placed]
        height = line.peak.height
        while any(abs(height - other) < _LINE for other in heights):
            height += _LINE
        placed.append(replace(line, peak=replace(line.peak, height=round(height, 1))))
    return tuple(placed)


def _up(axis: PlotAxis, value: float) -> float:
    """More bytes are drawn higher."""
    return round(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * axis.position(value), 1)
