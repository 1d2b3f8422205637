"""What a report says of the baseline: which one, how old, and what cannot be compared one to one."""

from collections.abc import Iterator
from datetime import date

from pfa_gate.budget.wording import listed, plural
from pfa_gate.record import Record

_MOST = 5


def baseline_sentences(record: Record, today: date | None = None) -> Iterator[str]:
    """The baseline of a record in words; nothing where there is none.

    Args:
        record: what the run found.
        today: from which its age is counted; today unless given.

    Example:
        >>> from pfa_gate.record import Compared, Probe, Size
        >>> against = Compared("pfa.baseline.json", "2026-11-12", "abcdef0123456", gone=("stem",))
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"), baseline=against)
        >>> list(baseline_sentences(record, date(2026, 11, 20)))
        ['pfa.baseline.json, written 2026-11-12 at abcdef0123 (8 days old).', 'Gone since: stem.']
    """
    base = record.baseline
    if base is None:
        return
    at = f" at {base.commit[:10]}" if base.commit else ""
    yield f"{base.source}, written {base.written}{at}{_age(base.written, today or date.today())}."
    if base.refusal:
        yield f"It cannot be compared: {base.refusal}."
    if base.changed:
        yield f"Changed since: {', '.join(base.changed)}."
    if base.new:
        yield f"New since: {listed(base.new, _MOST)}."
    if base.gone:
        yield f"Gone since: {listed(base.gone, _MOST)}."
    if base.renamed:
        yield f"Renamed since: {listed([f'{old} to {new}' for new, old in base.renamed.items()], _MOST)}."


def _age(written: str, today: date) -> str:
    try:
        days = (today - date.fromisoformat(written)).days
    except ValueError:
        return ""
    return f" ({plural(days, 'day')} old)" if days > 0 else ""
