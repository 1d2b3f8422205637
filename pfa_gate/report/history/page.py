"""Curves over the runs as an HTML page with SVG, under the same policy as the report."""

from collections.abc import Sequence
from dataclasses import dataclass

from pfa_gate.budget import Outcome
from pfa_gate.report.history.curves import Curve, GateHistory, height
from pfa_gate.report.html import page as filled

WIDTH, HEIGHT, EDGE = 600, 160, 8


@dataclass(frozen=True)
class Chart:
    """A curve as paths of a picture of 600 by 160: a line, and the dots of the runs of each verdict."""

    title: str
    path: str
    dots: dict[Outcome, str]
    ends: tuple[str, str, str, str]


def page(pasts: Sequence[GateHistory], refused: Sequence[str] = ()) -> str:
    """The history of all gates as a whole page.

    Args:
        pasts: one for each gate.
        refused: sentences on files that are no records.

    Example:
        >>> page([])[:15]
        '<!doctype html>'
    """
    told = [(past, [_chart(curve, past) for curve in past.curves()]) for past in pasts]
    return filled("history.html.j2", gates=told, refused=refused)


def _chart(curve: Curve, past: GateHistory) -> Chart:
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
    for run, point in zip(past.runs, points, strict=True):
        if point is None:
            pen = "M"  # a run that did not measure it leaves a gap
            continue
        place = f"{point[0]:.1f} {point[1]:.1f}"
        path += f"{pen}{place}"
        dots[run.outcome] = f"{dots.get(run.outcome, '')}M{place}h0"
        pen = "L"
    return Chart(curve.title, path, dots, curve.ends)
