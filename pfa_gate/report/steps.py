"""Step by step from the full model to the delivered one: the rounds of the recipe, the cut, and recovery."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pfa_gate.budget.wording import plural, significant
from pfa_gate.record import Record, RecoveryStep, Repair
from pfa_gate.report.formatting import change, rise, score
from pfa_gate.report.quantized import bits_sentence
from pfa_gate.report.text import shorten

_UNKNOWN = "the record does not say why"
_LONGEST = 200


@dataclass(frozen=True)
class RecoveryRow:
    """One step.

    Attributes:
        name: full, cut, or a step of pfa.yaml.
        value: the score after it; None without an evaluation.
        score: the same in words.
        change: since the row above, in words.
        seconds: that it took, in words; empty if none.
        detail: what it did.
    """

    name: str
    value: float | None
    score: str
    change: str
    seconds: str
    detail: str = ""


@dataclass(frozen=True)
class RepairRow:
    """What compensation did to one layer, in words.

    Attributes:
        layer: its name.
        before, after: its held-out error, in percent of the variance of what it should make; empty if unknown.
        ridge: of its normal equations; empty where it was left alone.
        patches: it was solved on.
        reason: why it was left alone; empty where it was solved.
    """

    layer: str
    before: str
    after: str
    ridge: str
    patches: str
    reason: str


def recovery_rows(record: Record) -> tuple[RecoveryRow, ...]:
    """The full model, the cut, each step after it, and the int8 file; none without recovery and such a file.

    Example:
        >>> from pfa_gate.record import CompressedRecord, Exact, Probe, RecoveryStep, Scores, Size
        >>> steps = (RecoveryStep("cut", 0.5, 0.0), RecoveryStep("compensate", 0.9, 1.0))
        >>> part = CompressedRecord(4, 16, 36, None, Exact(0.0, True), recovery=steps)
        >>> sizes, probe, scores = Size(9, 36, 81), Probe(64, "ab"), Scores("accuracy", 0.95, 0.9, 0.05)
        >>> rows = recovery_rows(Record("digits", "pfa.yaml", {}, {}, sizes, probe, compressed=part, scores=scores))
        >>> [(row.name, row.score, row.change) for row in rows]
        [('full', '95.00%', ''), ('cut', '50.00%', '-45.00 pp'), ('compensate', '90.00%', '+40.00 pp')]
    """
    return tuple(_rows(record))


def repaired(record: Record) -> tuple[RecoveryStep, ...]:
    """The steps that repaired layers."""
    steps = record.compressed.recovery if record.compressed is not None else ()
    return tuple(step for step in steps if step.repairs)


def repair_rows(step: RecoveryStep, most: int | None = None) -> tuple[RepairRow, ...]:
    """The layers of a step in forward order.

    Args:
        step: of the recovery.
        most: rows at most: those left alone, then those with the largest error after it; None for all.

    Example:
        >>> from pfa_gate.record import Repair
        >>> frozen = Repair("conv2", None, None, None, 0, "it is frozen")
        >>> layers = (Repair("conv1", 0.1234, 0.02, 1e-3, 4096), frozen)
        >>> first, second = repair_rows(RecoveryStep("compensate", None, 1.0, repairs=layers))
        >>> first.before, first.after, first.ridge, first.patches, second.reason
        ('12.3%', '2%', '0.001', '4,096', 'it is frozen')
    """
    indices = sorted(range(len(step.repairs)), key=lambda index: _urgency(step.repairs[index]))[:most]
    return tuple(_repair_row(step.repairs[index]) for index in sorted(indices))


def worst_repairs(step: RecoveryStep, most: int) -> tuple[RepairRow, ...]:
    """The layers that were solved and still have the largest error, largest first."""
    solved = [repair for repair in step.repairs if repair.ridge is not None]
    return tuple(_repair_row(repair) for repair in sorted(solved, key=_urgency)[:most])


def repair_summary(step: RecoveryStep) -> str:
    """All layers of a step in one sentence.

    Example:
        >>> from pfa_gate.record import Repair
        >>> frozen = Repair("conv2", None, None, None, 0, "it is frozen")
        >>> layers = (Repair("conv1", 0.12, 0.02, 1e-3, 4096), frozen)
        >>> repair_summary(RecoveryStep("compensate", None, 1.0, repairs=layers))
        '1 of 2 layers solved anew on 4,096 patches, 1 left alone; median held-out error of those solved 12% to 2%'
    """
    solved = [repair for repair in step.repairs if repair.ridge is not None]
    left = len(step.repairs) - len(solved)
    rows = sum(repair.rows for repair in solved)
    counts = f"{len(solved):,} of {plural(len(step.repairs), 'layer')} solved anew on {rows:,} patches"
    counts += f", {left:,} left alone" if left else ""
    before = [repair.before for repair in solved if repair.before is not None]
    after = [repair.after for repair in solved if repair.after is not None]
    if not before or not after:
        return counts
    middle = (_error(statistics.median(values)) for values in (before, after))
    return f"{counts}; median held-out error of those solved {' to '.join(middle)}"


def left_alone(step: RecoveryStep) -> tuple[tuple[str, Sequence[str]], ...]:
    """Each reason for which layers were left alone, with the names of these layers.

    Example:
        >>> from pfa_gate.record import Repair
        >>> layers = tuple(Repair(name, None, None, None, 0, "it is frozen") for name in ("conv1", "conv2"))
        >>> left_alone(RecoveryStep("compensate", None, 1.0, repairs=layers))
        (('it is frozen', ['conv1', 'conv2']),)
    """
    layers: dict[str, list[str]] = {}
    for repair in step.repairs:
        if repair.ridge is None:
            layers.setdefault(_reason(repair), []).append(repair.layer)
    return tuple(layers.items())


def _urgency(repair: Repair) -> tuple[bool, float]:
    return repair.ridge is not None, -(repair.after or 0.0)


def _repair_row(repair: Repair) -> RepairRow:
    alone = repair.ridge is None
    return RepairRow(
        layer=repair.layer,
        before=_error(repair.before),
        after="" if alone else _error(repair.after),
        ridge="" if repair.ridge is None else f"{repair.ridge:.2g}",
        patches=f"{repair.rows:,}" if repair.rows else "",
        reason=_reason(repair) if alone else "",
    )


def _reason(repair: Repair) -> str:
    return shorten(repair.reason or _UNKNOWN, _LONGEST)


def _error(value: float | None) -> str:
    return "" if value is None else f"{significant(100 * value)}%"


def _rows(record: Record) -> Iterator[RecoveryRow]:
    steps = (*(record.compressed.recovery if record.compressed is not None else ()), *_of_few_bits(record))
    if not steps:
        return
    share = record.scores is not None and record.scores.share
    before = record.scores.full if record.scores else None
    yield RecoveryRow("full", before, score(before, share), "", "")
    for step in steps:
        changed = change(rise(before, step.accuracy), share)
        taken = f"{step.seconds:.1f} s" if step.seconds else ""
        yield RecoveryRow(step.step, step.accuracy, score(step.accuracy, share), changed, taken, step.detail)
        before = step.accuracy


def _of_few_bits(record: Record) -> Iterator[RecoveryStep]:
    """The step from the compressed model to the int8 file; the cut before it, where no recovery has named it."""
    file = record.quantized
    if file is None or record.compressed is None:
        return
    if not record.compressed.recovery:
        yield RecoveryStep("cut", record.scores.compressed if record.scores else None, 0.0)
    value = file.scores.compressed if file.scores is not None else None
    yield RecoveryStep(file.label, value, record.seconds.get("quantizing", 0.0), bits_sentence(file))


@dataclass(frozen=True)
class RoundRow:
    """A group: its name, how many filters it had, and how many it kept after each round; empty if unknown."""

    group: str
    filters: str
    kept: tuple[str, ...]


def round_rows(record: Record) -> tuple[RoundRow, ...]:
    """One row for each group; none for a recipe of one round.

    Example:
        >>> from pfa_gate.record import LayerRecord, Probe, RecipeRecord, Size
        >>> stem, plan = LayerRecord("stem", "Conv2d", 16), RecipeRecord("kl", None, {}, {}, ({"stem": 9}, {"stem": 7}))
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"), (stem,), recipe=plan)
        >>> round_rows(record)
        (RoundRow(group='stem', filters='16', kept=('9', '7')),)
    """
    rounds = record.recipe.rounds if record.recipe is not None else ()
    widths = _widths(record)
    groups = dict.fromkeys(group for counts in rounds for group in counts)
    return tuple(
        RoundRow(group, _count(widths.get(group)), tuple(_count(counts.get(group)) for counts in rounds))
        for group in groups
    )


def rounds_sentence(record: Record) -> str:
    """The filters of all groups after each round, in one sentence; empty for a recipe of one round.

    Example:
        >>> from pfa_gate.record import LayerRecord, Probe, RecipeRecord, Size
        >>> stem, plan = LayerRecord("stem", "Conv2d", 16), RecipeRecord("kl", None, {}, {}, ({"stem": 9}, {"stem": 7}))
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"), (stem,), recipe=plan)
        >>> rounds_sentence(record)
        'Filters kept after each of 2 rounds: 9, 7 of 16.'
    """
    rounds = record.recipe.rounds if record.recipe is not None else ()
    if not rounds:
        return ""
    widths = _widths(record)
    groups = {group for counts in rounds for group in counts}
    whole = f" of {sum(widths[group] for group in groups):,}" if groups <= set(widths) else ""
    totals = ", ".join(f"{sum(counts.values()):,}" for counts in rounds)
    return f"Filters kept after each of {len(rounds)} rounds: {totals}{whole}."


def _widths(record: Record) -> dict[str, int]:
    """Filters of each group, from the layers that have them."""
    return {layer.group or layer.name: layer.filters for layer in reversed(record.layers)}


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
