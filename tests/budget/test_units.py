"""One plain unit for limits and what a baseline holds: sizes, drops of shares, falls of metrics, latency."""

from typing import Any

import pytest
import records

from pfa_gate.budget import Baseline, Context, Finding, LayerMeasure, Measurements, Scored, Size, judge
from pfa_gate.budget.measurements import in_declared_units, in_plain_units, layer_values, observed_values
from pfa_gate.config import GateConfig, Limit

FULL, SMALL = Size(400, 1600, 90_000), Size(220, 880, 50_000)
SHARES = Measurements((), FULL, SMALL, scores=Scored(0.99, 0.98), latency=0.8)
LOSSES = Measurements((), FULL, SMALL, scores=Scored(0.3, 0.4, share=False, lower=True))
TOP5 = {"data": "net:test", "metric": "top5"}
LOSS = {"data": "net:test", "metric": "net:loss", "direction": "lower"}
SIZES = {
    "model.parameters": 400,
    "model.bytes": 1600,
    "model.macs": 90_000,
    "compressed.parameters": 220,
    "compressed.bytes": 880,
    "compressed.macs": 50_000,
}


DEMANDS = Measurements((), Size(4, 16, 9, 196_608, 1.2e9), Size(2, 8, 5, 131_072, 6e8))


def judged(area: str, key: str, limit: Any, before: float, measured: Measurements = SHARES) -> Finding:
    gate = {"name": "a", "model": {"factory": "net:build"}, "probe": {"data": "net:probe"}, "budgets": {}}
    gate |= {"budgets": {area: {key: limit}}, "evaluation": TOP5 if measured is SHARES else LOSS}
    context = Context(Baseline("b", "2026-11-12", values={f"{area}.{key}": before}))
    return judge(GateConfig.model_validate(gate), measured, records.place_of, context)[1]


KEEPS = "The compressed model keeps 55% of the parameters (220 of 400)"
TAKES = "The compressed model takes 80% of the time of the full one"


@pytest.mark.parametrize(
    ("key", "limit", "before", "outcome", "sentence"),
    [
        ("parameters", {"max": "60%", "max_increase": "10%"}, 230, "kept", f"{KEEPS}, within the limit of 60%."),
        (
            "parameters",
            {"max": "60%", "max_increase": "10%"},
            190,
            "broken",
            "The compressed model has 220 parameters, 11 above the limit of 209. That is the baseline's 190 + 10%.",
        ),
        (
            "parameters",
            {"max": "50%", "max_increase": 100},
            190,
            "broken",
            f"{KEEPS}, 5 points above the limit of 50%.",
        ),
        (
            "parameters",
            {"max": "50%", "ratchet": True},
            199,
            "broken",
            "The compressed model has 220 parameters, 21 above the limit of 199. That is the baseline, which ratchets.",
        ),
        (
            "parameters",
            {"max": 219, "ratchet": True},
            220,
            "broken",
            "The compressed model has 220 parameters, 1 above the limit of 219.",
        ),
        (
            "accuracy_drop",
            {"max": "2 pp", "max_increase": "0.5 pp"},
            0.6,
            "kept",
            "The score falls by 1 pp, within the limit of 1.1 pp. That is the baseline's 0.6 + 0.5 pp.",
        ),
        (
            "score_drop",
            {"max": 0.02, "max_increase": 0.005},
            0.4,
            "broken",
            "The score falls by 1 pp, 0.1 pp more than the limit of 0.9 pp. That is the baseline's 0.4 + 0.005.",
        ),
        (
            "accuracy_drop",
            {"max": "0.8 pp", "max_increase": "5 pp"},
            0.6,
            "broken",
            "The score falls by 1 pp, 0.2 pp more than the limit of 0.8 pp.",
        ),
        (
            "score_drop",
            {"max": 0.02, "ratchet": True},
            3.0,
            "kept",
            "The score falls by 1 pp, within the limit of 0.02.",
        ),
        (
            "score_drop",
            {"ratchet": True},
            0.99,
            "broken",
            "The score falls by 1 pp, 0.01 pp more than the limit of 0.99 pp. That is the baseline, which ratchets.",
        ),
        (
            "latency",
            {"max": "90%", "max_increase": "5%"},
            80.0,
            "kept",
            f"{TAKES}, within the limit of 84%. That is the baseline's 80 + 5%.",
        ),
        (
            "latency",
            {"max": "90%", "max_increase": "5%"},
            70.0,
            "broken",
            f"{TAKES}, 6.5 points above the limit of 73.5%. That is the baseline's 70 + 5%.",
        ),
        ("latency", {"max": "75%", "ratchet": True}, 79.0, "broken", f"{TAKES}, 5 points above the limit of 75%."),
    ],
)
def test_the_tighter_of_maximum_and_baseline_holds_in_its_own_unit(
    key: str, limit: Any, before: float, outcome: str, sentence: str
) -> None:
    finding = judged("compressed", key, limit, before)
    assert (finding.outcome, finding.sentence, finding.notes) == (outcome, sentence, ())
    step = f"+{limit['max_increase']}" if "max_increase" in limit else "ratchet"
    assert finding.limit == ", ".join(str(part) for part in (limit.get("max"), step) if part is not None)


@pytest.mark.parametrize(
    ("limit", "before", "outcome", "sentence"),
    [
        (
            {"max": 0.2, "max_increase": 0.02},
            0.07,
            "broken",
            "The score rises by 0.1 (lower is better), 0.01 more than the limit of 0.09. "
            "That is the baseline's 0.07 + 0.02.",
        ),
        (
            {"max": 0.05, "ratchet": True},
            0.07,
            "broken",
            "The score rises by 0.1 (lower is better), 0.05 more than the limit of 0.05.",
        ),
    ],
)
def test_a_fall_in_the_unit_of_its_metric_has_no_points(limit: Any, before: float, outcome: str, sentence: str) -> None:
    finding = judged("compressed", "score_drop", limit, before, LOSSES)
    assert (finding.outcome, finding.sentence) == (outcome, sentence)


@pytest.mark.parametrize(
    ("limit", "budget", "measured", "plain"),
    [
        (Limit(60.0, "percent", "60%"), "compressed.macs", SHARES, Limit(54_000.0, "absolute", "60%")),
        (Limit(60.0, "percent", "60%"), "compressed.macs", LOSSES, Limit(54_000.0, "absolute", "60%")),
        (Limit(90.0, "percent", "90%"), "compressed.latency", LOSSES, Limit(90.0, "absolute", "90%")),
        (Limit(150.0, "absolute", "150"), "model.parameters", SHARES, Limit(150.0, "absolute", "150")),
        (Limit(90.0, "percent", "90%"), "compressed.latency", SHARES, Limit(90.0, "absolute", "90%")),
        (
            Limit(2.0, "pp", "2 pp", increase=Limit(0.005, "absolute", "0.005")),
            "compressed.accuracy_drop",
            SHARES,
            Limit(2.0, "absolute", "2 pp", increase=Limit(0.5, "pp", "0.005")),
        ),
        (
            Limit(0.02, "absolute", "0.02", ratchet=True),
            "compressed.score_drop",
            SHARES,
            Limit(2.0, "absolute", "0.02", ratchet=True),
        ),
        (
            Limit(0.02, "absolute", "0.02", increase=Limit(0.005, "absolute", "0.005")),
            "compressed.score_drop",
            LOSSES,
            Limit(0.02, "absolute", "0.02", increase=Limit(0.005, "absolute", "0.005")),
        ),
    ],
)
def test_a_limit_in_plain_units(limit: Limit, budget: str, measured: Measurements, plain: Limit) -> None:
    assert in_plain_units(limit, budget, measured) == plain


@pytest.mark.parametrize(
    ("budget", "measured", "declared"),
    [
        ("compressed.accuracy_drop", SHARES, Limit(1.5, "pp", "1.5 pp")),
        ("compressed.score_drop", SHARES, Limit(1.5, "pp", "1.5 pp")),
        ("compressed.score_drop", LOSSES, Limit(1.5, "absolute", "1.5")),
        ("compressed.latency", SHARES, Limit(1.5, "percent", "1.5%")),
        ("compressed.parameters", SHARES, Limit(1.5, "absolute", "1.5")),
        ("model.macs", SHARES, Limit(1.5, "absolute", "1.5")),
    ],
)
def test_a_limit_of_a_baseline_in_the_unit_of_its_budget(budget: str, measured: Measurements, declared: Limit) -> None:
    assert in_declared_units(Limit(1.5, "absolute", "1.5"), budget, measured) == declared


def test_all_that_was_measured_of_the_models_is_observed_and_nothing_else() -> None:
    full = {name: value for name, value in SIZES.items() if name.startswith("model.")}
    assert observed_values(Measurements((), FULL)) == full
    shares = {"compressed.accuracy_drop": 1.0, "compressed.score_drop": 1.0, "compressed.latency": 80.0}
    assert observed_values(SHARES) == SIZES | shares
    assert observed_values(LOSSES) == SIZES | {"compressed.score_drop": 0.1}
    for scores in (Scored(0.1, 0.1, chance="At chance."), Scored(0.99), Scored(None, 0.9)):
        assert observed_values(Measurements((), FULL, scores=scores)) == full


def test_an_observed_share_is_without_the_noise_of_its_rounding() -> None:
    assert 100 * 0.29 != 29
    observed = observed_values(Measurements((), FULL, scores=Scored(0.99, 0.7)))
    assert observed["compressed.score_drop"] == observed["compressed.accuracy_drop"] == 29


def test_all_that_was_measured_of_a_layer_is_observed_by_its_key() -> None:
    layer = LayerMeasure("stem", 8, kl_ratio=0.4, peak_correlation=0.9, mean_correlation=0.0, inactive=0)
    assert layer_values(layer) == {"kl": 0.4, "peak_correlation": 0.9, "mean_correlation": 0.0, "inactive": 0}
    assert layer_values(LayerMeasure("stem", 8)) == {}


def of_demands(
    area: str, key: str, limit: Any, measured: Measurements = DEMANDS, before: float | None = None
) -> Finding:
    gate = {"name": "a", "model": {"factory": "net:build"}, "probe": {"data": "net:probe"}}
    gate |= {"budgets": {area: {key: limit}}, "energy": {"mac": "4.6 pJ", "byte": "640 pJ"}}
    base = Baseline("b", "2026-11-12", values={} if before is None else {f"{area}.{key}": before})
    return judge(GateConfig.model_validate(gate), measured, records.place_of, Context(base))[1]


@pytest.mark.parametrize(
    ("area", "key", "limit", "outcome", "sentence"),
    [
        ("model", "memory", "192 KiB", "kept", "The full model needs 197 kB of memory, within the limit of 192 KiB."),
        (
            "model",
            "memory",
            196_607,
            "broken",
            "The full model needs 196,608 B of memory, 1 B above the limit of 196607.",
        ),
        ("model", "energy", "1.2 mJ", "kept", "The full model takes 1.2 mJ of energy, within the limit of 1.2 mJ."),
        (
            "compressed",
            "memory",
            "60%",
            "broken",
            "The compressed model keeps 66.7% of the memory (131 kB of 197 kB), 6.7 points above the limit of 60%.",
        ),
        (
            "compressed",
            "energy",
            "500 uJ",
            "broken",
            "The compressed model takes 600 uJ of energy, 100 uJ above the limit of 500 uJ.",
        ),
        (
            "compressed",
            "energy",
            "50%",
            "kept",
            "The compressed model keeps 50% of the energy (600 uJ of 1.2 mJ), within the limit of 50%.",
        ),
    ],
)
def test_memory_and_energy_are_sizes(area: str, key: str, limit: Any, outcome: str, sentence: str) -> None:
    found = of_demands(area, key, limit)
    assert (found.outcome, found.sentence) == (outcome, sentence)


def test_a_baseline_holds_memory_and_energy_in_bytes_and_picojoules() -> None:
    values = observed_values(DEMANDS)
    assert values["model.memory"] == 196_608
    assert values["compressed.energy"] == 6e8
    grown = of_demands("compressed", "energy", {"max_increase": "5%"}, before=5e8)
    assert (grown.outcome, grown.sentence) == (
        "broken",
        "The compressed model takes 600 uJ of energy, 75 uJ above the limit of 525 uJ. "
        "That is the baseline's 500 uJ + 5%.",
    )
    held = of_demands("model", "memory", {"ratchet": True}, before=196_608)
    assert held.outcome == "kept"
    assert of_demands("model", "memory", {"ratchet": True}, before=196_607).outcome == "broken"


def test_what_was_not_followed_is_not_judged_and_says_why() -> None:
    blind = Measurements(
        (), Size(4, 16, 9), Size(2, 8, 5), unfollowed={"model": "It raised ValueError.", "compressed": ""}
    )
    found = of_demands("model", "memory", "192 KiB", blind)
    assert (found.outcome, found.sentence) == (
        "not judged",
        "The memory of the full model is not known: It raised ValueError.",
    )
    found = of_demands("compressed", "energy", "50%", blind)
    assert (found.outcome, found.sentence) == (
        "not judged",
        "The energy of the compressed model is not known: it was not measured.",
    )
    half = Measurements((), Size(4, 16, 9), Size(2, 8, 5, 131_072), unfollowed={"model": "It raised ValueError."})
    for limit in ("50%", {"max": "50%", "max_increase": "5%"}):
        assert of_demands("compressed", "memory", limit, half, before=130_000).outcome != "kept"
