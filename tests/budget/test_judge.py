"""Every declared budget together: what a waiver covers, and what a first run without a baseline says of sizes."""

from datetime import date
from typing import Any

import pytest
import records

from pfa_gate.budget import Baseline, Context, Finding, LayerMeasure, Measurements, Scored, Size, judge
from pfa_gate.config import GateConfig
from pfa_gate.config.budgets import SIZES
from pfa_gate.config.sections import RecipeConfig

TODAY = date(2026, 11, 20)
MEASURED = Measurements(
    (
        LayerMeasure("stem", 8, kl_ratio=0.9, peak_correlation=0.99, mean_correlation=0.9, inactive=3),
        LayerMeasure("head", 8, kl_ratio=0.1, peak_correlation=0.1, mean_correlation=0.1, inactive=0),
    ),
    Size(400, 1600, 90_000),
    Size(220, 880, 50_000),
    scores=Scored(0.99, 0.9),
    latency=0.8,
)
LAYERS = {"kl": 0.5, "peak_correlation": 0.5, "mean_correlation": 0.5, "inactive": 1}
BUDGETS = {
    "layers": [{"match": "*", **LAYERS}],
    "model": {"parameters": 1, "bytes": 1, "macs": 1, "score": {"min": "100%"}},
    "compressed": {
        "parameters": 1,
        "bytes": 1,
        "macs": 1,
        "score": {"min": "95%"},
        "accuracy_drop": "1 pp",
        "score_drop": "1 pp",
        "latency": "50%",
    },
}
NAMES = [f"{area}.{key}" for area in ("model", "compressed") for key in BUDGETS[area]]


def judged(budgets: Any, allow: list[dict[str, Any]] | None = None, base: Baseline | None = None) -> dict[str, Finding]:
    gate = {"name": "a", "model": {"factory": "net:build"}, "probe": {"data": "net:probe"}, "budgets": budgets}
    gate |= {"evaluation": {"data": "net:test"}, "allow": allow or []}
    found = judge(GateConfig.model_validate(gate), MEASURED, records.place_of, Context(base, TODAY))
    return {finding.id: finding for finding in found}


@pytest.mark.parametrize("name", [*(f"layers.{key}" for key in LAYERS), *NAMES])
def test_a_waiver_lets_its_own_budget_pass_and_no_other(name: str) -> None:
    without = judged(BUDGETS)
    assert {name: each.outcome for name, each in without.items() if name != "exact"} == dict.fromkeys(
        [*(f"layers.{key}" for key in LAYERS), *NAMES], "broken"
    )
    layer = {"layer": "stem"} if name.startswith("layers.") else {}
    with_it = judged(BUDGETS, [{"budget": name, "reason": "old", "until": "2026-11-20", **layer}])
    assert with_it[name].outcome == "kept"
    assert {other for other in without if without[other] != with_it[other]} == {name}


@pytest.mark.parametrize(
    ("limit", "before", "target"),
    [
        ("30 k", None, "30 k"),
        ("20%", None, "20%"),
        ({"max": "20%", "ratchet": True}, None, "20%"),
        ({"max": "20%", "max_increase": "5%"}, 90_000, "20%"),
        ({"ratchet": True}, 32_168, "32168"),
        ({"max_increase": "5%"}, 32_168, "33776"),
        ({"max": "40%", "max_increase": 9}, 32_168, "32177"),
    ],
)
def test_a_size_says_what_a_recipe_must_reach_for_it(limit: Any, before: int | None, target: str) -> None:
    """Rounded down, and never to three digits: a recipe for 33.8 k would miss 33,776."""
    base = None if before is None else Baseline("b", "2026-11-12", values={"compressed.macs": before})
    finding = judged({"compressed": {"macs": limit}}, base=base)["compressed.macs"]
    assert (finding.outcome, finding.target) == ("broken", target)
    written = {"strategy": "macs", "macs": int(target) if target.isdigit() else target}
    assert RecipeConfig.model_validate(written).macs.of(90_000) <= 32_168 * 1.05


def test_nothing_else_has_a_target() -> None:
    found = judged(BUDGETS)
    assert {name for name in found if found[name].target} == {f"compressed.{key}" for key in SIZES}


HINT = "There is no baseline yet. Run pytest --pfa --pfa-update-baseline once, and commit pfa.baseline.json."


@pytest.mark.parametrize(
    ("limit", "outcome", "words"),
    [
        ({"max": "100 k", "ratchet": True}, "kept", "100 k, ratchet"),
        ({"max": "80 k", "max_increase": "5%"}, "broken", "80 k, +5%"),
    ],
)
def test_a_first_run_judges_a_size_by_its_maximum_and_says_what_is_missing(
    limit: Any, outcome: str, words: str
) -> None:
    finding, plain = (judged({"model": {"macs": each}})["model.macs"] for each in (limit, limit["max"]))
    assert (finding.outcome, finding.limit, finding.notes) == (outcome, words, (HINT,))
    assert (finding.sentence, finding.observed) == (plain.sentence, plain.observed)
