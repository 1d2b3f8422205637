"""Verdicts: data in, findings out."""

import dataclasses
import math

import pytest
import records
from hypothesis import given
from hypothesis import strategies as st

from pfa_gate.budget import Exactness, Finding, LayerMeasure, Measurements, Scored, Size, judge
from pfa_gate.budget.wording import amount, apart, significant
from pfa_gate.errors import LayerPatternError

NAN = float("nan")
FULL = Size(parameters=1000, bytes=4000, macs=90_000)


def judged(budgets: dict, *layers: LayerMeasure, **measured: object) -> dict[str, Finding]:
    measurements = Measurements(layers, full=FULL, **measured)
    findings = judge(records.gate(budgets=budgets), measurements, records.place_of)
    return {finding.id: finding for finding in findings}


def layer(name: str, **measured: object) -> LayerMeasure:
    return LayerMeasure(name, 16, **measured)


def outcomes(finding: Finding) -> dict[str, str]:
    return {detail.layer: detail.outcome for detail in finding.details}


def test_one_finding_per_declared_budget_in_the_order_of_the_tests():
    kept = records.kept()
    names = [budget.name for budget in records.gate().budgets_declared()]
    assert [finding.id for finding in kept.budgets] == names
    assert {finding.outcome for finding in kept.budgets} == {"kept"}


def test_a_broken_layer_budget_says_by_how_much_and_the_worst_first():
    rules = {"layers": [{"match": "*", "kl": 0.7}]}
    layers = [layer("a", kl_ratio=0.75), layer("b", kl_ratio=0.9), layer("c", kl_ratio=0.1)]
    finding = judged(rules, *layers)["layers.kl"]
    assert finding.outcome == "broken"
    assert finding.observed == "0.9"
    assert finding.sentence == (
        "2 of 3 layers have too high a KL ratio: b 0.9 (0.2 above 0.7), a 0.75 (0.05 above 0.7)."
    )
    assert outcomes(finding) == {"a": "broken", "b": "broken", "c": "kept"}


def test_many_broken_layers_are_capped():
    rules = {"layers": [{"match": "*", "inactive": 0}]}
    finding = judged(rules, *(layer(f"conv{i}", inactive=i) for i in range(9)))["layers.inactive"]
    assert finding.sentence.startswith("8 of 9 layers have too many inactive filters: conv8 8 (8 above 0), conv7")
    assert finding.sentence.endswith(" and 5 more.")


def test_a_kept_layer_budget_names_the_closest_layer():
    rules = {"layers": [{"match": "*", "kl": 0.7}]}
    finding = judged(rules, layer("a", kl_ratio=0.2), layer("b", kl_ratio=0.6))["layers.kl"]
    assert finding.sentence == "2 layers within the limit; closest is b, 0.6 of 0.7."


def test_a_kept_layer_budget_at_zero_names_no_closest_layer():
    finding = judged({"layers": [{"match": "*", "inactive": 0}]}, layer("a", inactive=0))["layers.inactive"]
    assert finding.sentence == "1 layer within the limit, none above 0."


def test_the_last_matching_rule_wins_key_by_key():
    rules = {
        "layers": [
            {"match": "*", "kl": 0.5, "inactive": 0},
            {"match": "stem*", "kl": 0.9},
            {"match": "stem.1", "kl": 0.6},
        ]
    }
    layers = [layer(name, kl_ratio=0.7, inactive=1) for name in ("stem.0", "stem.1", "conv")]
    found = judged(rules, *layers)
    assert outcomes(found["layers.kl"]) == {"stem.0": "kept", "stem.1": "broken", "conv": "broken"}
    assert [detail.limit for detail in found["layers.kl"].details] == [0.9, 0.6, 0.5]
    assert found["layers.kl"].limit == "0.5-0.9"
    assert outcomes(found["layers.inactive"]) == dict.fromkeys(("stem.0", "stem.1", "conv"), "broken")


def test_a_layer_without_a_rule_has_no_limit():
    rules = {"layers": [{"match": "conv*", "kl": 0.5}]}
    finding = judged(rules, layer("stem", kl_ratio=0.9), layer("conv1", kl_ratio=0.1))["layers.kl"]
    assert outcomes(finding) == {"conv1": "kept"}
    assert finding.outcome == "kept"


def test_a_limit_is_kept_at_equality_and_broken_just_above():
    rules = {"layers": [{"match": "*", "kl": 0.7}]}
    assert judged(rules, layer("a", kl_ratio=0.7))["layers.kl"].outcome == "kept"
    finding = judged(rules, layer("a", kl_ratio=0.70004))["layers.kl"]
    assert finding.outcome == "broken"
    assert finding.observed == "0.70004"


@pytest.mark.parametrize("missing", [NAN, None])
def test_a_layer_that_gave_no_number_is_never_kept(missing):
    rules = {"layers": [{"match": "*", "kl": 0.7}]}
    finding = judged(rules, layer("a", kl_ratio=missing), layer("b", kl_ratio=0.1))["layers.kl"]
    assert finding.outcome == "not judged"
    assert finding.sentence == "The KL ratio of 1 layer could not be measured: a."
    assert finding.details[0].observed is None


def test_a_broken_layer_outweighs_one_that_gave_no_number():
    rules = {"layers": [{"match": "*", "kl": 0.7}]}
    finding = judged(rules, layer("a", kl_ratio=NAN), layer("b", kl_ratio=0.8))["layers.kl"]
    assert finding.outcome == "broken"
    assert finding.observed == "0.8"


def test_a_skipped_layer_is_not_judged_and_does_not_count_as_kept():
    rules = {"layers": [{"match": "*", "kl": 0.7}]}
    head = layer("head", kl_ratio=0.99, skipped="it feeds the output")
    finding = judged(rules, layer("conv", kl_ratio=0.1), head)["layers.kl"]
    assert finding.outcome == "kept"
    assert finding.sentence.startswith("1 layer within the limit")
    assert outcomes(finding) == {"conv": "kept", "head": "not judged"}
    finding = judged(rules, head)["layers.kl"]
    assert finding.outcome == "not judged"
    assert finding.sentence == (
        "Every layer it applies to is skipped: head (it feeds the output). "
        "Remove the rule, or name layers that are judged."
    )


HEAD = layer("head", kl_ratio=0.99, skipped="it feeds the output")
AUX = layer("aux", kl_ratio=0.2, skipped="excluded by layers.exclude")


@pytest.mark.parametrize("match", ["head", "h*", "[ah]*"])
def test_a_rule_that_decides_skipped_layers_alone_is_not_judged(match):
    rules = {"layers": [{"match": "*", "kl": 1}, {"match": match, "kl": 0.000001}]}
    finding = judged(rules, layer("conv", kl_ratio=0.1), HEAD, AUX)["layers.kl"]
    assert finding.outcome == "not judged"
    more = ", aux (excluded by layers.exclude)" if match == "[ah]*" else ""
    assert finding.sentence == (
        f"The rule for '{match}' judges nothing: every layer it decides is skipped: head (it feeds the output){more}. "
        "Remove the rule, or name layers that are judged."
    )


def test_a_rule_that_judges_nothing_is_named_beside_a_broken_layer():
    rules = {"layers": [{"match": "*", "kl": 0.05}, {"match": "head", "kl": 0.000001}]}
    finding = judged(rules, layer("conv", kl_ratio=0.1), HEAD)["layers.kl"]
    assert finding.outcome == "broken"
    assert finding.notes[0].startswith("The rule for 'head' judges nothing: ")


def test_each_key_of_a_rule_is_judged_by_itself():
    rules = {"layers": [{"match": "head", "kl": 0.5}, {"match": "*", "inactive": 0}]}
    found = judged(rules, layer("conv", kl_ratio=0.1, inactive=0), HEAD)
    assert {name: each.outcome for name, each in found.items() if name != "exact"} == {
        "layers.kl": "not judged",
        "layers.inactive": "kept",
    }


def test_a_rule_that_a_later_one_passes_over_is_named():
    rules = {"layers": [{"match": "conv", "kl": 0.01}, {"match": "*", "kl": 0.5}]}
    finding = judged(rules, layer("conv", kl_ratio=0.1))["layers.kl"]
    assert finding.outcome == "kept"
    assert finding.notes == ("The rule for 'conv' decides nothing: a later rule has each of its layers.",)
    rules = {"layers": [{"match": "*", "kl": 0.01}, {"match": "conv", "kl": 0.5}]}
    assert judged(rules, layer("conv", kl_ratio=0.1))["layers.kl"].notes == ()


def test_a_rule_of_which_one_layer_is_judged_is_judged():
    rules = {"layers": [{"match": "*", "kl": 1}, {"match": "[ch]*", "kl": 0.5}]}
    assert judged(rules, layer("conv", kl_ratio=0.1), HEAD)["layers.kl"].outcome == "kept"


def test_a_pattern_that_matches_nothing_is_an_error_with_its_place_and_the_nearest_names():
    rules = {"layers": [{"match": "*", "kl": 0.7}, {"match": "stm", "kl": 0.9}]}
    with pytest.raises(LayerPatternError) as caught:
        judged(rules, layer("stem", kl_ratio=0.1), layer("conv1", kl_ratio=0.1))
    assert str(caught.value) == (
        "The layer pattern 'stm' matches no layer.\n  at pfa.yaml:34:12\n  The nearest layers are stem."
    )


def test_a_pattern_on_a_model_without_layers_is_an_error():
    with pytest.raises(LayerPatternError, match="no layer that can be measured"):
        judged({"layers": [{"match": "*", "kl": 0.7}]})


@pytest.mark.parametrize(("value", "noisy"), [(0.68, True), (0.72, True), (0.679, False), (0.721, False)])
def test_within_two_standard_errors_is_marked_on_either_side(value, noisy):
    rules = {"layers": [{"match": "*", "kl": 0.7}]}
    finding = judged(rules, layer("a", kl_ratio=value, kl_stderr=0.0100001))["layers.kl"]
    assert finding.details[0].within_noise is noisy
    assert finding.notes == (("Within two standard errors of the limit: a.",) if noisy else ())


BIAS = 0.08 * math.log(16)


@pytest.mark.parametrize(
    ("value", "bias", "told"),
    [
        (0.75, BIAS, True),
        (0.1, BIAS, False),  # kept: without the bias it is lower still
        (0.79, BIAS, False),  # broken, and without the bias it still is
        (0.75, 0.06 * math.log(16), False),  # less than a tenth of the limit
    ],
)
def test_a_bias_is_told_where_it_may_be_all_that_breaks_a_limit(value, bias, told):
    rules = {"layers": [{"match": "*", "kl": 0.7}]}
    finding = judged(rules, layer("a", kl_ratio=value, kl_bias=bias), layer("b", kl_ratio=0.1))["layers.kl"]
    note = "Few samples raise KL by more than it is above the limit in a: raise probe.samples."
    assert finding.notes == ((note,) if told else ())


def test_noise_is_not_told_where_another_layer_settles_the_verdict():
    rules = {"layers": [{"match": "*", "kl": 0.7}]}
    grazing = layer("a", kl_ratio=0.71, kl_stderr=0.01, kl_bias=BIAS)
    finding = judged(rules, grazing, layer("b", kl_ratio=0.95, kl_stderr=0.01))["layers.kl"]
    assert (finding.outcome, finding.notes) == ("broken", ())
    assert [detail.within_noise for detail in finding.details] == [True, False], "the layer keeps its mark"
    alone = judged(rules, grazing, layer("b", kl_ratio=0.69, kl_stderr=0.01))["layers.kl"]
    assert alone.notes == (
        "Within two standard errors of the limit: a.",
        "Few samples raise KL by more than it is above the limit in a: raise probe.samples.",
    )


def test_a_layer_of_one_filter_has_no_bias():
    rules = {"layers": [{"match": "*", "kl": 0.7}]}
    one = LayerMeasure("a", 1, kl_ratio=0.0, kl_bias=0.5)
    assert judged(rules, one)["layers.kl"].notes == ()


def test_sizes_of_the_full_model():
    found = judged({"model": {"parameters": 999, "bytes": "4 kB", "macs": "90 k"}})
    assert [f.outcome for f in found.values()] == ["not judged", "broken", "kept", "kept"]
    assert found["model.parameters"].sentence == ("The full model has 1 k parameters, 1 above the limit of 999.")
    assert found["model.bytes"].sentence == "The full model has 4 kB, within the limit of 4 kB."


def test_a_size_just_above_its_limit_never_reads_as_equal_to_it():
    finding = judged({"model": {"macs": 89_990}})["model.macs"]
    assert finding.outcome == "broken"
    assert finding.observed == "90,000"
    assert finding.sentence == "The full model has 90,000 MACs, 10 above the limit of 89990."


@pytest.mark.parametrize(("parameters", "outcome"), [(550, "kept"), (551, "broken")])
def test_percentages_are_of_the_full_model_and_exact_at_the_border(parameters, outcome):
    small = Size(parameters, 2000, 45_000)
    finding = judged({"compressed": {"parameters": "55%"}}, compressed=small)["compressed.parameters"]
    assert finding.outcome == outcome


@given(st.integers(1, 10**12), st.integers(1, 100))
def test_a_whole_percentage_of_a_whole_number_is_kept_exactly_up_to_the_border(whole, limit):
    border = whole * limit // 100
    config = records.gate(budgets={"compressed": {"macs": f"{limit}%"}})
    for macs, expected in ((border, "kept"), (border + 1, "broken")):
        measurements = Measurements((), full=Size(1, 1, whole), compressed=Size(1, 1, macs))
        assert judge(config, measurements, records.place_of)[1].outcome == expected


def test_an_absolute_limit_on_the_compressed_model():
    small = Size(500, 2000, 45_000)
    finding = judged({"compressed": {"bytes": "1.5 kB"}}, compressed=small)["compressed.bytes"]
    assert finding.sentence == "The compressed model has 2 kB, 500 B above the limit of 1.5 kB."


def test_what_was_not_measured_is_not_judged_and_says_why():
    budgets = {"compressed": {"parameters": "60%", "accuracy_drop": "0.5 pp", "latency": "100%"}}
    found = judged(
        budgets,
        compressed_reason="Nothing is free.",
        scores_reason="No evaluation.",
        latency_reason="No clock.",
    )
    assert {f.outcome for f in found.values()} == {"not judged"}
    assert [f.sentence for f in found.values()] == [
        "Nothing is free.",
        "Nothing is free.",
        "No evaluation.",
        "No clock.",
    ]
    assert judged(budgets)["exact"].sentence == "It was not measured."


@pytest.mark.parametrize("missing", [{"scores": Scored(NAN, 0.9)}, {"scores": Scored(0.9, NAN)}, {"latency": NAN}])
def test_nan_is_never_kept(missing):
    budgets = {"compressed": {"accuracy_drop": "0.5 pp", "latency": "100%"}}
    assert {f.outcome for f in judged(budgets, **missing).values()} == {"not judged"}


def test_a_drop_of_exactly_the_limit_is_kept_in_spite_of_rounding():
    budgets = {"compressed": {"accuracy_drop": "0.5 pp"}}
    assert 0.985 - 0.98 > 0.005
    finding = judged(budgets, scores=Scored(0.985, 0.98))["compressed.accuracy_drop"]
    assert (finding.outcome, finding.observed) == ("kept", "0.5 pp")
    assert judged(budgets, scores=Scored(0.985, 0.97999))["compressed.accuracy_drop"].outcome == "broken"
    plain = {"compressed": {"score_drop": 0.01}}
    assert 0.37 - 0.36 > 0.01
    finding = judged(plain, scores=Scored(0.36, 0.37, share=False, lower=True))["compressed.score_drop"]
    assert (finding.outcome, finding.observed) == ("kept", "0.01")


def test_a_value_at_its_limit_is_not_within_noise_where_there_is_none():
    found = judged({"layers": [{"match": "*", "inactive": 2, "kl": 0.5}]}, layer("a", inactive=2, kl_ratio=0.5))
    for name in ("layers.inactive", "layers.kl"):
        assert (found[name].outcome, found[name].details[0].within_noise, found[name].notes) == ("kept", False, ())


@pytest.mark.parametrize("percent", [57, 90, 100, 110])
def test_a_latency_of_exactly_the_limit_is_kept_in_spite_of_rounding(percent):
    """Neither 100 x 0.57 nor 100 x 1.1 is a whole number."""
    budgets = {"compressed": {"latency": f"{percent}%"}}
    for more, outcome in ((0, "kept"), (1e-6, "broken"), (-1e-6, "kept")):
        assert judged(budgets, latency=percent / 100 + more)["compressed.latency"].outcome == outcome


@pytest.mark.parametrize(
    ("interval", "told"),
    [((0.005, 0.02), True), ((-0.02, 0.005), True), ((0.00501, 0.02), False), ((-0.02, 0.00499), False)],
)
def test_a_limit_at_the_end_of_the_interval_is_within_noise(interval, told):
    scores = Scored(0.985, 0.98, samples=400, interval=interval)
    finding = judged({"compressed": {"accuracy_drop": "0.5 pp"}}, scores=scores)["compressed.accuracy_drop"]
    assert any(note.startswith("Within noise") for note in finding.notes) == told


def test_what_is_compressed_is_told_where_it_is_kept_too():
    budgets = {"compressed": {"parameters": "55%", "accuracy_drop": "0.5 pp", "latency": "90%"}}
    found = judged(budgets, compressed=Size(550, 1, 1), scores=Scored(0.983, 0.98), latency=0.805)
    assert [finding.sentence for finding in found.values()][1:] == [
        "The compressed model keeps 55% of the parameters (550 of 1 k), within the limit of 55%.",
        "The score falls by 0.3 pp, within the limit of 0.5 pp.",
        "The compressed model takes 80.5% of the time of the full one, within the limit of 90%.",
    ]


def test_a_drop_as_a_plain_fraction_and_a_gain():
    budgets = {"compressed": {"accuracy_drop": 0.005}}
    finding = judged(budgets, scores=Scored(0.9, 0.9123))["compressed.accuracy_drop"]
    assert finding.sentence == "The score rises by 1.23 pp, within the limit of 0.005."
    finding = judged(budgets, scores=Scored(0.9, 0.9))["compressed.accuracy_drop"]
    assert finding.sentence == "The score does not change, within the limit of 0.005."
    finding = judged(budgets, scores=Scored(0.9123, 0.9))["compressed.accuracy_drop"]
    assert finding.sentence == "The score falls by 1.23 pp, 0.73 pp more than the limit of 0.005."


@pytest.mark.parametrize(
    ("full", "compressed", "lower", "observed", "sentence"),
    [
        (0.3604, 6.3712, True, "6.01", "The score rises by 6.01 (lower is better), 6 more than the limit of 0.01."),
        (0.3604, 0.3504, True, "-0.01", "The score falls by 0.01 (lower is better), within the limit of 0.01."),
        (0.3604, 0.3704, True, "0.01", "The score rises by 0.01 (lower is better), within the limit of 0.01."),
        (31.2, 30.1, False, "1.1", "The score falls by 1.1, 1.09 more than the limit of 0.01."),
        (31.2, 32.3, False, "-1.1", "The score rises by 1.1, within the limit of 0.01."),
        (0.5, 0.5, True, "0", "The score does not change, within the limit of 0.01."),
        (1e-7, 0.0100002, True, "0.0100001", "The score rises by 0.0100001 (lower is better), 0.0000001 more than"),
        (1500.0, 1720.5, True, "220", "The score rises by 220 (lower is better), 220 more than the limit of 0.01."),
    ],
)
def test_a_score_falls_in_the_direction_and_the_unit_of_its_metric(full, compressed, lower, observed, sentence):
    scores = Scored(full, compressed, share=False, lower=lower)
    finding = judged({"compressed": {"score_drop": 0.01}}, scores=scores)["compressed.score_drop"]
    assert finding.observed == observed
    assert finding.sentence.startswith(sentence)
    assert finding.outcome == ("kept" if "within" in sentence else "broken")


@pytest.mark.parametrize(
    ("limit", "value", "more", "outcome", "sentence"),
    [
        ({"min": "93%"}, 0.912, {}, "broken", "The full model scores 91.2%, 1.8 points below the limit of 93%."),
        ({"min": 0.93}, 0.93, {}, "kept", "The full model scores 93%, within the limit of 0.93."),
        ({"min": "93%"}, 0.9299999, {}, "broken", "The full model scores 92.99999%, 0.00001 points below the limit of"),
        ({"min": 30}, 31.248, {"share": False}, "kept", "The full model scores 31.2, within the limit of 30."),
        (
            {"max": 0.4},
            6.3721,
            {"share": False, "lower": True},
            "broken",
            "The full model scores 6.37 (lower is better), 5.97 above the limit of 0.4.",
        ),
        (
            {"max": 0.4},
            0.4,
            {"share": False, "lower": True},
            "kept",
            "The full model scores 0.4 (lower is better), within the limit of 0.4.",
        ),
        ({"min": -2}, -2.5, {"share": False}, "broken", "The full model scores -2.5, 0.5 below the limit of -2."),
    ],
)
def test_a_score_is_held_from_the_side_on_which_it_is_worse(limit, value, more, outcome, sentence):
    full = judged({"model": {"score": limit}}, scores=Scored(value, None, **more))["model.score"]
    assert (full.outcome, full.limit) == (outcome, " ".join(f"{side} {bound}" for side, bound in limit.items()))
    assert full.sentence.startswith(sentence)
    part = judged({"compressed": {"score": limit}}, scores=Scored(0.5, value, **more))["compressed.score"]
    assert (part.outcome, part.sentence) == (outcome, full.sentence.replace("full", "compressed"))
    unknown = judged({"compressed": {"score": limit}}, scores=Scored(value), scores_reason="Not exported.")
    assert (unknown["compressed.score"].outcome, unknown["compressed.score"].sentence) == (
        "not judged",
        "Not exported.",
    )


def test_no_drop_is_judged_from_a_full_model_at_chance():
    scores = Scored(0.1, 0.1, chance="At chance.")
    for limit in ("100 pp", {"max_increase": "1 pp"}, {"max": "1 pp", "ratchet": True}):
        for key in ("accuracy_drop", "score_drop"):
            finding = judged({"compressed": {key: limit}}, scores=scores)[f"compressed.{key}"]
            assert (finding.outcome, finding.sentence, finding.observed) == ("not judged", "At chance.", "")
    budgets = {"model": {"score": {"min": "5%"}}, "compressed": {"score": {"min": "15%"}}}
    found = judged(budgets, scores=scores)
    assert [found[name].outcome for name in ("model.score", "compressed.score")] == ["kept", "broken"]


def test_the_proof():
    assert judged({}, exact=Exactness(2e-7, True))["exact"].outcome == "kept"
    assert judged({}, exact=Exactness(2e-3, False))["exact"].outcome == "broken"
    assert judged({}, exact=Exactness(NAN, True))["exact"].outcome == "broken"
    assert judged({}, exact=Exactness(2e-7, False))["exact"].outcome == "broken"
    assert judged({}, exact=Exactness(2e-3, True))["exact"].outcome == "broken"
    assert judged({}, exact=Exactness(1e-5, True, tolerance=1e-5))["exact"].outcome == "kept"
    finding = judged({}, exact=Exactness(2e-7, True, put_back=("conv1",)))["exact"]
    assert finding.outcome == "kept"
    assert finding.notes == ("Kept at full width because their proof failed: conv1.",)


def test_findings_are_values():
    first, second = records.broken().budgets, records.broken().budgets
    assert first == second
    assert dataclasses.replace(first[1], line=9) != first[1]


@given(st.floats(0, 1), st.floats(-9, 0), st.sampled_from([-1, 1]))
def test_two_numbers_a_billionth_apart_never_read_alike(limit, digits, side):
    one, other = apart(limit + side * 10**digits, limit)
    assert one != other
    assert (float(one) > float(other)) == (side > 0)


@given(st.floats(1e-6, 1e14))
def test_rounding_to_three_digits_is_within_half_a_percent(value):
    assert float(significant(value)) == pytest.approx(value, rel=5e-3)
    number, _, prefix = amount(value).partition(" ")
    factor = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[prefix]
    assert float(number) * factor == pytest.approx(value, rel=5.1e-3)


def test_a_correlation_near_its_limit_is_marked_as_well() -> None:
    rules = {"layers": [{"match": "*", "peak_correlation": 0.9, "mean_correlation": 0.5}]}
    found = judged(rules, layer("a", peak_correlation=0.91, peak_stderr=0.006, mean_correlation=0.4, mean_stderr=0.04))
    assert found["layers.peak_correlation"].details[0].within_noise
    assert found["layers.peak_correlation"].outcome == "broken"
    assert not found["layers.mean_correlation"].details[0].within_noise


def drop_notes(drop: float, interval: tuple[float, float] | None, limit: str = "0.5 pp") -> tuple[str, ...]:
    scores = Scored(0.9, 0.9 - drop, samples=398, interval=interval)
    measured = Measurements((), Size(1, 1, 1), scores=scores)
    config = records.gate(budgets={"compressed": {"accuracy_drop": limit}})
    return judge(config, measured, records.place_of)[1].notes


@pytest.mark.parametrize(("drop", "interval"), [(0.67, (0.64, 0.70)), (-0.02, (-0.03, -0.01))])
def test_the_size_of_the_evaluation_is_not_told_where_it_could_not_turn_the_verdict(drop, interval) -> None:
    assert drop_notes(drop, interval) == ()


def test_an_evaluation_too_small_for_its_limit_says_which_size_would_do() -> None:
    assert drop_notes(0.004, (-0.006, 0.014)) == (
        "Within noise: the drop lies between -0.60 and 1.40 pp (95 %).",
        "398 samples resolve a drop to 1.00 pp, which is wider than the limit; about 1,600 are needed.",
    )
    assert drop_notes(0.001, (-0.001, 0.003)) == ()
    assert drop_notes(0.001, None) == ()
    loss = Scored(1.0, 1.4, share=False, lower=True, samples=398, interval=(-0.6, 1.4))
    config = records.gate(budgets={"compressed": {"score_drop": 0.5}})
    assert judge(config, Measurements((), Size(1, 1, 1), scores=loss), records.place_of)[1].notes == (
        "Within noise: the drop lies between -0.6 and 1.4 (95 %).",
        "398 samples resolve a drop to 1, which is wider than the limit; about 1,600 are needed.",
    )


def test_the_size_that_would_do_does() -> None:
    lost, won, samples = 0.02, 0.01, 500
    half = 1.96 * math.sqrt((lost + won - (lost - won) ** 2) / (samples + 2))
    scores = Scored(0.9, 0.89, samples=samples, interval=(0.01 - half, 0.01 + half))
    measured = Measurements((), Size(1, 1, 1), scores=scores)
    config = records.gate(budgets={"compressed": {"accuracy_drop": "0.5 pp"}})
    (note,) = [each for each in judge(config, measured, records.place_of)[1].notes if "are needed" in each]
    enough = int(note.split()[-3].replace(",", ""))
    assert 1.96 * math.sqrt((lost + won - (lost - won) ** 2) / enough) == pytest.approx(0.005, rel=0.05)
