"""The search of `strategy: score` in every report: how many trials, which was chosen, and the curve of the page."""

import re
from dataclasses import replace

from pfa_gate.record import Probe, RecipeRecord, Record, Scores, Size
from pfa_gate.record.search import HALF, SearchRecord, SearchTrial
from pfa_gate.report.html import render as page
from pfa_gate.report.html.search import curve
from pfa_gate.report.markdown import section
from pfa_gate.report.search import search_sentences, trial_rows
from pfa_gate.report.terminal import render

TRIALS = (
    SearchTrial(130_980, 523_920, 18_763_094, None, 0.892053, 0.837, 0.068, (0.033, 0.103), False),
    SearchTrial(200_551, 802_204, 29_907_642, None, 0.959770, 0.908, -0.003, (-0.024, 0.018), True),
    SearchTrial(165_752, 663_008, 24_492_040, None, 0.929187, 0.903, 0.002, (-0.010, 0.047), True),
)
SEARCH = SearchRecord("parameters", 0.005, False, HALF, 381, 0.905, TRIALS, 2, 380)
RECORD = Record(
    "digits",
    "pfa.yaml",
    {},
    {},
    Size(268_336, 1_073_344, 40_551_424),
    Probe(64, "ab"),
    recipe=RecipeRecord("score", 0.929187, {}, search=SEARCH),
    scores=Scores("accuracy", 0.929, 0.916, 0.013, unit="share"),
)
SENTENCES = (
    "Search for the fewest parameters at a fall of at most 0.50 pp: 3 trials, 2 of them hold.",
    "Trial 3 was chosen: 166 k parameters (61.8%), a change of -0.20 pp on 381 samples, a half of the evaluation.",
    "The scores above are of 380 other samples, which the search did not see.",
)


def words(text: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def test_the_number_of_trials_and_the_choice_stand_in_every_report() -> None:
    assert search_sentences(RECORD) == SENTENCES
    terminal = " ".join(render(RECORD, width=100, colour=False, unicode=True).split())
    for sentence in SENTENCES:
        assert sentence in terminal
        assert sentence in words(page(RECORD))
        assert sentence in section(RECORD)


def test_every_trial_is_listed_in_the_order_in_which_it_was_tried() -> None:
    shown = [(row.number, row.size, row.of_full, row.energy, row.change, row.verdict) for row in trial_rows(RECORD)]
    assert shown == [
        ("1", "131 k", "48.8%", "89.21%", "-6.80 pp", "does not hold"),
        ("2", "201 k", "74.7%", "95.98%", "+0.30 pp", "holds"),
        ("3", "166 k", "61.8%", "92.92%", "-0.20 pp", "chosen"),
    ]
    assert trial_rows(RECORD)[0].interval == "-10.30 to -3.30 pp"
    verbose = [line.split() for line in render(RECORD, width=100, colour=False, unicode=True, verbosity=1).splitlines()]
    assert ["3", "166", "k", "61.8%", "90.30%", "-0.20", "pp", "chosen"] in verbose
    assert "| 1 | 131 k | 48.8% | 89.21% | 83.70% | -6.80 pp | -10.30 to -3.30 pp | does not hold |" in section(RECORD)


def test_the_page_draws_the_curve_with_every_trial_the_limit_and_the_choice() -> None:
    drawn = curve(RECORD)
    assert drawn is not None
    by_title = {dot.title.partition(":")[0]: dot for dot in drawn.dots}
    one, two, three = (by_title[f"trial {number}"] for number in (1, 2, 3))
    assert one.x < three.x < two.x < drawn.right
    assert two.y < three.y < drawn.limit < one.y  # a fall is drawn downwards
    assert [dot.kind for dot in drawn.dots] == ["broken", "chosen", "held"]
    assert all(tick.text.endswith(" pp") for tick in drawn.up)
    assert all(tick.text.endswith("%") for tick in drawn.across)
    text = page(RECORD)
    assert text.count("<circle") == 3
    assert f'<path class="limit" d="M{drawn.left} {drawn.limit}H{drawn.right}">' in text
    assert "does not hold</td>" in text


def test_a_lower_score_that_is_better_rises_when_it_falls_and_latency_is_a_share() -> None:
    trial = SearchTrial(9, 36, 81, 0.87, None, 2.5, 0.5, None, True)
    search = SearchRecord("latency", 0.6, True, "net.py:validation", 200, 2.0, (trial,), 0, 600)
    scores = Scores("net:loss", 2.0, 2.4, 0.4, direction="lower", unit="plain")
    record = replace(RECORD, recipe=RecipeRecord("score", None, {}, search=search), scores=scores)
    assert search_sentences(record) == (
        "Search for the lowest latency at a fall of at most 0.6, the upper end of its interval included: 1 trial, 1 of "
        "them holds.",
        "Trial 1 was chosen: 87.0% of the time (87.0%), a change of +0.5 on 200 samples, net.py:validation.",
        "The scores above are of all 600 samples of the evaluation.",
    )
    assert "87.0%" in page(record)


def test_another_recipe_has_no_search() -> None:
    plain = replace(RECORD, recipe=RecipeRecord("kl", None, {}))
    assert search_sentences(plain) == trial_rows(plain) == ()
    assert "Search" not in words(page(plain))
    assert "Search" not in section(plain)
