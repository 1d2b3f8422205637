"""The waterfall of recovery: every step with its score, its change and its time."""

from dataclasses import replace

from pfa_gate.record import Compressed, Exact, Probe, Record, RecoveryStep, Scores, Size
from pfa_gate.report.terminal import render

STEPS = (
    RecoveryStep("cut", 0.4941, 0.0),
    RecoveryStep("compensate", 0.9120, 12.34, "18 of 18 layers solved anew on 200,000 patches"),
    RecoveryStep("distill", 0.9172, 60.0, "300 steps"),
)
SMALL = Compressed(5, 20, 40, None, Exact(1e-13, True), recovery=STEPS)
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
