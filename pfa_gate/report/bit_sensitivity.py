"""What the bits of each layer are worth, as a table on a terminal and as a page with a bar plot."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from pfa_gate.budget.wording import significant
from pfa_gate.record.bit_sensitivity import BitSensitivityRecord, LayerWidths
from pfa_gate.report.formatting import ASCII, UNICODE
from pfa_gate.report.html.report import filled_template
from pfa_gate.report.terminal import printed
from pfa_gate.report.terminal.layout import GAP, HEADING, QUIET, Look, lay_out, widths
from pfa_gate.report.text import clean, distinct

SORTED_BY, BESIDE = "4", "2"
"""The width by which layers are sorted, and the one that the page shows beside it."""
_LEAST = 1e-4
_NAMES = 12  # cells of the column of names at least


def value_text(value: float) -> str:
    """A divergence or an error to two digits.

    Example:
        >>> value_text(0.01234), value_text(3e-7), value_text(float("inf")), value_text(0.0)
        ('0.012', '<0.0001', 'inf', '0')
    """
    if math.isinf(value) or not value:
        return "inf" if value else "0"
    return significant(value, 2) if value >= _LEAST else f"<{_LEAST:.4f}"


def bit_sentences(record: BitSensitivityRecord) -> tuple[str, ...]:
    """What the numbers are, and what they were taken on."""
    unit = "in nats" if record.measure == "divergence" else "relative to the spread of the outputs"
    what = f"the mean divergence of the answers, {unit}" if record.measure == "divergence" else f"their error, {unit}"
    return (
        f"The weights of each layer alone get so many bits, each the nearest number; the value is {what}.",
        f"Answers are compared on {record.samples:,} samples of the probe. quantize: {{bits: auto}} divides its bytes "
        "by such values.",
    )


def terminal(record: BitSensitivityRecord, *, width: int, colour: bool, unicode: bool) -> str:
    """The table, the layer that 4 bits cost most first; no line is wider than `width`."""
    look = Look(max(width, 40), UNICODE if unicode else ASCII, 0)
    lines = [Text(f"Bits of {clean(record.gate)}", HEADING), Text("")]
    for sentence in bit_sentences(record):
        lines += look.sentence(sentence, 0, QUIET)
    shown = list(record.widths)
    cells = list(_cells(record, shown))
    while len(shown) > 1 and sum(widths(cells)[1:]) + GAP * (len(cells[0]) - 1) + _NAMES > look.width:
        del shown[-1 if shown[-1] != SORTED_BY else 0]
        cells = list(_cells(record, shown))
    room = look.width - sum(widths(cells)[1:]) - GAP * (len(cells[0]) - 1)
    names = distinct((clean(each.layer) for each in record.layers), max(8, room), look.glyphs.dots, cell_len)
    for line in cells[1:]:
        line[0] = Text(names[line[0].plain])
    lines += [Text(""), *lay_out(cells, f"l{'r' * (len(cells[0]) - 1)}")]
    left = [each for each in record.widths if each not in shown]
    if left:
        lines += look.sentence(f"Left out for want of room: {', '.join(left)}.", 0, QUIET)
    for name, reason in record.floating.items():
        lines += look.sentence(f"{clean(name)}: floating, {reason}", 0, QUIET)
    text = printed(lines, look.width, colour)
    return text if unicode else text.encode("ascii", "replace").decode("ascii")


def _cells(record: BitSensitivityRecord, shown: Sequence[str]) -> Iterator[list[Text]]:
    yield [Text(title, QUIET) for title in ("layer", "weights", *shown)]
    for each in record.worst_first(SORTED_BY):
        values = (value_text(each.at(width)) for width in shown)
        yield [Text(clean(each.layer)), Text(f"{each.weights:,}"), *map(Text, values)]


@dataclass(frozen=True)
class WidthBar:
    """A row of the page: its numbers in words, and the lengths of its bars in percent of the longest one."""

    layer: LayerWidths
    values: tuple[str, ...]
    sort: tuple[str, ...]
    width: float
    beside: float


def page(record: BitSensitivityRecord) -> str:
    """A page that holds all it shows.

    Example:
        >>> record = BitSensitivityRecord("digits", "pfa.yaml", {}, "divergence", ("2", "4"), 64, "ab", "cd", 9)
        >>> page(record)[:15]
        '<!doctype html>'
    """
    layers = record.worst_first(SORTED_BY)
    values = [each.at(width) for each in layers for width in (SORTED_BY, BESIDE)]
    longest = max((math.sqrt(value) for value in values if math.isfinite(value)), default=0.0)
    return filled_template(
        "bit_sensitivity.html.j2",
        record=record,
        sentences=bit_sentences(record),
        bars=[_bar(each, record.widths, longest) for each in layers],
    )


def _bar(layer: LayerWidths, shown: Sequence[str], longest: float) -> WidthBar:
    def part(width: str) -> float:
        """Of the root: the changes themselves, beside which the values of 4 bits can be seen."""
        return round(100 * min(1.0, math.sqrt(layer.at(width)) / longest), 2) if longest else 0.0

    values = [layer.at(width) for width in shown]
    return WidthBar(
        layer=layer,
        values=tuple(map(value_text, values)),
        sort=tuple(f"{min(value, 1e300):.6g}" for value in values),
        width=part(SORTED_BY),
        beside=part(BESIDE),
    )
