"""What the page shows of each layer: a row of the table, and a picture."""

from collections.abc import Iterator
from dataclasses import dataclass

from pfa_gate.budget.wording import trimmed
from pfa_gate.record import LayerRecord, Record
from pfa_gate.report.baseline import change_since, signed_change
from pfa_gate.report.formatting import ratio
from pfa_gate.report.html.pictures import Drawing, drawing, picture
from pfa_gate.report.layers import KEYS, LayerRow, changed, layer_rows

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
