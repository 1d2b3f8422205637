"""Which rule holds for which layer, and what is said of a pattern that matches none."""

from pathlib import Path

import pytest
import records

from pfa_gate.budget.rules import check_patterns, rule_for
from pfa_gate.config import LayerRule, Place
from pfa_gate.errors import LayerPatternError

PLACES: dict[tuple[str | int, ...], Place] = {
    ("gates", "digits", "budgets", "layers", 1, "match"): Place(Path("pfa.yaml"), 40, 16)
}


def refused(layers: list[str], pattern: str) -> str:
    rules = [{"match": "*", "kl": 0.7}] * bool(layers) + [{"match": pattern, "kl": 0.9}]
    places = PLACES if layers else {(*key[:4], 0, "match"): place for key, place in PLACES.items()}
    with pytest.raises(LayerPatternError) as caught:
        check_patterns(records.gate(budgets={"layers": rules}), layers, places.__getitem__)
    return str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "layers", "remedy"),
    [
        ("stm", ["stem", "conv1"], "The nearest layers are stem."),
        ("con", ["conv4", "conv", "cone", "conv2"], "The nearest layers are conv, cone, conv4."),
        ("body.*", ["stem", "head"], "The layers are stem, head."),
        ("zzz", ["a", "b", "c", "d", "e", "f", "g"], "The layers are a, b, c, d, e and 2 more."),
        # Half alike is near enough, and less is not: two of four letters, and one.
        ("abcd", ["abxy", "axyz"], "The nearest layers are abxy."),
        ("abcd", ["axyz"], "The layers are axyz."),
        ("conv", [], "The model has no layer that can be measured."),
    ],
)
def test_a_pattern_on_no_layer_is_refused_where_it_stands(pattern: str, layers: list[str], remedy: str) -> None:
    assert refused(layers, pattern) == (
        f"The layer pattern '{pattern}' matches no layer.\n  at pfa.yaml:40:16\n  {remedy}"
    )


def test_patterns_that_match_are_let_be() -> None:
    rules = [{"match": "*", "kl": 0.7}, {"match": "conv[12]", "kl": 0.9}]
    check_patterns(records.gate(budgets={"layers": rules}), ["conv2"], PLACES.__getitem__)


def test_the_last_rule_that_matches_and_has_the_key_holds() -> None:
    plain = [{"match": "*", "kl": 0.7}, {"match": "stem", "kl": 0.9}, {"match": "s*", "inactive": 0}]
    rules = [LayerRule.model_validate(each) for each in plain]
    asked = [("stem", "kl"), ("stem", "inactive"), ("conv", "kl"), ("Stem", "inactive"), ("stem", "peak_correlation")]
    assert [rule and rule.match for rule in (rule_for(rules, *each) for each in asked)] == [
        "stem", "s*", "*", None, None,
    ]  # fmt: skip
