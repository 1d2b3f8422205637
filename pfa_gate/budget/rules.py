"""Which limit holds for which layer."""

import difflib
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from pfa_gate.budget.wording import listed
from pfa_gate.config import GateConfig, LayerRule, Place
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
