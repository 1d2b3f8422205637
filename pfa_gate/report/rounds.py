"""What each round of the recipe left of each group, where there were several."""

from dataclasses import dataclass

from pfa_gate.record import Record


@dataclass(frozen=True)
class RoundRow:
    """A group: its name, how many filters it had, and how many it kept after each round; empty if unknown."""

    group: str
    filters: str
    kept: tuple[str, ...]


def round_rows(record: Record) -> tuple[RoundRow, ...]:
    """One row for each group; none where the recipe had one round.

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
    """The filters of all groups after each round, in one sentence; empty where the recipe had one round.

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
    """Filters of each group: those of a layer that gives them."""
    return {layer.group or layer.name: layer.filters for layer in reversed(record.layers)}


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
