"""The reports of a study against golden files, and what holds whatever a study says."""

import os
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import studies
from foreign import PAYLOADS, assert_all_markup_is_ours, planted, shape
from rich.cells import cell_len

from pfa_gate.record import AnswerSummary
from pfa_gate.report.plot_axis import axis_of
from pfa_gate.report.study.svg import svg
from pfa_gate.report.study.tables import markdown, terminal

GOLDEN = Path(__file__).parent / "golden"
KINDS = {
    "plain": {"colour": False, "unicode": True},
    "styled": {"colour": True, "unicode": True},
    "ascii": {"colour": False, "unicode": False},
}
STYLE = re.compile(r"\x1b\[[0-9;]*m")
HOSTILE = [
    "[bold]x[/bold]",
    "a\nb\x1b[31m",
    '"><script>alert(1)</script>&amp;',
    "x" * 3000,
    "层" * 40,
    "\ud800",
    "| a | b |",
    "",
]
NAME = "{http://www.w3.org/2000/svg}"


def golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("PFA_GATE_UPDATE_GOLDEN") == "1":
        path.write_text(text, encoding="utf-8", newline="\n")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS)
def test_golden_terminal(kind):
    golden(f"study.{kind}.txt", terminal(studies.study(), width=80, **KINDS[kind]))


def test_golden_markdown():
    golden("study.md", markdown(studies.study()))


def answered():
    found = AnswerSummary(0.9421, 0.0302, 0.1234, 0.079), AnswerSummary(0.9, 0.06, 0.2, None)
    trials = [replace(trial, answers=found[number % 2]) for number, trial in enumerate(studies.trials())]
    return studies.study(trials=trials)


def test_golden_tables_with_answers():
    golden("answers.md", markdown(answered()))
    for width in (110, 80, 60):
        text = terminal(answered(), width=width, colour=False, unicode=True)
        assert max(map(len, text.splitlines())) <= width
        golden(f"answers.{width}.txt", text)


def test_golden_plot():
    golden("study.svg", svg(studies.study()))


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", HOSTILE)
def test_any_name_fits_any_width(name, width):
    for kind in KINDS.values():
        text = STYLE.sub("", terminal(studies.named(name), width=width, **kind))
        assert max(map(cell_len, text.splitlines())) <= width
        assert not re.search("[\x00-\x09\x0b-\x1f]", text)
        text.encode("utf-8")


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_is_markup_in_markdown(name):
    text = markdown(studies.named(name))
    text.encode("utf-8")
    for table in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(bars) == 1
    outside = re.sub(r"(`+).*?\1", "", text)
    assert "<script" not in outside


@pytest.mark.parametrize("name", HOSTILE)
def test_a_plot_is_well_formed_and_asks_for_nothing(name):
    text = svg(studies.named(name))
    text.encode("utf-8")
    root = ElementTree.fromstring(text)
    assert {each.tag.removeprefix(NAME) for each in root.iter()} <= set(
        "svg title style rect text path circle g".split()
    )
    assert re.findall(r"https?://[^\"]*|href|url\(|@import|@font-face", text) == ["http://www.w3.org/2000/svg"]


def test_every_row_and_every_draw_is_in_the_plot():
    study = studies.study()
    root = ElementTree.fromstring(svg(study))
    titles = [each.findtext(f"{NAME}title") for each in root.iter(f"{NAME}g")]
    assert len(titles) == 2 * len([row for row in study.rows if row.accuracy is not None])
    assert "kl, mean of 3, l1, compensate, 75.00%, 50.2%" in titles
    dots = [each for each in root.iter(f"{NAME}circle") if each.get("class") == "dot"]
    drawn = [trial for trial in study.trials if trial.counts == "random" and trial.accuracy is not None]
    assert len(dots) == 2 * len(drawn) + 1  # and the legend's
    marks = [each for each in root.iter(f"{NAME}circle") if float(each.get("cy", "0")) < 270]
    places = [(float(each.get("cx", "0")), float(each.get("cy", "0"))) for each in marks]
    frames = [(56, 356), (424, 724)]
    assert all(34 <= y <= 254 and any(left <= x <= right for left, right in frames) for x, y in places)


def test_nothing_that_failed_is_left_out():
    study = studies.study()
    for text in (terminal(study, width=80, colour=False, unicode=True), markdown(study)):
        words = " ".join(text.split())
        for reason in ("No uniform recipe comes within 1%.", "No random recipe of draw 3", "The smallest recipe has 3"):
            assert reason in words


@pytest.mark.parametrize(
    "values", [[0.5], [0.0], [1.0, 1.0], [0.31, 0.98], [0.993, 0.9975], [-3.0, 40.0], [1e-9, 2e-9]]
)
def test_all_values_lie_on_their_axis(values):
    axis = axis_of(values, percent=True)
    assert all(0 <= axis.position(value) <= 1 for value in values)
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 8
    assert ticks[0] == pytest.approx(axis.low)
    assert ticks[-1] == pytest.approx(axis.high)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_that_is_planted_in_every_field_is_markup(payload):
    text = markdown(planted(studies.study(), PAYLOADS[payload]))
    assert_all_markup_is_ours(text)
    assert shape(text) == shape(markdown(planted(studies.study(), "word" if PAYLOADS[payload] else "")))
