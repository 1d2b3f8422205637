"""The verdict on one budget."""

from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["kept", "broken", "not judged"]


@dataclass(frozen=True)
class LayerFinding:
    """The verdict on one layer under one layer budget.

    Attributes:
        layer: the module's dotted name.
        limit: largest value allowed, in the budget's own unit (a ratio, or a count for `inactive`); None where
            it is against a baseline that does not have the layer.
        observed: the value measured, in the same unit; None where it was not.
        outcome: kept, broken or not judged.
        within_noise: the value lies within two standard errors of its limit.
        before: the baseline's value; None where there is none or the limit does not refer to it.
        waived: why it may break its limit for now; empty if it may not.
    """

    layer: str
    limit: float | None
    observed: float | None
    outcome: Outcome
    within_noise: bool = False
    before: float | None = None
    waived: str = ""


@dataclass(frozen=True)
class Finding:
    """The verdict on one declared budget.

    Attributes:
        id: the budget's name, `layers.kl` say; the last part of its node id.
        limit: the limit as the user wrote it.
        observed: the value measured, rounded for people; the worst layer's for a layer budget; may be empty.
        outcome: kept, broken or not judged. What could not be measured is never kept.
        sentence: the verdict in words: by how much, and which layers, worst first.
        line: line of the budget in pfa.yaml, from 1.
        details: one finding per layer the budget applies to, in model order; empty for other budgets.
        notes: sentences that make the verdict less certain, whatever it is: noise, bias, groups left whole.
        target: for a size of the compressed model, what a recipe must reach for it to be kept, as pfa.yaml writes
            it: the maximum, or what the baseline allows where that is less. Empty for anything else.
    """

    id: str
    limit: str
    observed: str
    outcome: Outcome
    sentence: str
    line: int
    details: tuple[LayerFinding, ...] = ()
    notes: tuple[str, ...] = ()
    target: str = field(default="", metadata={"later": True})


@dataclass(frozen=True)
class Judgement:
    """A finding that does not know its name and line yet."""

    limit: str
    observed: str
    outcome: Outcome
    sentence: str
    details: tuple[LayerFinding, ...] = ()
    notes: tuple[str, ...] = ()
    target: str = ""

    def named(self, id: str, line: int) -> Finding:  # noqa: A002 - the record's key
        """The finding of the budget with this name at this line of pfa.yaml.

        Example:
            >>> Judgement("0.7", "0.5", "kept", "Fine.").named("layers.kl", 31).line
            31
        """
        return Finding(id=id, line=line, **vars(self))


def not_judged(limit: str, reason: str) -> Judgement:
    """The verdict on what was not measured.

    Example:
        >>> not_judged("60%", "Nothing was compressed.").outcome
        'not judged'
    """
    return Judgement(limit, "", "not judged", reason or "It was not measured.")


def outcome_of(kept: bool) -> Outcome:
    """The outcome of what was measured.

    Example:
        >>> outcome_of(False)
        'broken'
    """
    return "kept" if kept else "broken"
