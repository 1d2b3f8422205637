"""The waterfall of recovery: every step with its score, its change and its time."""

import re
from dataclasses import replace

from examples import REPAIRS, changed

from pfa_gate.record import (
    CompressedRecord,
    Exact,
    Probe,
    RecipeRecord,
    Record,
    RecoveryStep,
    Repair,
    Scores,
    Size,
)
from pfa_gate.report.html import render as page
from pfa_gate.report.markdown import section
from pfa_gate.report.steps import repair_rows, repair_summary, round_rows, rounds_sentence, worst_repairs
from pfa_gate.report.terminal import render

STEPS = (
    RecoveryStep("cut", 0.4941, 0.0),
    RecoveryStep("compensate", 0.9120, 12.34, "18 of 18 layers solved anew on 200,000 patches"),
    RecoveryStep("distill", 0.9172, 60.0, "300 steps"),
)
SMALL = CompressedRecord(5, 20, 40, None, Exact(1e-13, True), recovery=STEPS)
RECORD = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"), compressed=SMALL)


def lines(record: Record, **way) -> list[str]:
    text = render(record, **{"width": 80, "colour": False, "unicode": True, **way}).splitlines()
    start = next((place for place, line in enumerate(text) if line.startswith("Recovery")), len(text))
    return [line.rstrip() for line in text[start:]]


def test_every_step_has_its_score_its_change_and_its_time():
    found = lines(replace(RECORD, scores=Scores("accuracy", 0.9172, 0.9172, 0.0)))
    assert [line.split() for line in found if line.strip()][2:6] == [
        ["full", "91.72%", "█" * 18],
        ["cut", "49.41%", "-42.31", "pp", "█" * 10],
        ["compensate", "91.20%", "+41.79", "pp", "█" * 18, "12.3", "s"],
        ["distill", "91.72%", "+0.52", "pp", "█" * 18, "60.0", "s"],
    ]


def test_without_an_evaluation_only_times_are_shown():
    bare = replace(SMALL, recovery=tuple(replace(step, accuracy=None) for step in STEPS))
    found = lines(replace(RECORD, compressed=bare), unicode=False)
    assert ["compensate", "12.3", "s"] in [line.split() for line in found]


def test_details_are_told_when_asked_for_and_nothing_where_nothing_was_done():
    assert any("18 layers solved anew" in line for line in lines(RECORD, verbosity=1))
    assert not any("18 layers solved anew" in line for line in lines(RECORD))
    assert lines(replace(RECORD, compressed=replace(SMALL, recovery=()))) == []


def told(text: str) -> str:
    return " ".join(re.sub(r"<[^>]*>|`", " ", text).split())


STEP = RecoveryStep("compensate", 0.9, 1.0, repairs=REPAIRS)


def test_all_reports_tell_the_same_of_the_repairs_and_the_rounds():
    reports = [told(page(changed())), told(section(changed()))]
    counts = "6 of 8 layers solved anew on 408,000 patches, 2 left alone"
    summary = f"{counts}; median held-out error of those solved 24.5% to 7.84%"
    assert repair_summary(STEP) == summary
    whole = told(render(changed(), width=80, colour=False, unicode=True, verbosity=1))
    for report in (*reports, whole):
        assert summary in report
        assert "Filters kept after each of 3 rounds: " in report
        for repair in REPAIRS:
            assert (repair.reason or repair.layer) in report
            assert repair.layer in report


def test_the_terminal_tells_of_repairs_only_when_asked():
    text = {verbosity: "\n".join(lines(changed(), verbosity=verbosity)) for verbosity in (0, 1, 2)}
    assert "left alone" not in text[0]
    assert "left alone, its weight is not a parameter of the model: head" in text[1]
    assert "largest errors" not in text[1]
    assert re.search(r"layer2.1.conv1 +20% +18% +0.1 +24,000", text[2])


def test_the_worst_are_those_with_the_largest_error_left():
    assert [row.layer for row in worst_repairs(STEP, 2)] == ["layer2.1.conv1", "layer2.0.shortcut"]
    assert [row.layer for row in repair_rows(STEP)] == [repair.layer for repair in REPAIRS]
    assert [row.layer for row in repair_rows(STEP, 3)] == ["layer2.0.conv1", "layer2.1.conv1", "head"]


def test_a_page_of_many_repairs_shows_the_worst_and_counts_the_rest():
    many = (*(Repair(f"conv{index}", 0.5, index / 5_000, 1e-3, 9) for index in range(5_000)), REPAIRS[-1])
    small = replace(SMALL, recovery=(replace(STEPS[1], repairs=many),))
    text = page(replace(RECORD, compressed=small))
    assert "4,601 more layers were solved" in text
    assert text.count("conv") == 399
    assert "conv4601<" in text
    assert REPAIRS[-1].reason in text
    assert "<details" not in page(RECORD)


def test_rounds_are_told_where_there_were_several():
    assert round_rows(RECORD) == ()
    assert rounds_sentence(RECORD) == ""
    rounds = ({"stem": 9, "gone": 4}, {"stem": 7})
    record = replace(RECORD, recipe=RecipeRecord("kl", None, {"stem": 7}, {}, rounds))
    assert rounds_sentence(record) == "Filters kept after each of 2 rounds: 13, 7."
    assert [(row.group, row.filters, row.kept) for row in round_rows(record)] == [
        ("stem", "", ("9", "7")),
        ("gone", "", ("4", "")),
    ]
