"""The table of layers; with -vv also the spectrum of each, with the cut of each rule."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from pfa_gate.budget.wording import plural, trimmed
from pfa_gate.record import LayerRecord, Record
from pfa_gate.report.baseline import change_since, signed_change
from pfa_gate.report.formatting import ratio
from pfa_gate.report.layers import (
    KEYS,
    LayerRow,
    chosen,
    energy_cut,
    kept_columns,
    kl_cut,
    layer_rows,
    limits,
    sparkline,
)
from pfa_gate.report.terminal.layout import GAP, QUIET, SPECTRUM, STYLES, Look, lay_out, shorten, widths
from pfa_gate.report.text import clean, distinct

_TITLES = {
    "mark": "",
    "layer": "layer",
    "kept": "kept",
    "kl": "KL ratio",
    "standardised": "std. KL",
    "peak_correlation": "peak r",
    "mean_correlation": "mean r",
    "inactive": "inactive",
    "spectrum": "spectrum",
}
_LEFT = ("mark", "layer", "spectrum")
# A table that leaves less than this for the names gives up a column first.
_NAME_ROOM = 20
# The same where values have changed since the baseline: the picture goes before the numbers do.
_MAIN = ("kl", "inactive")
_INDENT = 3
_WIDEST_SPECTRUM = 96


@dataclass(frozen=True)
class _Plan:
    """Which columns a table has, the widest spectrum, whether KL has its standard error, which values their change."""

    columns: tuple[str, ...]
    spectrum: int
    errors: bool
    changes: tuple[str, ...] = ()


def _without(*names: str) -> tuple[str, ...]:
    return tuple(name for name in _TITLES if name not in names)


# From rich to poor; the first that leaves room for the names is taken.
_PLANS = (
    *(_Plan(_without(), spectrum, True) for spectrum in (24, 16, 12)),
    *(_Plan(_without("standardised"), spectrum, True) for spectrum in (12, 8)),
    _Plan(_without("standardised"), 8, False),
    _Plan(_without("standardised", "spectrum"), 0, False),
    _Plan(_without("standardised", "spectrum", "mean_correlation"), 0, False),
    _Plan(_without("standardised", "spectrum", "mean_correlation", "inactive"), 0, False),
    _Plan(("mark", "layer", "kl"), 0, False),
)
_PLANS_SINCE = (
    _Plan(_without(), 16, True, KEYS),
    *(_Plan(_without("standardised"), spectrum, True, KEYS) for spectrum in (16, 8)),
    *(_Plan(_without("standardised", "spectrum"), 0, errors, KEYS) for errors in (True, False)),
    *(_Plan(_without("standardised", "spectrum"), 0, errors, _MAIN) for errors in (True, False)),
    _Plan(_without("standardised", "spectrum", "mean_correlation"), 0, False, _MAIN),
    _Plan(_without("standardised", "spectrum", "mean_correlation", "inactive"), 0, False, _MAIN),
    _Plan(("mark", "layer", "kl"), 0, False, _MAIN),
)


def layer_section(record: Record, look: Look) -> list[Text]:
    """The layers in model order: filters kept, KL ratio, correlations, spectrum, and the limits below."""
    rows = layer_rows(record)
    if not rows:
        return []
    shown = chosen(rows, everything=look.verbosity > 0)
    if not shown:
        return [*look.heading("Layers"), *_hidden(rows, shown, look)]
    changes = [_changes(record, row) for row in shown]
    plan, cells = _fitting(shown, changes, rows, look)
    lines = lay_out(cells, "".join("l" if column in _LEFT else "r" for column in plan.columns))
    lines = _with_reasons(lines, shown, look)
    return [
        *look.heading("Layers"),
        *lines,
        *_hidden(rows, shown, look),
        *_legend(shown, plan, look),
    ]


def _changes(record: Record, row: LayerRow) -> dict[str, str]:
    """By how much each value of a layer differs from the baseline, where that shows."""
    changes = {key: signed_change(change_since(record, row.layer, key), key) for key in KEYS}
    return {key: text.replace("0.", ".", 1) for key, text in changes.items() if text}


def _fitting(
    shown: Sequence[LayerRow], changes: Sequence[dict[str, str]], rows: Sequence[LayerRow], look: Look
) -> tuple[_Plan, list[list[Text]]]:
    """The richest table that leaves the names room, and its cells with the names cut to that room."""
    for plan in _PLANS_SINCE if any(changes) else _PLANS:
        body = [_cells(row, plan, look) for row in shown]
        cells = _with_changes([_head(plan, rows), *body, *_limit_row(rows, plan, look)], changes, plan)
        name = plan.columns.index("layer")
        longest = max(cell_len(line[name].plain) for line in cells)
        others = [width for index, width in enumerate(widths(cells)) if index != name]
        room = look.width - sum(others) - GAP * len(others)
        if room >= min(longest, _NAME_ROOM):
            break
    short = distinct((clean(row.layer.name) for row in rows), max(1, room), look.glyphs.dots, cell_len)
    for line in cells:
        whole = line[name].plain
        line[name] = Text(short.get(whole) or shorten(whole, max(1, room), look.glyphs.dots), line[name].style)
    return plan, cells


def _with_changes(cells: list[list[Text]], changes: Sequence[dict[str, str]], plan: _Plan) -> list[list[Text]]:
    """Write each change after its value; the other cells of such a column get as much room."""
    for key in set(plan.columns).intersection(plan.changes):
        texts = ["", *(layer_changes.get(key, "") for layer_changes in changes)]
        room = max(map(len, texts)) + 1 if any(texts) else 0
        texts += [""] * (len(cells) - len(texts))
        for line, text in zip(cells, texts, strict=True):
            line[plan.columns.index(key)].append(text.rjust(room), "bold" if text else "")
    return cells


def _head(plan: _Plan, rows: Sequence[LayerRow]) -> list[Text]:
    words = {**_TITLES, "kl": "KL ratio   " if plan.errors else "KL ratio"}
    words["kept"] = "filters" if rows[0].elsewhere else "kept"
    return [Text(words[column], QUIET) for column in plan.columns]


def _limit_row(rows: Sequence[LayerRow], plan: _Plan, look: Look) -> list[list[Text]]:
    words = limits(rows)
    if not words:
        return []
    words["layer"] = "limit"
    words["kl"] = words.get("kl", "") + " " * (_error_width(look) if plan.errors else 0)
    return [[Text(words.get(column, ""), QUIET) for column in plan.columns]]


def _hidden(rows: Sequence[LayerRow], shown: Sequence[LayerRow], look: Look) -> list[Text]:
    left = len(rows) - len(shown)
    if not left:
        return []
    skipped = sum(row.layer.skipped is not None for row in rows) - sum(row.layer.skipped is not None for row in shown)
    kinds_left = [(left - skipped, "within all limits and of lower KL ratio"), (skipped, "not judged")]
    kinds = ", ".join(f"{count:,} {words}" for count, words in kinds_left if count)
    return look.sentence(f"-v shows {plural(left, 'more layer')}: {kinds}.", 0, QUIET)


def _cells(row: LayerRow, plan: _Plan, look: Look) -> list[Text]:
    layer = row.layer
    name = Text(clean(layer.name), STYLES["broken"] if row.broken else "")
    if layer.skipped is not None:
        quiet = {"mark": look.glyphs.skipped, "layer": clean(layer.name), "kept": str(layer.filters)}
        return [Text(quiet.get(column, ""), QUIET) for column in plan.columns]
    cells = {
        "mark": _mark(row, look),
        "layer": name,
        "kept": Text(row.kept, QUIET if layer.keep is None else ""),
        "kl": _kl(row, plan, look),
        "standardised": Text(ratio(layer.kl_ratio_standardised)),
        "peak_correlation": _value(row, "peak_correlation", ratio(layer.peak_correlation)),
        "mean_correlation": _value(row, "mean_correlation", ratio(layer.mean_correlation)),
        "inactive": _value(row, "inactive", "" if layer.inactive is None else str(layer.inactive)),
        "spectrum": _spectrum(row, plan, look),
    }
    return [cells[column] for column in plan.columns]


def _mark(row: LayerRow, look: Look) -> Text:
    noise = (look.glyphs.noise, STYLES["not judged"]) if row.noisy else ""
    if row.broken:
        return Text.assemble((look.glyphs.broken, STYLES["broken"]), noise)
    if row.unknown:
        return Text(look.glyphs.unknown, STYLES["not judged"])
    return Text.assemble(noise or " ")


def _value(row: LayerRow, key: str, text: str) -> Text:
    return Text(text or "?", STYLES["broken"] if key in row.broken else "")


def _kl(row: LayerRow, plan: _Plan, look: Look) -> Text:
    value = _value(row, "kl", ratio(row.layer.kl_ratio))
    if not plan.errors:
        return value
    error = row.layer.kl_stderr
    text = "" if error is None else f" {look.glyphs.about}{error:.3f}".replace("0.", ".", 1)
    return Text.assemble(value, (text.ljust(_error_width(look)), QUIET))


def _error_width(look: Look) -> int:
    return len(f" {look.glyphs.about}.000")


def _spectrum(row: LayerRow, plan: _Plan, look: Look) -> Text:
    layer = row.layer
    bars = sparkline(layer.eigenvalues, plan.spectrum, look.glyphs.blocks)
    stay = len(bars) if layer.keep is None else kept_columns(layer.filters, layer.keep, plan.spectrum)
    return Text.assemble((bars[:stay], SPECTRUM), (bars[stay:], QUIET))


def _with_reasons(lines: list[Text], shown: Sequence[LayerRow], look: Look) -> list[Text]:
    """Write the reason of each skipped layer across the columns that it leaves empty."""
    out = [lines[0]]
    for line, row in zip(lines[1:], shown, strict=False):
        out += [line] if row.layer.skipped is None else _reason(line, row.layer.skipped, look)
    return out + lines[1 + len(shown) :]


def _reason(line: Text, reason: str, look: Look) -> list[Text]:
    start = line.cell_len + GAP
    if look.width - start < _NAME_ROOM:
        return [line, *look.sentence(reason, 4, QUIET)]
    first, *rest = look.sentence(reason, start, QUIET) or [Text()]
    return [Text.assemble(line, (first.plain[line.cell_len :], QUIET)), *rest]


def _legend(shown: Sequence[LayerRow], plan: _Plan, look: Look) -> list[Text]:
    glyphs = look.glyphs
    parts = [
        (any(row.broken for row in shown), f"{glyphs.broken} above a limit"),
        (any(row.noisy for row in shown), f"{glyphs.noise} within two standard errors of it"),
        (any(row.unknown for row in shown), f"{glyphs.unknown} could not be measured"),
        (any(row.layer.skipped for row in shown), f"{glyphs.skipped} not judged"),
    ]
    marks = ", ".join(text for present, text in parts if present)
    standardised = "std. KL: with all filters at equal variance; " if "standardised" in plan.columns else ""
    spectrum = "; spectrum: square roots of its eigenvalues" if plan.spectrum else ""
    since = "; signed: change since the baseline" if plan.changes else ""
    columns = f"{standardised}r: |Pearson| of two filters{spectrum}{since}"
    return look.sentence(f"{columns}; {marks}" if marks else columns, 0, QUIET)


def spectra_section(record: Record, look: Look) -> list[Text]:
    """Name, counts, bars and marks of each layer that was measured; none below -vv."""
    measured = [layer for layer in record.layers if layer.eigenvalues and layer.skipped is None]
    if look.verbosity < 2 or not measured:
        return []
    energy = record.recipe.energy if record.recipe is not None else None
    cut = record.candidate is None
    room = min(look.width - _INDENT, _WIDEST_SPECTRUM) - max(len(_facts(layer, cut)) for layer in measured) - 2
    names = distinct((clean(layer.name) for layer in record.layers), max(8, room), look.glyphs.dots, cell_len)
    titles = (
        Text.assemble(" " * _INDENT, names[clean(each.name)], "  ", (_facts(each, cut), QUIET)) for each in measured
    )
    pairs = zip(titles, measured, strict=True)
    lines = [line for title, layer in pairs for line in (title, *_spectrum_lines(layer, energy, look))]
    share = f"; e: {trimmed(100 * energy, 2)}% of the energy" if energy is not None else ""
    legend = look.sentence(f"Square roots of the eigenvalues. Cuts: k: by KL{share}; *: both", 0, QUIET)
    return [*look.heading("Spectra"), *lines, *legend]


def _facts(layer: LayerRecord, cut: bool) -> str:
    whole = f"all {layer.filters}" if cut else f"{layer.filters} filters"
    kept = whole if layer.keep is None else f"{layer.keep} of {layer.filters} kept"
    standardised = layer.kl_ratio_standardised
    return f"{kept}, KL {ratio(layer.kl_ratio)}" + ("" if standardised is None else f", std. {ratio(standardised)}")


def _spectrum_lines(layer: LayerRecord, energy: float | None, look: Look) -> Iterator[Text]:
    width = min(_WIDEST_SPECTRUM, look.width - _INDENT)
    columns = min(width, len(layer.eigenvalues))
    stay = columns if layer.keep is None else kept_columns(layer.filters, layer.keep, width)
    bars = sparkline(layer.eigenvalues, width, look.glyphs.blocks)
    line = Text.assemble(" " * _INDENT, (bars[:stay], SPECTRUM), (bars[stay:], QUIET))
    line.rstrip()
    yield line
    yield Text(" " * _INDENT + _cut_marks(layer, energy, columns), QUIET)


def _cut_marks(layer: LayerRecord, energy: float | None, columns: int) -> str:
    """One sign below the last bar that each rule would keep; `*` where both end at one."""
    signs = [" "] * columns
    for sign, count in (("k", kl_cut(layer)), ("e", energy_cut(layer, energy))):
        if count is not None:
            column = min(columns, max(1, round(columns * count / max(1, layer.filters)))) - 1
            signs[column] = sign if signs[column] == " " else "*"
    return "".join(signs).rstrip()
