"""A study's JSON: there and back again, and nothing but a study is read."""

import json
import math

import pytest
import studies

from pfa_gate.errors import ArtifactError
from pfa_gate.record.study import dumps_study, loads_study
from pfa_gate.report.study.tables import markdown, terminal
from pfa_gate.study.run import rows_of


def test_there_and_back_again():
    study = studies.study()
    assert loads_study(dumps_study(study)) == study
    assert dumps_study(loads_study(dumps_study(study))) == dumps_study(study)
    assert list(json.loads(dumps_study(study)))[:2] == ["schema", "gate"]


def test_a_study_of_an_older_version_is_read_and_higher_was_better():
    data = json.loads(dumps_study(studies.study()))
    del data["direction"], data["unit"]
    study = loads_study(json.dumps(data))
    assert study == studies.study()
    assert study.share


def test_rows_of_a_metric_of_which_less_is_better_begin_with_the_least():
    losses = (0.4, 0.9, 0.2)
    drawn = [studies.trial("kl", "random", loss, draw=place) for place, loss in enumerate(losses)]
    done = [studies.trial("kl", "pfa", 0.3), studies.trial("kl", "uniform", 0.6), *drawn]
    rows = rows_of(done, studies.SAMPLES, lower=True)
    assert [(row.kind, row.accuracy) for row in rows] == [
        ("random best", 0.2),
        ("pfa", 0.3),
        ("random mean", pytest.approx(0.5)),
        ("uniform", 0.6),
    ]
    higher = rows_of(done, studies.SAMPLES)
    assert [row.kind for row in higher] == ["random best", "uniform", "random mean", "pfa"]
    assert higher[0].accuracy == 0.9
    study = studies.study(trials=done, rows=rows, metric="net.py:loss", direction="lower", unit="plain")
    for text in (markdown(study), terminal(study, width=80, colour=False, unicode=True)):
        assert "Of loss lower is better." in text
        assert "20.00%" not in text


def changed(**keys) -> str:
    return json.dumps(json.loads(dumps_study(studies.study())) | keys)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("{", "The study is not JSON"),
        ("[]", "This is not a pfa_gate study: it has no schema."),
        (changed(schema="pfa_gate.record/1"), "The study has the schema 'pfa_gate.record/1'"),
        (changed(draws="four"), "draws should be a whole number, not 'four'"),
        (changed(draws="The record"), "draws should be a whole number, not 'The record'."),
        (changed(draws=True), "draws should be a whole number, not True"),
        (changed(extra=1), "The study has unknown keys: 'extra'."),
        (changed(rows=[{}]), "rows[0] lacks keys: "),
        (changed(seconds=math.nan), "seconds should be a finite number, not nan"),
        (changed(trials=None), "trials should be a list, not None"),
    ],
)
def test_what_is_no_study_is_refused(text, fact):
    with pytest.raises(ArtifactError) as caught:
        loads_study(text)
    assert caught.value.fact.startswith(fact)
    assert "pfa-gate study" in caught.value.remedy


def test_a_study_with_a_nan_is_not_written():
    with pytest.raises(ArtifactError, match="seconds is nan"):
        dumps_study(studies.study(seconds=math.nan))


def test_the_random_baseline_by_hand():
    """From the JSON alone, as a reader would."""
    data = json.loads(dumps_study(studies.study()))
    drawn = [each for each in data["trials"] if each["counts"] == "random" and each["strategy"] == "kl"]
    scores = [each["accuracy"] for each in drawn if each["accuracy"] is not None]
    (mean,) = [row for row in data["rows"] if row["kind"] == "random mean"]
    (best,) = [row for row in data["rows"] if row["kind"] == "random best"]
    assert scores == [0.6, 0.85, 0.8]
    assert mean["accuracy"] == pytest.approx(0.75)
    assert mean["spread"] == pytest.approx(math.sqrt((0.15**2 + 0.1**2 + 0.05**2) / 2))
    assert mean["stderr"] == pytest.approx(math.sqrt(0.75 * 0.25 / 119))
    assert mean["macs"] == pytest.approx(900_000)
    assert (mean["trials"], mean["failed"]) == (3, 1)
    assert (best["accuracy"], best["macs"], best["spread"]) == (0.85, 900_000, None)


def test_rows_are_in_the_order_that_is_told():
    rows = studies.study().rows
    assert [row.strategy for row in rows] == ["kl"] * 6 + ["energy:0.9"] * 2 + ["parameters:1%"]
    kl = [-1 if row.accuracy is None else row.accuracy for row in rows[:6]]
    assert kl == sorted(kl, reverse=True)
    assert rows[5].reason == "No uniform recipe comes within 1%."
