"""A study of families as a plot: score and divergence against bytes and against time, one self-contained static SVG."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from pfa_gate.budget.wording import percent, significant
from pfa_gate.record.families import FamilyStudy, FamilyTrial
from pfa_gate.report.formatting import metric_name, score
from pfa_gate.report.plot_axis import LogAxis, PlotAxis, axis_of, log_axis_of
from pfa_gate.report.study.svg import STYLE
from pfa_gate.report.text import clean, shorten

_WIDTH, _PANEL, _HEIGHT = 760, 300, 220
_LEFT, _GAP, _TOP, _LINE = 56, 68, 34, 18
_COLOURS = 6
_DASHES = ("", "6 3", "2 3")
_RULES = {"own": "the family's own division", "uniform": "uniform", "random": "random"}


@dataclass(frozen=True)
class _Plot:
    """One of the four plots.

    Attributes:
        x, y: its axes.
        left, top: of its frame.
        across, up: what they show.
    """

    x: PlotAxis
    y: PlotAxis | LogAxis
    left: float
    top: float
    across: str
    up: str

    def point(self, across: float, up: float) -> tuple[float, float]:
        right, high = _PANEL * self.x.position(across), _HEIGHT * (1 - self.y.position(up))
        return round(self.left + right, 1), round(self.top + high, 1)


def families_svg(study: FamilyStudy) -> str:
    """The plot as text: colours and dashes are families, shapes are what divides the size among the layers.

    It is readable in light and dark, and makes no request.
    """
    names = list(dict.fromkeys(trial.family for trial in study.trials if trial.accuracy is not None))
    rows = [up for up in ("score", "divergence") if any(_up(trial, up) is not None for trial in study.trials)]
    plot = _TOP + _HEIGHT + 48
    bottom = len(rows) * plot + 14
    height = bottom + _LINE * max(len(names), len(_RULES) + 1) + 10
    title = escape(f"Families of {clean(study.gate)}: {clean(study.metric)} against bytes and time of the file")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'role="img"><title>{title}</title>',
        STYLE,
        f'<rect width="{_WIDTH}" height="{height}" fill="var(--back)"/>',
    ]
    for number, up in enumerate(rows):
        for column, across in enumerate(("bytes", "time")):
            parts += _drawn(study, names, (across, up), (_LEFT + column * (_PANEL + _GAP), number * plot + _TOP))
    parts += _legend(names, bottom)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _across(study: FamilyStudy, trial: FamilyTrial, across: str) -> float | None:
    if across == "time":
        return trial.time.ratio if trial.time else None
    return None if trial.bytes is None else trial.bytes / study.model.bytes


def _up(trial: FamilyTrial, up: str) -> float | None:
    if up == "score":
        return trial.accuracy
    divergence = trial.answers.divergence if trial.answers else None
    return divergence if divergence is not None and divergence > 0 else None


def _drawn(
    study: FamilyStudy, names: Sequence[str], what: tuple[str, str], corner: tuple[float, float]
) -> Iterator[str]:
    across, up = what
    points = [
        (trial, x, y)
        for trial in study.trials
        if (x := _across(study, trial, across)) is not None and (y := _up(trial, up)) is not None
    ]
    whole = [study.accuracy] if up == "score" else []
    x_axis = axis_of([*(x for _, x, _ in points), 1.0], True)
    heights = [*(y for _, _, y in points), *whole]
    y_axis = axis_of(heights, study.share) if up == "score" else log_axis_of(heights or [1.0])
    plot = _Plot(x_axis, y_axis, *corner, across, up)
    yield from _frame(plot, study)
    if whole:
        (start, y), (end, _) = plot.point(x_axis.low, study.accuracy), plot.point(x_axis.high, study.accuracy)
        yield f'<path class="full" d="M{start} {y}H{end}"><title>full model</title></path>'
    for number, name in enumerate(names):
        mine = [(trial, plot.point(x, y)) for trial, x, y in points if trial.family == name]
        own = sorted(point for trial, point in mine if trial.rule == "own")
        for (left, high), (right, low) in pairwise(own):
            stroke = f'stroke="{_colour(number)}" stroke-dasharray="{_dash(number)}"'
            yield f'<path class="line" {stroke} d="M{left} {high}L{right} {low}"/>'
        yield from (_mark(study, trial, point, _colour(number)) for trial, point in mine)


def _frame(plot: _Plot, study: FamilyStudy) -> Iterator[str]:
    base = plot.top + _HEIGHT
    for tick in plot.y.ticks():
        _, y = plot.point(plot.x.low, tick)
        yield f'<path class="rule" d="M{plot.left} {y}h{_PANEL}"/>'
        yield f'<text class="quiet" x="{plot.left - 6}" y="{y + 4}" text-anchor="end">{plot.y.word(tick)}</text>'
    for tick in plot.x.ticks():
        x, _ = plot.point(tick, plot.y.low)
        yield f'<path class="rule" d="M{x} {base}v5"/>'
        yield f'<text class="quiet" x="{x}" y="{base + 17}" text-anchor="middle">{plot.x.word(tick)}</text>'
    middle, end = plot.left + _PANEL / 2, plot.left + _PANEL
    words = f"{plot.across} of the file, of the full model's"
    yield f'<text class="quiet" x="{middle}" y="{base + 34}" text-anchor="middle">{words}</text>'
    name = clean(metric_name(study.metric)) if plot.up == "score" else "divergence, nats"
    title = escape(shorten(name, 40))
    yield f'<text class="quiet" x="{end}" y="{plot.top - 14}" text-anchor="end">{title}</text>'


def _mark(study: FamilyStudy, trial: FamilyTrial, point: tuple[float, float], colour: str) -> str:
    x, y = point
    size = percent((trial.bytes or 0) / study.model.bytes)
    time = f", {percent(trial.time.ratio)} of the time" if trial.time else ""
    divergence = trial.answers.divergence if trial.answers else None
    apart = "" if divergence is None else f", divergence {significant(divergence)}"
    rule = "" if trial.rule == "own" else f", {trial.rule}"
    words = f"{trial.family}{rule}: {score(trial.accuracy, study.share)}, {size} of the bytes{time}{apart}"
    return f"<g><title>{escape(clean(words))}</title>{_shape(trial.rule, x, y, colour)}</g>"


def _shape(rule: str, x: float, y: float, colour: str) -> str:
    if rule == "own":
        return f'<circle class="mark" fill="{colour}" cx="{x}" cy="{y}" r="5"/>'
    if rule == "uniform":
        return f'<rect class="mark" fill="{colour}" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>'
    return f'<circle class="dot" fill="{colour}" cx="{x}" cy="{y}" r="3"/>'


def _legend(names: Sequence[str], top: float) -> Iterator[str]:
    for number, name in enumerate(names):
        y = top + _LINE * number
        stroke = f'stroke="{_colour(number)}" stroke-dasharray="{_dash(number)}"'
        yield f'<path class="line" {stroke} d="M{_LEFT} {y + 5}h30"/>'
        yield f'<circle fill="{_colour(number)}" cx="{_LEFT + 15}" cy="{y + 5}" r="4"/>'
        yield f'<text x="{_LEFT + 38}" y="{y + 9}">{escape(shorten(clean(name), 44))}</text>'
    right = _LEFT + _PANEL + _GAP
    for line, (rule, words) in enumerate(_RULES.items()):
        y = top + _LINE * line
        yield _shape(rule, right + 5, y + 5, "var(--quiet)")
        yield f'<text x="{right + 18}" y="{y + 9}">{words}</text>'
    y = top + _LINE * len(_RULES)
    yield f'<path class="full" d="M{right} {y + 5}h12"/><text x="{right + 18}" y="{y + 9}">full model</text>'


def _colour(number: int) -> str:
    return f"var(--c{number % _COLOURS})"


def _dash(number: int) -> str:
    return _DASHES[number // _COLOURS % len(_DASHES)]
