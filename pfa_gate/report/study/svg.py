"""A study as a plot: score against parameters and against MACs, one self-contained static SVG."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise, product

from pfa_gate.record import Size
from pfa_gate.record.study import Row, Study, Task, Trial
from pfa_gate.report.formatting import score, share
from pfa_gate.report.plot_axis import PlotAxis, axis_of
from pfa_gate.report.study.tables import counts, method
from pfa_gate.report.text import clean, shorten

_WIDTH, _PANEL, _HEIGHT = 760, 300, 220
_LEFT, _GAP, _TOP, _LINE = 56, 68, 34, 18
_COLOURS = 6
STYLE = """\
<style>
svg{--ink:#1a1a1a;--quiet:#6b6b6b;--rule:#d9d9d9;--back:#fff;--c0:#0b63b5;--c1:#b4500a;--c2:#1a7f4b;--c3:#a1307f;
--c4:#6a5a00;--c5:#5b4bb5;background:var(--back);font:12px system-ui,sans-serif}
@media (prefers-color-scheme:dark){svg{--ink:#ececec;--quiet:#a3a3a3;--rule:#3d3d3d;--back:#161616;--c0:#6db3f2;
--c1:#f0a35e;--c2:#63cf97;--c3:#ea8fcb;--c4:#d9c75a;--c5:#b0a4f5}}
text{fill:var(--ink)}.quiet{fill:var(--quiet)}.rule{stroke:var(--rule);fill:none}.full{stroke:var(--quiet);fill:none;
stroke-dasharray:6 4}.dot{opacity:.4}.mark{stroke:var(--back);stroke-width:1}.line{fill:none;stroke-width:1.5}
.uniform.line{stroke-dasharray:4 3}
</style>"""
"""Of all plots of studies, in light and dark."""
_SHAPES = {"pfa": "strategy's own counts", "uniform": "uniform", "random mean": "mean of random, ± spread"}
_SHAPES |= {"random best": "best of random", "draw": "one random recipe"}


@dataclass(frozen=True)
class _Panel:
    """One plot: where a size and a score lie on the page, and the colour of each method.

    Attributes:
        x, y: its axes.
        left, top: of its frame.
        measure: the size on its x axis, parameters or macs.
        model: sizes of the full model.
        methods: all of the study, in the order of their colours.
    """

    x: PlotAxis
    y: PlotAxis
    left: float
    top: float
    measure: str
    model: Size
    methods: Sequence[str]

    def at(self, x: float, y: float) -> tuple[float, float]:
        right, up = _PANEL * self.x.position(x), _HEIGHT * (1 - self.y.position(y))
        return round(self.left + right, 1), round(self.top + up, 1)

    def point(self, sized: Row | Size, accuracy: float) -> tuple[float, float]:
        return self.at(_share(sized, self.model, self.measure), accuracy)

    def colour(self, name: str) -> str:
        return _colour(self.methods, name)


def svg(study: Study) -> str:
    """The plot as text: for each task its score against parameters and against MACs, both as shares of the full model.

    Colours are methods, shapes are whose counts; it is readable in light and dark, and makes no request.
    """
    methods = list(dict.fromkeys(method(row) for row in study.rows))
    tasks = [task for task in study.tasks if task.studied]
    plot = _TOP + _HEIGHT + 48
    bottom = len(tasks) * plot + 14
    height = bottom + _LINE * max(len(methods), len(_SHAPES)) + 10
    title = escape(f"Study of {clean(study.gate)}: {clean(study.metric)} against size")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'role="img"><title>{title}</title>',
        STYLE,
        f'<rect width="{_WIDTH}" height="{height}" fill="var(--back)"/>',
    ]
    for number, task in enumerate(tasks):
        parts += _task(study, task, methods, number * plot + _TOP)
    parts += _legend(methods, bottom)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _task(study: Study, task: Task, methods: Sequence[str], top: float) -> Iterator[str]:
    name = "whole task" if task.name == "all" else f"classes {task.name}"
    title = escape(f"{shorten(clean(study.gate), 40)}, {shorten(name, 40)}")
    yield f'<text x="{_LEFT}" y="{top - 14}">{title}</text>'
    rows = [row for row in study.rows if row.task == task.name and row.accuracy is not None]
    draws = [(trial, *scored) for trial in study.trials if trial.task == task.name and (scored := _scored(trial))]
    full = [] if task.accuracy is None else [task.accuracy]
    y = axis_of([*(row.accuracy or 0.0 for row in rows), *(accuracy for *_, accuracy in draws), *full], study.share)
    for column, measure in enumerate(("parameters", "macs")):
        sizes: list[Row | Size] = [*rows, *(size for _, size, _ in draws)]
        x = axis_of([*(_share(sized, study.model, measure) for sized in sizes), 1.0], True)
        panel = _Panel(x, y, _LEFT + column * (_PANEL + _GAP), top, measure, study.model, methods)
        yield from _frame(panel, study.metric)
        yield from (_full_model(panel, accuracy) for accuracy in full)
        yield from _draws(panel, draws)
        yield from _lines(panel, rows)
        yield from (_mark(panel, row, study.share) for row in rows)


def _scored(trial: Trial) -> tuple[Size, float] | None:
    """Size and score of a random recipe; None of any other trial, and where one of the two is unknown."""
    if trial.counts != "random" or trial.size is None or trial.accuracy is None:
        return None
    return trial.size, trial.accuracy


def _share(sized: Row | Size, model: Size, measure: str) -> float:
    return float(getattr(sized, measure) or 0.0) / float(getattr(model, measure))


def _frame(panel: _Panel, metric: str) -> Iterator[str]:
    base = panel.top + _HEIGHT
    for tick in panel.y.ticks():
        _, y = panel.at(panel.x.low, tick)
        yield f'<path class="rule" d="M{panel.left} {y}h{_PANEL}"/>'
        yield f'<text class="quiet" x="{panel.left - 6}" y="{y + 4}" text-anchor="end">{panel.y.word(tick)}</text>'
    for tick in panel.x.ticks():
        x, _ = panel.at(tick, panel.y.low)
        yield f'<path class="rule" d="M{x} {base}v5"/>'
        yield f'<text class="quiet" x="{x}" y="{base + 17}" text-anchor="middle">{panel.x.word(tick)}</text>'
    name = {"parameters": "parameters", "macs": "MACs"}[panel.measure]
    middle = panel.left + _PANEL / 2
    yield f'<text class="quiet" x="{middle}" y="{base + 34}" text-anchor="middle">{name}, of the full model</text>'
    named = escape(shorten(clean(metric), 40))
    yield f'<text class="quiet" x="{panel.left + _PANEL}" y="{panel.top - 14}" text-anchor="end">{named}</text>'


def _full_model(panel: _Panel, accuracy: float) -> str:
    (start, y), (end, _) = panel.at(panel.x.low, accuracy), panel.at(panel.x.high, accuracy)
    return f'<path class="full" d="M{start} {y}H{end}"><title>full model</title></path>'


def _draws(panel: _Panel, draws: Sequence[tuple[Trial, Size, float]]) -> Iterator[str]:
    for trial, size, accuracy in draws:
        name = trial.selection if trial.recovery == "none" else f"{trial.selection}, {trial.recovery}"
        if name in panel.methods:
            x, y = panel.point(size, accuracy)
            yield f'<circle class="dot" cx="{x}" cy="{y}" r="2" fill="{panel.colour(name)}"/>'


def _lines(panel: _Panel, rows: Sequence[Row]) -> Iterator[str]:
    """The sizes of one method joined, for the strategies' own counts and for uniform ones."""
    for kind, name in product(("pfa", "uniform"), panel.methods):
        same = (row for row in rows if row.kind == kind and method(row) == name)
        points = sorted(panel.point(row, row.accuracy or 0.0) for row in same)
        for (x, y), (after, below) in pairwise(points):
            yield f'<path class="line {kind}" stroke="{panel.colour(name)}" d="M{x} {y}L{after} {below}"/>'


def _mark(panel: _Panel, row: Row, is_share: bool) -> str:
    value = row.accuracy or 0.0
    x, y = panel.point(row, value)
    colour = panel.colour(method(row))
    bar = ""
    if row.kind == "random mean" and row.spread is not None:
        ends = (min(max(value + side * row.spread, panel.y.low), panel.y.high) for side in (-1, 1))
        low, high = (panel.point(row, end)[1] for end in ends)
        bar = f'<path stroke="{colour}" d="M{x} {low}V{high}"/>'
    of_full = share(_share(row, panel.model, panel.measure), 1.0)
    title = escape(clean(", ".join((row.strategy, counts(row), method(row), score(value, is_share), of_full))))
    return f"<g><title>{title}</title>{bar}{_shape(row.kind, x, y, colour)}</g>"


def _shape(kind: str, x: float, y: float, colour: str) -> str:
    paint = f'class="mark" fill="{colour}"'
    if kind == "pfa":
        return f'<circle {paint} cx="{x}" cy="{y}" r="5"/>'
    if kind == "uniform":
        return f'<rect {paint} x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>'
    if kind == "random mean":
        return f'<path {paint} d="M{x} {y - 6:.1f}l6 6l-6 6l-6 -6z"/>'
    if kind == "random best":
        return f'<path {paint} d="M{x} {y - 6:.1f}l6 10h-12z"/>'
    return f'<circle class="dot" fill="{colour}" cx="{x}" cy="{y}" r="2"/>'


def _legend(methods: Sequence[str], top: float) -> Iterator[str]:
    for line, name in enumerate(methods):
        y = top + _LINE * line
        yield f'<rect x="{_LEFT}" y="{y}" width="10" height="10" fill="{_colour(methods, name)}"/>'
        yield f'<text x="{_LEFT + 18}" y="{y + 9}">{escape(shorten(clean(name), 44))}</text>'
    right = _LEFT + _PANEL + _GAP
    for line, (kind, words) in enumerate(_SHAPES.items()):
        y = top + _LINE * line
        yield _shape(kind, right + 5, y + 5, "var(--quiet)")
        yield f'<text x="{right + 18}" y="{y + 9}">{words}</text>'


def _colour(methods: Sequence[str], name: str) -> str:
    return f"var(--c{methods.index(name) % _COLOURS})"
