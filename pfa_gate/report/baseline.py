"""What a report says of the baseline: which one, how old, and what cannot be compared one to one."""

from collections.abc import Iterator
from datetime import date

from pfa_gate.budget.whole_model import in_its_unit
from pfa_gate.budget.wording import listed, percent, plural, quantity, significant
from pfa_gate.config.budgets import ANSWERS
from pfa_gate.record import LayerRecord, Record, layer_values

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


def baseline_value(record: Record, budget: str) -> str:
    """What the baseline has for a budget on a whole model, as limits are written; empty where it has nothing.

    Example:
        >>> from pfa_gate.record import Compared, Probe, Size
        >>> against = Compared("pfa.baseline.json", "2026-11-12", "", values={"model.bytes": 1_200_000.0})
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"), baseline=against)
        >>> baseline_value(record, "model.bytes"), baseline_value(record, "model.macs")
        ('1.2 MB', '')
    """
    base = record.baseline
    value = None if base is None or base.refusal else base.values.get(budget)
    if value is None:
        return ""
    if budget.partition(".")[2] in ANSWERS:
        return in_its_unit(value, True) if budget.endswith("_drop") else _answered(budget, value)
    if budget.endswith("_drop"):
        return in_its_unit(value, record.scores is None or record.scores.share)
    if budget.endswith("latency"):
        return percent(value / 100)
    return quantity(value, budget.partition(".")[2])


def _answered(budget: str, value: float) -> str:
    return significant(value) if budget.endswith("divergence") else percent(value / 100, 2)


def change_since(record: Record, layer: LayerRecord, key: str) -> float | None:
    """By how much a layer's value differs from the baseline's; None where one of the two is missing.

    Args:
        record: what the run found.
        layer: one of its layers.
        key: kl, peak_correlation, mean_correlation or inactive.

    Example:
        >>> from pfa_gate.record import Compared, Probe, Size
        >>> stem = LayerRecord("stem", "Conv2d", 16, kl_ratio=0.5)
        >>> against = Compared("pfa.baseline.json", "2026-11-12", "", layers={"stem": {"kl": 0.25}})
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"), baseline=against)
        >>> change_since(record, stem, "kl"), change_since(record, stem, "inactive")
        (0.25, None)
    """
    base = record.baseline
    was = None if base is None or base.refusal else base.layers.get(layer.name, {}).get(key)
    now = layer_values(layer.measure()).get(key)
    return None if was is None or now is None else now - was


def signed_change(difference: float | None, key: str) -> str:
    """A difference with its sign, rounded as its value is; empty where rounding leaves none.

    Example:
        >>> signed_change(0.0312, "kl"), signed_change(-2.0, "inactive"), signed_change(0.0001, "kl")
        ('+0.031', '-2', '')
    """
    text = "" if difference is None else f"{difference:+.0f}" if key == "inactive" else f"{difference:+.3f}"
    return text if text.strip("+-0.") else ""


def _age(written: str, today: date) -> str:
    try:
        days = (today - date.fromisoformat(written)).days
    except ValueError:
        return ""
    return f" ({plural(days, 'day')} old)" if days > 0 else ""
