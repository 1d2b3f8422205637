"""The layers in Markdown: those that break a limit or changed, and all of them."""

from collections.abc import Sequence

from pfa_gate.record import Record
from pfa_gate.report.baseline import signed, step
from pfa_gate.report.formatting import UNICODE, ratio
from pfa_gate.report.layers import KEYS, LayerRow, changed, layer_rows, limits
from pfa_gate.report.markdown.escape import LONGEST_NAME, Escaped, code, prose
from pfa_gate.report.markdown.tables import Detail, table
from pfa_gate.report.sparkline import sparkline
from pfa_gate.report.text import clean, distinct

_SPECTRUM = 8
_NAMES = ["", "layer", "kept", "KL ratio", "peak r", "mean r", "inactive", "spectrum"]
_ALIGN = "clrrrrrl"


def changed_layers(record: Record, detail: Detail) -> str:
    """A table of the layers that fail, could not be measured, or differ from the baseline."""
    rows = layer_rows(record)
    told = [row for row in rows if row.broken or row.unknown or changed(record, row)]
    return _table(record, sorted(told, key=lambda row: not row.broken), rows, detail)


def every_layer(record: Record, detail: Detail) -> str:
    """A table of all layers in model order."""
    rows = layer_rows(record)
    return _table(record, rows, rows, detail)


def _table(record: Record, told: Sequence[LayerRow], rows: Sequence[LayerRow], detail: Detail) -> str:
    if not told:
        return ""
    words = limits(rows)
    names = distinct((clean(row.layer.name) for row in rows), LONGEST_NAME)
    text = table(_NAMES, _ALIGN, [_cells(record, row, names[clean(row.layer.name)]) for row in told], detail.rows)
    bounds = ", ".join(f"{name} {words[key]}" for key, name in zip(KEYS, _NAMES[3:7], strict=True) if key in words)
    return f"{text}\n\n<sub>Limits: {prose(bounds)}.</sub>" if bounds else text


def _cells(record: Record, row: LayerRow, shown: str) -> list[Escaped]:
    layer = row.layer
    name = code(shown)
    if layer.skipped is not None:
        return [prose("–"), name, prose(str(layer.filters)), prose(layer.skipped, 120), *map(prose, [""] * 4)]
    kept = f"all {layer.filters}" if layer.keep is None else f"{layer.keep}/{layer.filters}"
    error = "" if layer.kl_stderr is None else f" ±{layer.kl_stderr:.3f}"
    values = {
        "kl": ratio(layer.kl_ratio) + error,
        "peak_correlation": ratio(layer.peak_correlation),
        "mean_correlation": ratio(layer.mean_correlation),
        "inactive": "" if layer.inactive is None else str(layer.inactive),
    }
    told = [_value(record, row, key, text) for key, text in values.items()]
    bars = sparkline(layer.eigenvalues, _SPECTRUM, UNICODE.blocks).replace(" ", "\u2007")
    return [_mark(row), name, prose(kept), *told, Escaped(bars)]


def _mark(row: LayerRow) -> Escaped:
    noise = "~" if row.noisy else ""
    if row.broken:
        return Escaped(f"❌{noise}")
    return Escaped("❔" if row.unknown else noise)


def _value(record: Record, row: LayerRow, key: str, text: str) -> Escaped:
    moved = signed(step(record, row.layer, key), key)
    value = prose(text or "?")
    value = Escaped(f"**{value}**") if key in row.broken else value
    return Escaped(f"{value} ({prose(moved)})") if moved else value
