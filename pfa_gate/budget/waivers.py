"""What a gate lets pass until a day, applied to verdicts."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from fnmatch import fnmatchcase

from pfa_gate.budget.finding import Judgement
from pfa_gate.budget.rules import PlaceOf
from pfa_gate.config import GateConfig, Waiver
from pfa_gate.errors import LayerPatternError


def waiver_of(waivers: Sequence[Waiver], layer: str, today: date) -> Waiver | None:
    """The waiver that holds for a layer today, the first that matches.

    Example:
        >>> waiver = Waiver(budget="layers.kl", layer="stem", reason="old", until=date(2027, 1, 31))
        >>> waiver_of([waiver], "stem", date(2027, 2, 1)) is None
        True
    """
    return next((each for each in waivers if fnmatchcase(layer, each.layer or "") and today <= each.until), None)


def waived(judgement: Judgement, waivers: Sequence[Waiver], today: date) -> Judgement:
    """The verdict on a budget after its waivers: let pass, or broken by one that has ended.

    Args:
        judgement: of a layer budget, in which waived layers count no more; or of any other.
        waivers: those of this budget.
        today: the last day of a waiver still counts.

    Example:
        >>> waiver = Waiver(budget="model.macs", reason="old", until=date(2027, 1, 31))
        >>> waived(Judgement("1", "2", "broken", "Too many."), [waiver], date(2027, 1, 31)).outcome
        'kept'
    """
    ended = [each for each in waivers if each.until < today]
    notes = tuple(_note(each, judgement) for each in waivers if each not in ended)
    if ended:
        words = " ".join(f"The waiver{_of(each)} ended on {each.until} ({each.reason})." for each in ended)
        remedy = "Renew it with a reason, or remove it."
        return replace(judgement, outcome="broken", sentence=f"{judgement.sentence} {words} {remedy}", notes=notes)
    of_whole = any(each.layer is None for each in waivers) and judgement.outcome == "broken"
    return replace(judgement, outcome="kept" if of_whole else judgement.outcome, notes=(*judgement.notes, *notes))


def _note(waiver: Waiver, judgement: Judgement) -> str:
    if waiver.layer is None:
        needed = judgement.outcome == "broken"
    else:
        broken = [each.layer for each in judgement.details if each.outcome == "broken"]
        needed = any(fnmatchcase(layer, waiver.layer) for layer in broken)
    if needed:
        return f"Allowed until {waiver.until}{_of(waiver)}: {waiver.reason}."
    return f"The waiver{_of(waiver)} until {waiver.until} is not needed: nothing it covers is above its limit."


def _of(waiver: Waiver) -> str:
    return f" of {waiver.layer}" if waiver.layer else ""


def check_waivers(gate: GateConfig, layers: Sequence[str], place_of: PlaceOf) -> None:
    """Refuse waivers of layers that are not there.

    Raises:
        LayerPatternError: naming the first such pattern and its place.
    """
    for index, waiver in enumerate(gate.allow):
        if waiver.layer is not None and not any(fnmatchcase(name, waiver.layer) for name in layers):
            fact = f"The waiver of '{waiver.layer}' matches no layer."
            place = place_of(("gates", gate.name, "allow", index, "layer"))
            raise LayerPatternError(fact, remedy="Correct the name, or remove the waiver.").at(str(place))
