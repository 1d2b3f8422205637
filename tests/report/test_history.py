"""Curves over past runs: their order, their words, gaps, and files that are no records."""

import dataclasses
import json
import re

import pytest
import records
from examples import HOSTILE, named
from goldens import golden

from pfa_gate.report.files import DatedRecord
from pfa_gate.report.history import gates, history_page, history_text


def run(day: int, record=None, **changes) -> DatedRecord:
    base = record or records.kept()
    return DatedRecord(f"runs/{day}.json", f"2026-11-{day:02}T08:00:00Z", dataclasses.replace(base, **changes))


def past(*runs):
    (found,) = gates(runs)
    return found


def test_runs_are_in_the_order_of_time_whatever_their_files():
    found = past(run(20), run(3), run(11))
    assert [each.written[8:10] for each in found.runs] == ["03", "11", "20"]


def test_each_gate_of_each_config_has_its_own():
    found = gates([run(1), run(2, gate="other"), run(3, config="b/pfa.yaml")])
    assert [(each.config, each.gate, len(each.runs)) for each in found] == [
        ("b/pfa.yaml", "digits", 1),
        ("example_project/pfa.yaml", "digits", 1),
        ("example_project/pfa.yaml", "other", 1),
    ]


def test_curves_are_the_numbers_of_the_records():
    curves = {
        each.title: each for each in past(run(1), run(2, records.broken()), run(3, records.not_judged())).curves()
    }
    assert list(curves) == [
        "parameters",
        "parameters, compressed",
        "largest KL ratio",
        "accuracy",
        "accuracy, compressed",
    ]
    assert curves["parameters, compressed"].values == (128_306, 97_120, None)
    assert curves["parameters, compressed"].ends == ("128 k", "97.1 k", "97.1 k", "128 k")
    assert curves["accuracy"].values == (0.99444, 0.99444, None)
    assert curves["largest KL ratio"].ends[1] == "0.372"


def test_another_metric_is_another_curve():
    scores = dataclasses.replace(records.kept().scores, metric="metrics.py:psnr", full=31.25, compressed=30.5)
    titles = [each.title for each in past(run(1), run(2, scores=scores)).curves()]
    assert titles[3:] == ["accuracy", "accuracy, compressed", "psnr", "psnr, compressed"]
    less = dataclasses.replace(scores, metric="net.py:loss", direction="lower", unit="plain")
    titles = [each.title for each in past(run(1, scores=less)).curves()]
    assert titles[3:] == ["loss, lower is better", "loss, compressed, lower is better"]


@pytest.mark.parametrize("unicode", [True, False])
def test_golden_words(unicode):
    runs = [run(day, each()) for day, each in enumerate((records.kept, records.broken, records.not_judged), 10)]
    text = history_text(gates(runs), ["a.json: The record has no schema."], width=80, unicode=unicode)
    golden(f"history.{'plain' if unicode else 'ascii'}.txt", text)
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("count", [1, 2, 50])
def test_a_chart_stays_in_its_frame_and_has_a_dot_for_each_run(count):
    text = history_page(gates([run(1 + day % 28, gate="g") for day in range(count)]))
    dots = re.search(r'class="dots good" d="([^"]*)"', text)
    assert dots is not None
    points = re.findall(r"M([\d.]+) ([\d.]+)h0", dots[1])
    assert len(points) == count
    assert all(0 <= float(x) <= 600 and 0 <= float(y) <= 160 for x, y in points)


def test_dots_have_the_colour_of_their_verdict_and_axes_their_ends():
    text = history_page(gates([run(1), run(2, records.broken()), run(3), run(4, records.not_judged())]))
    dots = re.findall(r'class="dots (\w+)" d="([^"]*)"', text)
    # The run that was not judged has a full model, and one layer less.
    assert [(tone, path.count("M")) for tone, path in dots[:3]] == [("good", 2), ("bad", 1), ("open", 1)]
    assert [(tone, path.count("M")) for tone, path in dots[-2:]] == [("good", 2), ("bad", 1)]
    assert text.count("<span>2026-11-01 08:00 UTC</span><span>2026-11-04 08:00 UTC</span>") == 5
    assert re.findall(r'class="ticks">(.*?)</p>', text)[:2] == [
        "<span>186 k</span>",
        "<span>128 k</span><span>97.1 k</span>",
    ]


@pytest.mark.parametrize("width", [40, 60, 69, 70, 80, 120])
def test_more_runs_than_columns_are_said_and_no_line_is_too_wide(width):
    lines = history_text(gates([run(1 + day % 28, gate="g") for day in range(100)]), width=width).splitlines()
    assert max(map(len, lines)) <= width
    shown = len(re.findall("✓", lines[2]))
    assert 8 <= shown <= 40
    assert lines[1].split() == (["first", "last"] if width >= 70 else ["last"])
    assert width < 60 or f"the last {shown} shown" in lines[0]


def test_what_a_run_did_not_measure_is_a_gap():
    text = history_page(gates([run(1), run(2, records.not_judged()), run(3)]))
    paths = re.findall(r'<path d="(M[^"]*)"', text)
    assert [path.count("M") for path in paths] == [1, 2, 1, 2, 2]


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_names_are_text(name):
    pasts = gates([DatedRecord(name, name, named(name))])
    text = history_page(pasts, [name])
    for tag in ("script", "style", "h2", "td", "path", "section"):
        assert text.count(f"<{tag}") == history_page(gates([DatedRecord("a", "b", named("c"))]), ["d"]).count(f"<{tag}")
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", text + history_text(pasts, [name]))
    json.dumps(text).encode("utf-8")


def test_no_record_is_said():
    assert history_text([]) == "There is no record yet.\n"
    assert "There is no record yet." in history_page([])
