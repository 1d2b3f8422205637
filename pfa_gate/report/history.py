"""The records of past runs as curves: parameters, KL ratio and score, on a page and on a terminal."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.text import Text

from pfa_gate.budget import Outcome
from pfa_gate.budget.wording import amount, plural
from pfa_gate.record import Record
from pfa_gate.report.files import DatedRecord
from pfa_gate.report.formatting import ASCII, UNICODE, Glyphs, metric_name, ratio, score
from pfa_gate.report.html import filled_template
from pfa_gate.report.terminal.layout import lay_out, shorten
from pfa_gate.report.text import clean, inert

WIDTH, HEIGHT, EDGE = 600, 160, 8
_MOST = 40
# Narrower than this there is no room for the first value beside the last.
_WIDE = 70


def height(value: float, low: float, high: float) -> float:
    """A value between two others as a number from 0 to 1; 0.5 where the two are equal.

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
        """First, last, smallest and largest value in words; at least one run must have measured it."""
        known = self.known
        first, last, low, high = (self.word(value) for value in (known[0], known[-1], min(known), max(known)))
        return first, last, low, high


@dataclass(frozen=True)
class GateHistory:
    """All runs of one gate, oldest first."""

    gate: str
    config: str
    runs: tuple[DatedRecord, ...]

    def curves(self) -> tuple[Curve, ...]:
        """The quantities that at least one run has measured.

        Example:
            >>> from pfa_gate.record import Probe, Size
            >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"))
            >>> [curve.title for curve in GateHistory("digits", "pfa.yaml", (DatedRecord("a", "", record),)).curves()]
            ['parameters']
        """
        curves = (
            Curve("parameters", self._each(lambda record: record.model.parameters), amount),
            Curve("parameters, compressed", self._each(_left), amount),
            Curve("largest KL ratio", self._each(_largest), ratio),
            *self._scores(),
        )
        return tuple(curve for curve in curves if curve.known)

    def _each(self, quantity: Callable[[Record], float | None]) -> tuple[float | None, ...]:
        return tuple(quantity(run.record) for run in self.runs)

    def _scores(self) -> Iterable[Curve]:
        latest = {run.record.scores.metric: run.record.scores for run in self.runs if run.record.scores is not None}
        for metric, scores in latest.items():
            word = _word(scores.share)
            name, less = metric_name(metric), ", lower is better" if scores.lower else ""
            yield Curve(f"{name}{less}", self._each(lambda record, m=metric: _score(record, m, "full")), word)  # type: ignore[misc]
            compressed = self._each(lambda record, m=metric: _score(record, m, "compressed"))  # type: ignore[misc]
            yield Curve(f"{name}, compressed{less}", compressed, word)


def gates(runs: Sequence[DatedRecord]) -> tuple[GateHistory, ...]:
    """The runs of each gate, by the gates' configs and names.

    Example:
        >>> gates([])
        ()
    """
    ordered = sorted(runs, key=lambda run: (run.written, run.path))
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


@dataclass(frozen=True)
class Chart:
    """A curve as paths of a picture of 600 by 160: a line, and the dots of the runs of each verdict."""

    title: str
    path: str
    dots: dict[Outcome, str]
    ends: tuple[str, str, str, str]


def history_page(histories: Sequence[GateHistory], refused: Sequence[str] = ()) -> str:
    """The history of all gates as a whole page.

    Args:
        histories: one for each gate.
        refused: sentences on files that are no records.

    Example:
        >>> history_page([])[:15]
        '<!doctype html>'
    """
    charts = [(history, [_chart(curve, history) for curve in history.curves()]) for history in histories]
    return filled_template("history.html.j2", gates=charts, refused=refused)


def _chart(curve: Curve, history: GateHistory) -> Chart:
    low, high = min(curve.known), max(curve.known)
    pitch = (WIDTH - 2 * EDGE) / max(1, len(curve.values) - 1)
    start = WIDTH / 2 if len(curve.values) == 1 else EDGE
    points = [
        None
        if value is None
        else (start + index * pitch, HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * height(value, low, high))
        for index, value in enumerate(curve.values)
    ]
    path, pen = "", "M"
    dots: dict[Outcome, str] = {}
    for run, point in zip(history.runs, points, strict=True):
        if point is None:
            pen = "M"  # a run that did not measure it leaves a gap
            continue
        position = f"{point[0]:.1f} {point[1]:.1f}"
        path += f"{pen}{position}"
        dots[run.outcome] = f"{dots.get(run.outcome, '')}M{position}h0"
        pen = "L"
    return Chart(curve.title, path, dots, curve.ends)


def history_text(
    histories: Sequence[GateHistory], refused: Sequence[str] = (), *, width: int = 80, unicode: bool = True
) -> str:
    """The history of all gates as text; no line is wider than `width`.

    Args:
        histories: one for each gate.
        refused: sentences on files that are no records.
        width: terminal cells in a line; at least 40.
        unicode: whether the terminal can show more than ASCII.

    Example:
        >>> print(history_text([]))
        There is no record yet.
        <BLANKLINE>
    """
    glyphs = UNICODE if unicode else ASCII
    lines = [line for history in histories for line in _gate(history, glyphs, width)]
    lines += [f"Left out: {clean(sentence)}" for sentence in refused]
    text = "\n".join(shorten(line, width, glyphs.dots) for line in lines or ["There is no record yet."]) + "\n"
    return inert(text) if unicode else inert(text).encode("ascii", "replace").decode("ascii")


def _gate(history: GateHistory, glyphs: Glyphs, width: int) -> Iterator[str]:
    between = glyphs.between
    total = len(history.runs)
    history = dataclasses.replace(
        history, runs=history.runs[-(min(_MOST, width - 50) if width >= _WIDE else width - 32) :]
    )
    shown = "" if len(history.runs) == total else f", the last {len(history.runs)} shown"
    yield f"{clean(history.gate)}{between}{clean(history.config)}{between}{plural(total, 'run')}{shown}"
    marks = "".join(glyphs.mark(run.outcome) for run in history.runs)
    rows = [("", "", "first", "last"), ("verdicts", marks, history.runs[0].outcome, history.runs[-1].outcome)]
    rows += [(curve.title, _bars(curve, glyphs), *curve.ends[:2]) for curve in history.curves()]
    title = 22 if width >= _WIDE else 16
    named = [[f"  {shorten(name, title, glyphs.dots)}", *cells] for name, *cells in rows]
    narrow = named if width >= _WIDE else [[*row[:2], row[3]] for row in named]
    grid = [[Text(cell) for cell in row] for row in narrow]
    yield from (line.plain for line in lay_out(grid, "llrr" if width >= _WIDE else "llr"))
    yield ""


def _bars(curve: Curve, glyphs: Glyphs) -> str:
    """One block a run, from the smallest to the largest value; a gap where a run did not measure it."""
    low, high = min(curve.known), max(curve.known)
    top, signs = len(glyphs.blocks) - 1, glyphs.blocks
    return "".join(" " if value is None else signs[round(top * height(value, low, high))] for value in curve.values)
