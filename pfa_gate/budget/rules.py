"""Which limit holds for which layer, and what a waiver lets pass until its day."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from fnmatch import fnmatchcase

from pfa_gate.budget.finding import Judgement
from pfa_gate.budget.wording import listed
from pfa_gate.config import GateConfig, LayerRule, Place, Waiver
from pfa_gate.errors import LayerPatternError

PlaceOf = Callable[[tuple[str | int, ...]], Place]


def rule_for(rules: Sequence[LayerRule], layer: str, key: str) -> LayerRule | None:
    """The rule that sets a layer's limit for one key: the last that matches and has it; None if there is none.

    Rules are settled key by key: a later rule that leaves a key out does not lift an earlier one's limit.

    Args:
        rules: layer rules in the order of pfa.yaml.
        layer: the module's dotted name.
        key: `kl`, `peak_correlation`, `mean_correlation` or `inactive`.

    Example:
        >>> rules = [{"match": "*", "kl": 0.7}, {"match": "stem", "inactive": 0}]
        >>> rule_for([LayerRule.model_validate(rule) for rule in rules], "stem", "kl").match
        '*'
    """
    matching = (rule for rule in reversed(rules) if fnmatchcase(layer, rule.match))
    return next((rule for rule in matching if getattr(rule, key) is not None), None)


def check_patterns(gate: GateConfig, layers: Sequence[str], place_of: PlaceOf) -> None:
    """Refuse rules that match no layer: a budget on nothing would always be kept.

    Args:
        gate: the gate whose layer rules are checked.
        layers: names of all layers, skipped ones included.
        place_of: place in pfa.yaml of a path of keys, `Document.place` with the keys in one tuple.

    Raises:
        LayerPatternError: naming the first such pattern, its place and the nearest layers.
    """
    for index, rule in enumerate(gate.budgets.layers):
        if not any(fnmatchcase(name, rule.match) for name in layers):
            fact = f"The layer pattern '{rule.match}' matches no layer."
            place = place_of(("gates", gate.name, "budgets", "layers", index, "match"))
            raise LayerPatternError(fact, remedy=_nearest(rule, layers)).at(str(place))


def _nearest(rule: LayerRule, layers: Sequence[str]) -> str:
    if not layers:
        return "The model has no layer that can be measured."
    near = difflib.get_close_matches(rule.match, layers, n=3, cutoff=0.5)
    return f"The nearest layers are {listed(near)}." if near else f"The layers are {listed(layers, 5)}."


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
