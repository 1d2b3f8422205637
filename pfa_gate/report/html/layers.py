"""What the page shows of each layer: a row of the table, and pictures of its spectrum and correlations."""

import base64
import math
import struct
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pfa_gate.budget.wording import significant, trimmed
from pfa_gate.record import Correlations, LayerRecord, Record
from pfa_gate.report.baseline import change_since, signed_change
from pfa_gate.report.formatting import ratio
from pfa_gate.report.layers import KEYS, LayerRow, changed, energy_cut, kl_cut, layer_rows

WIDTH, HEIGHT = 240, 72
# More bars than this are no wider than a line; neighbours share one.
_MOST_BARS = 64
_LEVELS = 16
_BLUE = (59, 130, 246)
_MOST_CELLS = 128


@dataclass(frozen=True)
class CutLine:
    """Where a rule would cut: the filters it keeps, and the position of its line."""

    keep: int
    x: str


@dataclass(frozen=True)
class Drawing:
    """A spectrum as the paths of a picture of 240 by 72.

    Attributes:
        stay: bars of the filters that are kept.
        go: bars of the filters that are not.
        flat: height at which all bars would end if no filter were redundant.
        kl: cut of the strategy `kl`; None for none.
        energy: cut of the recipe's share of energy; None for none.
        base: outline of the base's spectrum; empty for none.
    """

    stay: str
    go: str
    flat: str
    kl: CutLine | None
    energy: CutLine | None
    base: str


def drawing(layer: LayerRecord, energy: float | None, base: LayerRecord | None = None) -> Drawing | None:
    """Draw the square roots of a layer's eigenvalues; None where nothing was measured or nothing varies.

    Args:
        layer: what was measured.
        energy: the recipe's share; None for none.
        base: the same layer of an earlier run, drawn to the same scale.

    Example:
        >>> drawing(LayerRecord("stem", "Conv2d", 2, kl_ratio=0.0, eigenvalues=(0.5, 0.5), keep=1), None).stay
        'M0.5 72v-72h119v72z'
    """
    top = max(layer.eigenvalues, default=0.0)
    if top <= 0:
        return None
    heights, filters = _heights(layer.eigenvalues, top), max(1, layer.filters)
    stay = len(heights) if layer.keep is None else max(1, round(len(heights) * layer.keep / filters))
    bars = list(_bars(heights))
    return Drawing(
        stay="".join(bars[:stay]),
        go="".join(bars[stay:]),
        flat=_number(HEIGHT * (1 - min(1.0, math.sqrt(1 / filters / top)))),
        kl=_cut(kl_cut(layer), filters),
        energy=_cut(energy_cut(layer, energy), filters),
        base=_outline(_heights(base.eigenvalues, top)) if base is not None and base.eigenvalues else "",
    )


def _heights(eigenvalues: Sequence[float], top: float) -> list[float]:
    columns = min(_MOST_BARS, len(eigenvalues))
    starts = [column * len(eigenvalues) // columns for column in range(columns + 1)]
    means = (min(sum(eigenvalues[a:b]), sys.float_info.max) / (b - a) for a, b in pairwise(starts))
    return [HEIGHT * min(1.0, math.sqrt(max(mean, 0.0) / top)) for mean in means]


def _bars(heights: Sequence[float]) -> Iterator[str]:
    pitch = WIDTH / len(heights)
    gap = min(1.0, pitch / 4)
    for index, height in enumerate(heights):
        left, up = _number(index * pitch + gap / 2), _number(height)
        yield f"M{left} {HEIGHT}v-{up}h{_number(pitch - gap)}v{up}z"


def _outline(heights: Sequence[float]) -> str:
    pitch = WIDTH / len(heights)
    steps = (f"V{_number(HEIGHT - height)}H{_number((index + 1) * pitch)}" for index, height in enumerate(heights))
    return f"M0 {HEIGHT}{''.join(steps)}"


def _cut(keep: int | None, filters: int) -> CutLine | None:
    return None if keep is None else CutLine(keep, _number(WIDTH * keep / filters))


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def picture(correlations: Correlations | None) -> str:
    """The heat map as a data URI; empty where there is none, or its cells are not valid.

    Example:
        >>> picture(Correlations(2, (0, 1), "f0f"))[:22]
        'data:image/png;base64,'
        >>> picture(Correlations(2, (0, 1), "f0")), picture(None)
        ('', '')
    """
    if correlations is None or not _sound(correlations):
        return ""
    return f"data:image/png;base64,{base64.b64encode(_png(_square(correlations))).decode('ascii')}"


def _sound(correlations: Correlations) -> bool:
    side, cells = correlations.side, correlations.cells
    return 0 < side <= _MOST_CELLS and len(cells) == side * (side + 1) // 2 and set(cells) <= set("0123456789abcdef")


def _square(correlations: Correlations) -> list[list[int]]:
    side = correlations.side
    levels = iter(correlations.cells)
    square = [[0] * side for _ in range(side)]
    for row in range(side):
        for column in range(row, side):
            square[row][column] = square[column][row] = int(next(levels), _LEVELS)
    return square


def _png(square: list[list[int]]) -> bytes:
    """A PNG of four bits a pixel, with a palette of one hue from transparent to opaque."""
    lines = b"".join(b"\0" + _packed(row) for row in square)
    alphas = bytes(round(255 * level / (_LEVELS - 1)) for level in range(_LEVELS))
    head = struct.pack(">IIBBBBB", len(square), len(square), 4, 3, 0, 0, 0)
    chunks = (
        (b"IHDR", head),
        (b"PLTE", bytes(_BLUE) * _LEVELS),
        (b"tRNS", alphas),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks)


def _packed(row: list[int]) -> bytes:
    even = [*row, 0] if len(row) % 2 else row
    return bytes(even[index] * _LEVELS + even[index + 1] for index in range(0, len(even), 2))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


# A page of more would be slow to open; such a network is read in record.json.
MOST = 400


@dataclass(frozen=True)
class Cell:
    """One value of a layer.

    Attributes:
        text: the value in words; empty where it was not measured.
        sort: the value as a table sorts by it.
        error: its standard error in words; empty if unknown.
        limit: what it must not exceed; empty without a limit.
        change: by how much it differs from the baseline; empty if not visibly.
        outcome: of its limit; empty without one.
        noisy: it lies within two standard errors of its limit.
        waived: why it may break its limit for now.
    """

    text: str
    sort: str
    error: str = ""
    limit: str = ""
    change: str = ""
    outcome: str = ""
    noisy: bool = False
    waived: str = ""


@dataclass(frozen=True)
class Line:
    """A layer in the table, and its picture; `share` of its filters stays, as the table sorts by it."""

    name: str
    kind: str
    filters: int
    keep: int | None
    share: str
    cells: tuple[Cell, ...]
    broken: bool
    unknown: bool
    changed: bool
    standardised: str
    drawing: Drawing | None
    heat: str
    order: str
    inactive: int
    sensitivity: str
    weight: str


def lines(record: Record, base: Record | None) -> Iterator[Line]:
    """One line for each layer on which a verdict is due, in model order.

    Of more than 400: those that fail, could not be measured or have changed, then those with the highest KL ratio.
    """
    earlier = {layer.name: layer for layer in base.layers} if base is not None else {}
    energy = record.recipe.energy if record.recipe is not None else None
    rows = [row for row in layer_rows(record) if row.layer.skipped is None]
    if len(rows) > MOST:
        indices = sorted(range(len(rows)), key=lambda index: _urgency(record, rows[index]))[:MOST]
        rows = [rows[index] for index in sorted(indices)]
    for row in rows:
        yield _line(record, row, energy, earlier.get(row.layer.name))


def _urgency(record: Record, row: LayerRow) -> tuple[bool, bool, bool, float]:
    return not row.broken, not row.unknown, not changed(record, row), -(row.layer.kl_ratio or 0.0)


def _line(record: Record, row: LayerRow, energy: float | None, base: LayerRecord | None) -> Line:
    layer = row.layer
    heat = layer.correlations
    order = heat.order if heat is not None and len(heat.order) == heat.side else ()
    return Line(
        name=layer.name,
        kind=layer.kind,
        filters=layer.filters,
        keep=layer.keep,
        share=f"{1.0 if layer.keep is None else layer.keep / max(1, layer.filters):.6g}",
        cells=tuple(_cell(record, row, key) for key in KEYS),
        broken=bool(row.broken),
        unknown=row.unknown,
        changed=changed(record, row),
        standardised=ratio(layer.kl_ratio_standardised),
        drawing=drawing(layer, energy, base),
        heat=picture(layer.correlations),
        order=" ".join(map(str, order)),
        inactive=layer.inactive or 0,
        sensitivity="" if layer.sensitivity is None else significant(layer.sensitivity),
        weight="-1" if layer.sensitivity is None else f"{layer.sensitivity:.6g}",
    )


def _cell(record: Record, row: LayerRow, key: str) -> Cell:
    layer, finding = row.layer, row.findings.get(key)
    value = {
        "kl": layer.kl_ratio,
        "peak_correlation": layer.peak_correlation,
        "mean_correlation": layer.mean_correlation,
        "inactive": layer.inactive,
    }[key]
    error = {"kl": layer.kl_stderr, "peak_correlation": layer.peak_stderr, "mean_correlation": layer.mean_stderr}
    text = "" if value is None else str(value) if key == "inactive" else ratio(value)
    return Cell(
        text=text,
        sort="-1" if value is None else f"{value:.6g}",
        error=ratio(error.get(key)),
        limit="" if finding is None or finding.limit is None else trimmed(finding.limit, 3),
        change=signed_change(change_since(record, layer, key), key),
        outcome="" if finding is None else finding.outcome,
        noisy=finding is not None and finding.within_noise,
        waived="" if finding is None else finding.waived,
    )
