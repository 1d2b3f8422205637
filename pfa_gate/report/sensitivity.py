"""The sensitivity of groups as a table on a terminal and as a page with a bar plot."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from pfa_gate.budget.wording import significant
from pfa_gate.record.sensitivity import SHARES, CutGroup, SensitivityRecord, share_of
from pfa_gate.report.formatting import ASCII, UNICODE
from pfa_gate.report.html.report import filled_template
from pfa_gate.report.terminal import printed
from pfa_gate.report.terminal.layout import GAP, HEADING, QUIET, Look, lay_out, widths
from pfa_gate.report.text import clean, distinct

_BAR = 20  # cells of the longest bar


def value_text(value: float | None) -> str:
    """A divergence or an error for people.

    Example:
        >>> value_text(0.01234), value_text(float("inf")), value_text(None)
        ('0.0123', 'inf', '')
    """
    if value is None:
        return ""
    return "inf" if math.isinf(value) else significant(value) if value else "0"


def sensitivity_sentences(record: SensitivityRecord) -> tuple[str, ...]:
    """What the numbers are, and what they were taken on."""
    unit = "in nats" if record.measure == "divergence" else "relative to the spread of the outputs"
    what = f"the mean divergence of the answers, {unit}" if record.measure == "divergence" else f"their error, {unit}"
    return (
        f"Each group is cut alone by {record.selection}; the layers that read it are refitted. The value is {what}.",
        f"Answers are compared on {record.samples:,} samples of the probe on which nothing was fitted; "
        f"the layers are refitted on {record.fitted:,} others.",
    )


def terminal(record: SensitivityRecord, *, width: int, colour: bool, unicode: bool) -> str:
    """The table, the group that its recipe costs most first; no line is wider than `width`."""
    look = Look(max(width, 40), UNICODE if unicode else ASCII, 0)
    lines = [Text(f"Sensitivity of {clean(record.gate)}", HEADING), Text("")]
    for sentence in sensitivity_sentences(record):
        lines += look.sentence(sentence, 0, QUIET)
    cells = list(_cells(record, look))
    if sum(widths(cells)) + GAP * (len(cells[0]) - 1) > look.width:
        cells = [line[:-1] for line in cells]
    room = look.width - sum(widths(cells)[1:]) - GAP * (len(cells[0]) - 1)
    names = distinct((clean(each.group) for each in record.groups), max(8, room), look.glyphs.dots, cell_len)
    for line in cells[1:]:
        line[0] = Text(names[line[0].plain])
    lines += [Text(""), *lay_out(cells, "lrrrrrrl"[: len(cells[0])])]
    for name, reason in record.whole.items():
        lines += look.sentence(f"{clean(name)}: not cut, {reason}", 0, QUIET)
    text = printed(lines, look.width, colour)
    return text if unicode else text.encode("ascii", "replace").decode("ascii")


def _cells(record: SensitivityRecord, look: Look) -> Iterator[list[Text]]:
    shares = [f"{100 * share:.0f}%" for share in SHARES]
    yield [Text(title, QUIET) for title in ("group", "filters", "recipe", "at recipe", *shares, "")]
    most = max((value for each in record.groups if math.isfinite(value := _main(each))), default=0.0)
    for each in record.worst_first:
        values = (each.at(each.recipe), *(each.at(share_of(each.filters, share)) for share in SHARES))
        bar = round(_BAR * min(1.0, _main(each) / most)) if most else 0
        numbers = (f"{each.filters:,}", f"{each.recipe:,}", *map(value_text, values))
        yield [Text(clean(each.group)), *map(Text, numbers), Text(look.glyphs.blocks[-1] * bar)]


def _main(group: CutGroup) -> float:
    """The value by which groups are sorted, that at the recipe's count."""
    return group.at(group.recipe) or 0.0


@dataclass(frozen=True)
class Bar:
    """A row of the page: its numbers in words, and the widths of its bars in percent of the longest one."""

    group: CutGroup
    recipe: str
    values: tuple[str, ...]
    sort: tuple[str, ...]
    width: float
    half: float


def page(record: SensitivityRecord) -> str:
    """A page that holds all it shows.

    Example:
        >>> record = SensitivityRecord("digits", "pfa.yaml", {}, "divergence", "l1", 64, 256, "ab", "cd")
        >>> page(record)[:15]
        '<!doctype html>'
    """
    groups = record.worst_first
    return filled_template(
        "sensitivity.html.j2",
        record=record,
        sentences=sensitivity_sentences(record),
        shares=[f"{100 * share:.0f}%" for share in SHARES],
        bars=[_bar(each, _longest(groups)) for each in groups],
    )


def _longest(groups: Sequence[CutGroup]) -> float:
    values = [value for each in groups for value in (_main(each), each.half or 0.0) if math.isfinite(value)]
    return max(values, default=0.0)


def _bar(group: CutGroup, longest: float) -> Bar:
    values = [group.at(share_of(group.filters, share)) for share in SHARES]
    at_recipe = group.at(group.recipe)

    def part(value: float | None) -> float:
        return round(100 * min(1.0, (value or 0.0) / longest), 2) if longest else 0.0

    return Bar(
        group=group,
        recipe=value_text(at_recipe),
        values=tuple(map(value_text, values)),
        sort=tuple("-1" if value is None else f"{min(value, 1e300):.6g}" for value in (at_recipe, *values)),
        width=part(at_recipe),
        half=part(group.half),
    )
