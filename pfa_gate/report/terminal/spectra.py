"""Every layer's spectrum across the terminal, and where each rule would cut it."""

from collections.abc import Iterator

from rich.cells import cell_len
from rich.text import Text

from pfa_gate.budget.wording import trimmed
from pfa_gate.record import LayerRecord, Record
from pfa_gate.report.cuts import energy_cut, kl_cut
from pfa_gate.report.formatting import ratio
from pfa_gate.report.sparkline import cut, sparkline
from pfa_gate.report.terminal.look import QUIET, SPECTRUM, Look
from pfa_gate.report.text import clean, distinct

_INDENT = 3
_MOST = 96


def spectra_section(record: Record, look: Look) -> list[Text]:
    """Name, counts, bars and marks of each layer that was measured; none below -vv."""
    measured = [layer for layer in record.layers if layer.eigenvalues and layer.skipped is None]
    if look.verbosity < 2 or not measured:
        return []
    energy = record.recipe.energy if record.recipe is not None else None
    room = min(look.width - _INDENT, _MOST) - max(len(_facts(layer)) for layer in measured) - 2
    names = distinct((clean(layer.name) for layer in record.layers), max(8, room), look.glyphs.dots, cell_len)
    lines = [line for layer in measured for line in _layer(layer, names[clean(layer.name)], energy, look)]
    share = f"; e: {trimmed(100 * energy, 2)}% of the energy" if energy is not None else ""
    legend = look.sentence(f"Square roots of the eigenvalues. Cuts: k: by KL{share}; *: both", 0, QUIET)
    return [*look.heading("Spectra"), *lines, *legend]


def _facts(layer: LayerRecord) -> str:
    kept = f"all {layer.filters}" if layer.keep is None else f"{layer.keep} of {layer.filters} kept"
    standardised = layer.kl_ratio_standardised
    return f"{kept}, KL {ratio(layer.kl_ratio)}" + ("" if standardised is None else f", std. {ratio(standardised)}")


def _layer(layer: LayerRecord, name: str, energy: float | None, look: Look) -> Iterator[Text]:
    width = min(_MOST, look.width - _INDENT)
    columns = min(width, len(layer.eigenvalues))
    stay = columns if layer.keep is None else cut(layer.filters, layer.keep, width)
    yield Text.assemble(" " * _INDENT, name, "  ", (_facts(layer), QUIET))
    bars = sparkline(layer.eigenvalues, width, look.glyphs.blocks)
    line = Text.assemble(" " * _INDENT, (bars[:stay], SPECTRUM), (bars[stay:], QUIET))
    line.rstrip()
    yield line
    yield Text(" " * _INDENT + _marks(layer, energy, columns), QUIET)


def _marks(layer: LayerRecord, energy: float | None, columns: int) -> str:
    """One sign below the last bar that each rule would keep; `*` where both end at one."""
    signs = [" "] * columns
    for sign, count in (("k", kl_cut(layer)), ("e", energy_cut(layer, energy))):
        if count is not None:
            place = min(columns, max(1, round(columns * count / max(1, layer.filters)))) - 1
            signs[place] = sign if signs[place] == " " else "*"
    return "".join(signs).rstrip()
