"""Words and rounding that all reports share: what a number, a name or a verdict looks like to people."""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from pfa_gate.budget import Outcome
from pfa_gate.budget.wording import amount, difference, percent, plural, quantity, significant
from pfa_gate.config.budgets import DEMANDS
from pfa_gate.record import Probe, QuantizedRecord, Record, Scores
from pfa_gate.report.candidate import UNCOUNTED
from pfa_gate.report.text import clean
from pfa_gate.report.timing import time_interval

# Sorting by severity: what must be seen first.
SEVERITY: tuple[Outcome, ...] = ("broken", "not judged", "kept")


@dataclass(frozen=True)
class Glyphs:
    """The few signs beyond letters that a report uses."""

    kept: str
    broken: str
    unknown: str
    noise: str
    skipped: str
    dots: str
    about: str
    between: str
    blocks: str

    def mark(self, outcome: Outcome) -> str:
        """The sign of an outcome.

        Example:
            >>> ASCII.mark("broken"), UNICODE.mark("kept")
            ('x', '✓')
        """
        return {"kept": self.kept, "broken": self.broken, "not judged": self.unknown}[outcome]


UNICODE = Glyphs("✓", "✗", "?", "~", "–", "…", "±", " · ", "▁▂▃▄▅▆▇█")
ASCII = Glyphs("+", "x", "?", "~", "-", "..", "+-", " - ", "_.:-=+*#")


def share(part: float | None, whole: float | None) -> str:
    """A part as a percentage of the whole; empty where there is none.

    Example:
        >>> share(55, 100), share(1, 0)
        ('55.0%', '')
    """
    return percent(part / whole) if part is not None and whole else ""


def ratio(value: float | None) -> str:
    """A ratio in [0, 1] to three decimals; empty where there is none.

    Example:
        >>> ratio(0.83149), ratio(None)
        ('0.831', '')
    """
    return "" if value is None else f"{value:.3f}"


def score(value: float | None, share: bool) -> str:
    """A score: a share in percent, what a user's metric gives to four digits.

    Example:
        >>> score(0.98519, True), score(31.2489, False)
        ('98.52%', '31.25')
    """
    if value is None:
        return ""
    return percent(value, 2) if share else significant(value, 4)


def change(rise: float | None, share: bool) -> str:
    """The change of a score with its sign: of a share in percentage points, else to three digits in its own unit.

    Example:
        >>> change(-0.004, True), change(0.5, False), change(-0.00123, False), change(None, True)
        ('-0.40 pp', '+0.5', '-0.00123', '')
    """
    if rise is None:
        return ""
    if not share:
        return f"{'+' if rise > 0 else ''}{significant(rise)}"
    value = round(100 * rise, 2) + 0.0
    return f"{value:+.2f} pp" if value else "0.00 pp"


def rise(before: float | None, after: float | None) -> float | None:
    """By how much a score rose, without the noise of rounding; None where one of the two is missing.

    Example:
        >>> rise(0.36, 0.37), rise(None, 0.5)
        (0.01, None)
    """
    return None if before is None or after is None else difference(after, before)


def interval(scores: Scores) -> str:
    """The 95 % interval of the change of a score; empty where there is none.

    Example:
        >>> interval(Scores("accuracy", 0.985, 0.981, 0.004, (-0.002, 0.010)))
        '95%: -1.00 to +0.20 pp'
    """
    if scores.interval is None:
        return ""
    ends = scores.interval if scores.lower else [-end for end in reversed(scores.interval)]
    low, high = (change(end, scores.share) for end in ends)
    return f"95%: {low.removesuffix(' pp')} to {high}"


def moment(text: str) -> str:
    """A time of a record to the minute; any other text stays as it is.

    Example:
        >>> moment("2026-11-20T08:30:00Z"), moment("yesterday")
        ('2026-11-20 08:30 UTC', 'yesterday')
    """
    try:
        return f"{datetime.strptime(text, '%Y-%m-%dT%H:%M:%SZ'):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return text


def looked_at(probe: Probe) -> str:
    """The probe that the spectra were measured on.

    Example:
        >>> looked_at(Probe(1024, "ab")), looked_at(Probe(48, "ab", 64))
        ('1,024 probe samples', '48 probe samples, 64 positions of each map')
    """
    drawn = "" if probe.positions is None else f", {plural(probe.positions, 'position')} of each map"
    apart = f", {probe.held_out:,} more held out for answers" if probe.held_out else ""
    return f"{probe.samples:,} probe samples{drawn}{apart}"


def rerun_command(record: Record, budget: str = "") -> str:
    """The command that runs a gate, or one of its budgets, again.

    Example:
        >>> from pfa_gate.record import Probe, Record, Size
        >>> rerun_command(Record("my digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab")), "exact")
        "pytest --pfa 'pfa.yaml::my digits::exact'"
    """
    if record.command:
        return clean(record.command)
    node = "::".join(part for part in (record.config, record.gate, budget) if part)
    return f"pytest --pfa {shlex.quote(clean(node))}"


def shows_unicode(encoding: str | None) -> bool:
    """Whether a terminal of an encoding can show the signs of a report.

    Example:
        >>> shows_unicode("utf-8"), shows_unicode("latin-1"), shows_unicode(None)
        (True, False, False)
    """
    try:
        "✓✗±·–…▁▂▃▄▅▆▇█".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


@dataclass(frozen=True)
class SizeRow:
    """One line of the footprint: the full model, the compressed one, both compared, and a remark.

    Attributes:
        basis: what the interval in the remark is made of, for reports with room.
    """

    name: str
    full: str
    compressed: str
    change: str
    remark: str = ""
    basis: str = ""


def footprint(record: Record) -> tuple[SizeRow, ...]:
    """All sizes, score and latency before and after, then of the int8 file; what was not measured is left out.

    Example:
        >>> from pfa_gate.record import Probe, Record, Size
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(412345, 1649380, 81), Probe(64, "ab"))
        >>> footprint(record)[1]
        SizeRow(name='bytes', full='1.65 MB', compressed='', change='', remark='', basis='')
    """
    full, part = record.model, record.compressed
    rows = [
        _size_row("parameters", full.parameters, part.parameters if part else None, "{:,}".format),
        _size_row("bytes", full.bytes, part.bytes if part else None, lambda count: amount(count, "B")),
        _size_row("MACs", None if _uncounted(record) else full.macs, part.macs if part else None, amount),
    ]
    for key in DEMANDS:
        sizes = getattr(full, key), getattr(part, key, None)
        if any(size is not None for size in sizes):
            rows.append(_size_row(key, *sizes, lambda size, key=key: quantity(size, key)))  # type: ignore[misc]
    if record.scores is not None:
        rows.append(_score_row(record.scores))
    if part is not None and part.latency is not None:
        rows.append(SizeRow("latency", "", "", percent(part.latency), time_interval(part)))
    if record.quantized is not None:
        rows += _int8_rows(record, record.quantized)
    return tuple(rows)


def _int8_rows(record: Record, file: QuantizedRecord) -> Iterator[SizeRow]:
    yield _size_row(f"{file.label} bytes", record.model.bytes, file.bytes, lambda count: amount(count, "B"))
    if file.scores is not None:
        row = _score_row(file.scores)
        yield replace(row, name=f"{file.label} {row.name}")


def _uncounted(record: Record) -> bool:
    return any(gap.what == UNCOUNTED for gap in record.unmeasured)


def _size_row(name: str, full: float | None, part: float | None, word: Callable[[float], str]) -> SizeRow:
    whole, left = ("" if size is None else word(size) for size in (full, part))
    return SizeRow(name, whole, left, share(part, full))


def _score_row(scores: Scores) -> SizeRow:
    before, after = score(scores.full, scores.share), score(scores.compressed, scores.share)
    changed = change(rise(scores.full, scores.compressed), scores.share)
    remarks = ("lower is better" if scores.lower else "", interval(scores))
    return SizeRow(metric_name(scores.metric), before, after, changed, ", ".join(filter(None, remarks)), scores.basis)


def metric_name(metric: str) -> str:
    """A metric as people call it: without its module.

    Example:
        >>> metric_name("top5"), metric_name("psnr.py:psnr")
        ('top5', 'psnr')
    """
    return metric.rpartition(":")[2] or metric


def headline(record: Record) -> tuple[Outcome, str]:
    """The verdict on the whole run, and how many budgets are what.

    Example:
        >>> from pfa_gate.record import Probe, Record, Size
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"))
        >>> headline(record)
        ('not judged', 'no budget was judged')
    """
    counts = {outcome: sum(f.outcome == outcome for f in record.budgets) for outcome in SEVERITY}
    total = len(record.budgets)
    if not total:
        return "not judged", "no budget was judged"
    if counts["kept"] == total:
        return "kept", f"{plural(total, 'budget')} kept"
    verdict: Outcome = "broken" if counts["broken"] else "not judged"
    words = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    return verdict, f"{plural(total, 'budget')}: {words}"
