"""The reports of a study of families against golden files, its record, and what holds whatever a study says."""

import dataclasses
import json
import re
from xml.etree import ElementTree

import family_studies
import pytest
from foreign import PAYLOADS, assert_all_markup_is_ours, planted, shape
from rich.cells import cell_len
from test_study_reports import HOSTILE, KINDS, NAME, STYLE, golden

from pfa_gate.errors import ArtifactError
from pfa_gate.record.families import dumps_families, loads_families
from pfa_gate.report.plot_axis import log_axis_of
from pfa_gate.report.study import families_markdown, families_svg, families_terminal
from pfa_gate.report.study.levels import byte_levels, time_levels, winner_sentences


@pytest.mark.parametrize("kind", KINDS)
def test_golden_terminal(kind: str) -> None:
    golden(f"families.{kind}.txt", families_terminal(family_studies.study(), width=80, **KINDS[kind]))


def test_golden_markdown_and_plot() -> None:
    golden("families.md", families_markdown(family_studies.study()))
    golden("families.svg", families_svg(family_studies.study()))


def test_the_winner_of_each_size_and_time_is_told_in_a_sentence() -> None:
    assert winner_sentences(family_studies.study()) == (
        "At 50% of the bytes, int8 keeps 91.50% (26.0% of the bytes, 120.0% of the time, divergence 0.085); "
        "within one standard error of it: cut + int8, cut, 4 bits.",
        "At 30% of the bytes, int8 keeps 91.50% (26.0% of the bytes, 120.0% of the time, divergence 0.085); "
        "within one standard error of it: cut + int8, 4 bits.",
        "In at most 90% of the time, cut keeps 91.00% (50.0% of the bytes, 80.0% of the time, divergence 0.09); "
        "within one standard error of it: cut, uniform.",
        "In at most 75% of the time, cut, uniform keeps 72.00% (30.0% of the bytes, 70.0% of the time, "
        "divergence 0.28); no other is within a standard error.",
        "No file takes at most 50% of the time; cut is the fastest with 55.0%.",
    )


def test_nothing_faster_is_told_as_such() -> None:
    done = [family_studies.trial("int8", None, 0.9, ratio=0.99)]
    assert winner_sentences(family_studies.study(trials=done))[-1] == "No file is faster than the full model's."


def test_every_family_stands_at_each_size_with_a_row_or_a_reason() -> None:
    study = family_studies.study()
    half, third = byte_levels(study)
    assert [row.name for row in half.rows] == ["cut", "cut, uniform", "cut, best of 2 random", "cut, mean of 2 random"]
    assert half.unable == (
        ("cut, random draw 2", "No random recipe of draw 2 comes within 1%."),
        ("cut + int8", "RuntimeError: no"),
    )
    assert [row.name for row in third.rows] == ["int8", "cut + int8", "4 bits", "cut, uniform", "cut"]
    assert third.unable == (("sparsify", "No layer has four inputs."),)
    for level in time_levels(study):
        rows = {row.family for row in level.rows} | {name for name, _ in level.unable}
        assert rows == {trial.family for trial in study.trials if trial.accuracy is not None}
    mean = half.rows[3]
    assert (mean.accuracy, mean.bytes, mean.time) == pytest.approx((0.83, 0.49875, 0.85))
    assert mean.spread == pytest.approx(0.03 * 2**0.5)


def test_what_is_larger_than_every_size_stands_first() -> None:
    done = [family_studies.trial("2:4", None, 0.9, bytes=396_000), family_studies.trial("cut", 0.5, 0.8)]
    levels = byte_levels(family_studies.study(trials=done))
    assert [(level.share, [row.family for row in level.rows]) for level in levels] == [
        (1.0, ["2:4"]), (0.5, ["cut"]), (0.3, []),
    ]  # fmt: skip


def test_of_a_loss_the_lowest_is_best() -> None:
    done = [family_studies.trial(name, 0.5, loss) for name, loss in (("a", 3.0), ("b", 2.0))]
    study = family_studies.study(trials=done, metric="net.py:loss", direction="lower", unit="plain", stderr=None)
    assert [row.family for row in byte_levels(study)[0].rows] == ["b", "a"]
    assert "Of loss lower is better." in families_terminal(study, width=80, colour=False, unicode=True)


def test_a_record_is_read_as_it_was_written() -> None:
    study = family_studies.study()
    assert loads_families(dumps_families(study)) == study
    for text, fact in (
        ("{", "The study of families is not JSON"),
        (json.dumps({"schema": "pfa_gate.study/1"}), "The study has the schema 'pfa_gate.study/1'"),
        (json.dumps(json.loads(dumps_families(study)) | {"more": 1}), "The study of families has unknown keys"),
    ):
        with pytest.raises(ArtifactError, match=fact):
            loads_families(text)


@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_fits_and_is_no_markup(name: str) -> None:
    done = [family_studies.trial(name, 0.5, 0.9, config=name), family_studies.trial(name + "x", 0.5, None, reason=name)]
    study = family_studies.study(gate=name, config=name, metric=name, selection=name, recovery=name, trials=done)
    for width in (60, 80):
        for kind in KINDS.values():
            text = STYLE.sub("", families_terminal(study, width=width, **kind))
            assert max(map(cell_len, text.splitlines())) <= width
            assert not re.search("[\x00-\x09\x0b-\x1f]", text)
    assert "<script" not in re.sub(r"(`+).*?\1", "", families_markdown(study))
    text = families_svg(study)
    tags = {each.tag.removeprefix(NAME) for each in ElementTree.fromstring(text).iter()}
    assert tags <= set("svg title style rect text path circle g".split())
    assert re.findall(r"https?://[^\"]*|href|url\(|@import|@font-face", text) == ["http://www.w3.org/2000/svg"]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_that_is_planted_in_every_field_is_markup(payload: str) -> None:
    text = families_markdown(planted(family_studies.study(), PAYLOADS[payload]))
    assert_all_markup_is_ours(text)
    assert shape(text) == shape(families_markdown(planted(family_studies.study(), "word" if PAYLOADS[payload] else "")))


def test_every_model_is_in_the_plot() -> None:
    study = family_studies.study()
    root = ElementTree.fromstring(families_svg(study))
    titles = [each.findtext(f"{NAME}title") for each in root.iter(f"{NAME}g")]
    scored = [trial for trial in study.trials if trial.accuracy is not None]
    timed = [trial for trial in scored if trial.time is not None]
    assert len(titles) == 2 * len(scored) + 2 * len(timed)
    assert "cut: 91.00%, 50.0% of the bytes, 80.0% of the time, divergence 0.09" in titles
    marks = [each for each in root.iter(f"{NAME}circle") if float(each.get("cy", "0")) < 558]
    places = [(float(each.get("cx", "0")), float(each.get("cy", "0"))) for each in marks]
    assert all(56 <= x <= 356 or 424 <= x <= 724 for x, _ in places)
    assert all(34 <= y <= 254 or 336 <= y <= 556 for _, y in places)


@pytest.mark.parametrize("values", [[0.5], [1.0, 1.0], [1e-6, 30.0], [0.01, 0.1]])
def test_all_values_lie_on_a_logarithmic_axis(values: list[float]) -> None:
    axis = log_axis_of(values)
    assert all(0 <= axis.position(value) <= 1 for value in values)
    ticks = axis.ticks()
    assert (ticks[0], ticks[-1]) == (axis.low, axis.high)
    assert len(ticks) >= 2


def test_a_study_without_times_and_answers_has_no_plot_of_them() -> None:
    done = [dataclasses.replace(family_studies.trial("cut", 0.5, 0.9, ratio=None), answers=None)]
    study = family_studies.study(trials=done)
    assert time_levels(study) == ()
    assert "divergence" not in families_svg(study)
