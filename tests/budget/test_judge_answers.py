"""Verdicts on answers: whole sentences, noise, rare classes, and the direction of a limit that follows a baseline."""

from pathlib import Path

import pytest

from pfa_gate.budget import Answers, Baseline, ClassAnswers, Context, Estimated, Measurements, Size, judge
from pfa_gate.budget.answers import answer_values, judge_answers
from pfa_gate.config import GateConfig, Place
from pfa_gate.config.budgets import CompressedBudgets
from pfa_gate.record.ratchet import Ratchets, ratcheted, tightest

ANSWERS = Answers(
    "evaluation",
    761,
    agreement=Estimated(717 / 761, 0.9233, 0.9566),
    divergence=Estimated(0.0302, 0.0251, 0.0362),
    output_error=Estimated(0.1234, 0.11, 0.13),
    changed=44,
    lost=22,
    won=19,
    otherwise=3,
    classes=(
        ClassAnswers(0, 19, 19, 0, 19, 0),
        ClassAnswers(1, 80, 76, 72, 5, 1, 0.875, -0.06, 0.16),
        ClassAnswers(2, 80, 76, 56, 20, 0, 2e-6, 0.12, 0.36),
        ClassAnswers(3, 80, 70, 58, 13, 1, 0.0018, 0.03, 0.27),
        ClassAnswers(4, 80, 70, 71, 2, 3, 1.0, -0.08, 0.05),
    ),
)


def judged(
    limit: object, key: str, answers: Answers | None = ANSWERS, reason: str = ""
) -> tuple[str, str, str, tuple[str, ...]]:
    parsed = getattr(CompressedBudgets.model_validate({key: limit}), key)
    found = judge_answers(parsed, answers, key, reason)
    return found.outcome, found.observed, found.sentence, found.notes


ON = "On 761 samples of the evaluation"
VERDICTS = [
    (
        "agreement",
        {"min": "97%"},
        "broken",
        "94.22%",
        f"{ON}, 94.22% of the answers are those of the full model, 2.78 points below the limit of 97%.",
        (),
    ),
    (
        "agreement",
        {"min": 0.95},
        "broken",
        "94.22%",
        f"{ON}, 94.22% of the answers are those of the full model, 0.78 points below the limit of 0.95.",
        ("Within noise: it lies between 92.33% and 95.66% (95 %).",),
    ),
    (
        "agreement",
        {"min": "90%"},
        "kept",
        "94.22%",
        f"{ON}, 94.22% of the answers are those of the full model, within the limit of 90%.",
        (),
    ),
    (
        "divergence",
        0.02,
        "broken",
        "0.0302",
        f"{ON}, the answers diverge by 0.0302 nats in the mean, 0.0102 above the limit of 0.02.",
        (),
    ),
    (
        "divergence",
        0.035,
        "kept",
        "0.0302",
        f"{ON}, the answers diverge by 0.0302 nats in the mean, within the limit of 0.035.",
        ("Within noise: it lies between 0.0251 and 0.0362 (95 %).",),
    ),
    (
        "output_error",
        "2%",
        "broken",
        "12.34%",
        f"{ON}, the outputs are off by 12.34% of their spread, 10.34 points above the limit of 2%.",
        (),
    ),
    (
        "class_drop",
        "5 pp",
        "broken",
        "25 pp",
        f"{ON}, the recall of class 2 falls most, by 25 pp (of 80 samples 20 lost, 0 won), "
        "20 pp more than the limit of 5 pp.",
        (
            "More than noise: p = 2e-06 (McNemar's exact test, Holm over 4 classes).",
            "The fall of class 2 lies between 12 and 36 pp (95 % for all classes together).",
            "Above the limit of 5 pp as well: class 3 (15 pp).",
            "Not judged, as they have fewer than 20 samples: class 0 (19).",
        ),
    ),
    (
        "class_drop",
        0.3,
        "kept",
        "25 pp",
        f"{ON}, the recall of class 2 falls most, by 25 pp (of 80 samples 20 lost, 0 won), within the limit of 0.3.",
        ("Not judged, as they have fewer than 20 samples: class 0 (19).",),
    ),
]


@pytest.mark.parametrize(("key", "limit", "outcome", "observed", "sentence", "notes"), VERDICTS)
def test_a_verdict_is_said_whole(
    key: str, limit: object, outcome: str, observed: str, sentence: str, notes: tuple[str, ...]
) -> None:
    assert judged(limit, key) == (outcome, observed, sentence, notes)


def test_a_fall_within_noise_breaks_nothing_and_is_said() -> None:
    one = Answers("probe", 80, classes=(ClassAnswers(1, 80, 76, 72, 5, 1, 0.109, -0.06, 0.16),))
    assert judged("2 pp", "class_drop", one) == (
        "kept",
        "5 pp",
        "On 80 samples of the probe that nothing was fitted on, the recall of class 1 falls most, by 5 pp (of 80 "
        "samples 5 lost, 1 won), 3 pp more than the limit of 2 pp.",
        (
            "Within noise: equally good models show such a fall in some class with p = 0.109 "
            "(McNemar's exact test, Holm over 1 class).",
            "The fall of class 1 lies between -6 and 16 pp (95 % for all classes together).",
        ),
    )


def test_a_smaller_fall_that_is_sure_breaks_though_a_larger_one_is_noise() -> None:
    noise = ClassAnswers(1, 20, 18, 13, 8, 3, 0.34, -0.1, 0.6)
    sure = ClassAnswers(2, 500, 480, 430, 55, 5, 1e-9, 0.05, 0.15)
    outcome, observed, sentence, _ = judged("5 pp", "class_drop", Answers("evaluation", 520, classes=(noise, sure)))
    assert (outcome, observed) == ("broken", "10 pp")
    assert "the recall of class 2 falls most, by 10 pp" in sentence


def test_where_no_recall_falls_that_is_said() -> None:
    risen = Answers("evaluation", 80, classes=(ClassAnswers(4, 80, 70, 71, 2, 3, 1.0, -0.08, 0.05),))
    assert judged("0 pp", "class_drop", risen)[:3] == (
        "kept",
        "-1.25 pp",
        "On 80 samples of the evaluation, the recall of no class falls; that of class 4 rises by 1.25 pp "
        "(of 80 samples 2 lost, 3 won), within the limit of 0 pp.",
    )


@pytest.mark.parametrize(
    ("key", "limit"),
    [("agreement", {"min": "97%"}), ("divergence", 1), ("output_error", "90%"), ("class_drop", "90 pp")],
)
def test_what_was_not_measured_is_never_kept(key: str, limit: object) -> None:
    assert judged(limit, key, None, "Nothing was compressed.")[:3] == ("not judged", "", "Nothing was compressed.")
    assert judged(limit, key, Answers("probe", 40, reasons={key: "It has no labels."}))[2] == "It has no labels."
    assert judged(limit, key, Answers("probe", 40))[0] == "not judged"
    if key == "divergence":
        infinite = Answers("probe", 40, divergence=Estimated(float("inf")))
        assert judged(limit, key, infinite)[0] == "not judged"


def test_values_of_a_baseline_are_in_percent_points_and_nats() -> None:
    assert answer_values(ANSWERS) == {
        "agreement": pytest.approx(94.2181340341656),
        "divergence": 0.0302,
        "output_error": 12.34,
        "class_drop": 25.0,
    }


LIMITS = [
    # limit, baseline's values, outcome, the end of the sentence
    (
        {"min": "90%", "max_decrease": "1 pp"},
        95.0,
        "kept",
        "within the limit of 94%. That is the baseline's 95 - 1 pp.",
    ),
    ({"max_decrease": "1 pp"}, 97.0, "broken", "below the limit of 96%. That is the baseline's 97 - 1 pp."),
    ({"ratchet": True}, 94.0, "kept", "within the limit of 94%. That is the baseline, which ratchets."),
    ({"ratchet": True}, 94.3, "broken", "below the limit of 94.3%. That is the baseline, which ratchets."),
    ({"min": "94.2%", "ratchet": True}, 50.0, "kept", "within the limit of 94.2%"),
]


def against(key: str, limit: object, before: float) -> tuple[str, str, str]:
    plain = {"name": "a", "model": {"factory": "net:build"}, "probe": {"data": "net:probe"}}
    gate = GateConfig.model_validate({**plain, "budgets": {"compressed": {key: limit}}})
    measured = Measurements((), full=Size(9, 36, 81), answers=ANSWERS)
    context = Context(Baseline("pfa.baseline.json", "2026-11-20", values={f"compressed.{key}": before}))
    found = judge(gate, measured, lambda keys: Place(Path("pfa.yaml"), 7, 1), context)[-1]
    return found.outcome, found.limit, found.sentence


@pytest.mark.parametrize(("limit", "before", "outcome", "end"), LIMITS)
def test_agreement_may_not_fall_below_its_baseline(limit: object, before: float, outcome: str, end: str) -> None:
    found, _, sentence = against("agreement", limit, before)
    assert found == outcome
    assert end in sentence


@pytest.mark.parametrize(
    ("key", "limit", "before", "outcome"),
    [
        ("divergence", {"max_increase": 0.01}, 0.03, "kept"),
        ("divergence", {"max_increase": 0.01}, 0.02, "broken"),
        ("divergence", {"ratchet": True}, 0.0302, "kept"),
        ("divergence", {"ratchet": True}, 0.0301, "broken"),
        ("output_error", {"max_increase": "1 pp"}, 11.5, "kept"),
        ("output_error", {"max_increase": 0.005}, 11.5, "broken"),
        ("class_drop", {"max_increase": "1 pp"}, 24.5, "kept"),
        ("class_drop", {"max_increase": "1 pp"}, 23.5, "broken"),
        ("class_drop", {"ratchet": True}, 24.9, "broken"),
    ],
)
def test_the_others_may_not_rise_above_theirs(key: str, limit: object, before: float, outcome: str) -> None:
    assert against(key, limit, before)[0] == outcome


def test_another_evaluation_makes_a_baseline_of_answers_void() -> None:
    base = Baseline("b", "2026-11-20", values={"compressed.agreement": 99.0, "model.macs": 9.0}, rescored=True)
    assert (base.value("compressed.agreement"), base.value("model.macs")) == (None, 9.0)


def entry(agreement: float, divergence: float) -> dict[str, object]:
    values = {"compressed.agreement": agreement, "compressed.divergence": divergence}
    return {"written": "", "commit": "", "subject": {}, "layers": {}, "budgets": values}


def test_a_ratchet_of_agreement_only_rises() -> None:
    rules = Ratchets({}, lambda budget, layer: True)
    assert ratcheted(entry(95.0, 0.02), entry(96.0, 0.03), rules) == (entry(96.0, 0.02), ("compressed.agreement",))
    assert ratcheted(entry(97.0, 0.04), entry(96.0, 0.03), rules) == (entry(97.0, 0.03), ("compressed.divergence",))
    assert ratcheted(entry(96.0 - 1e-7, 0.03), entry(96.0, 0.03), rules) == (entry(96.0, 0.03), ())


def test_a_merge_of_baselines_takes_the_higher_agreement() -> None:
    assert tightest([{"a": entry(95.0, 0.02)}, {"a": entry(96.0, 0.03)}]) == {"a": entry(96.0, 0.02)}
