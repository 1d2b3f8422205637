"""Merging by law: legs may arrive in any order and any number of times, and the comment is the same."""

import dataclasses
import re
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfa_gate.github.comment_text import (
    LIMIT,
    OUTCOMES,
    CommentSection,
    compose,
    is_ours,
    merge,
    newest_sections,
    say_the_same,
    sections_of,
    to_markdown,
)
from pfa_gate.report.markdown import MARKER
from pfa_gate.report.markdown.markup import units

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
LONG = st.builds(lambda line, count: "\n".join([line] * count), st.text("ab😀|<>`-", max_size=70), st.integers(0, 60))
HOSTILE = [
    "<!-- pfa_gate:end -->",
    "<!-- pfa_gate:section {} -->",
    MARKER,
    "-->",
    "</details>",
    "<!--",
    "\r\n",
    "\u200b",
]


@st.composite
def legs(draw: st.DrawFn, texts: st.SearchStrategy[str] = TEXTS) -> tuple[CommentSection, ...]:
    """Sections with different keys, of one run."""
    names = draw(st.lists(st.sampled_from(["", "py3.11", "py3.12", "a--b", "<x>"]), unique=True, max_size=4))
    run = draw(st.tuples(st.integers(0, 9), st.integers(0, 3)))
    outcomes = [draw(st.sampled_from(OUTCOMES)) for _ in names]
    return tuple(
        CommentSection("pfa.yaml", draw(st.sampled_from(["digits", "x|y"])), name, outcome, "a line", draw(texts), run)
        for name, outcome in zip(names, outcomes, strict=True)
    )


def chained(sections: list[CommentSection], limit: int = LIMIT) -> str:
    body = ""
    for section in sections:
        body = merge(body, [section], limit)
    return body


@given(legs(), st.randoms())
def test_legs_arrive_in_any_order(sections: tuple[CommentSection, ...], random: object) -> None:
    shuffled = list(sections)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert chained(shuffled) == (compose(newest_sections(sections)) if sections else "")


@given(legs(LONG), st.randoms(), st.integers(3_500, 9_000))
@settings(deadline=None)
def test_legs_arrive_in_any_order_where_they_do_not_fit(
    sections: tuple[CommentSection, ...], random: object, limit: int
) -> None:
    shuffled = list(sections)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    body = chained(shuffled, limit)
    assert body == (compose(newest_sections(sections), limit) if sections else "")
    assert units(body) <= limit


@given(legs(), legs())
def test_merging_again_changes_nothing(old: tuple[CommentSection, ...], new: tuple[CommentSection, ...]) -> None:
    once = merge(merge("", old), new)
    assert merge(once, new) == once
    assert merge(once, [*new, *new]) == once
    assert merge(merge("", sections_of(once)), new) == once


@given(legs(), legs())
def test_the_newest_run_is_believed(old: tuple[CommentSection, ...], new: tuple[CommentSection, ...]) -> None:
    expected = {}
    for section in (*old, *new):
        if section.run >= expected.get(section.key, section).run:
            expected[section.key] = section
    body = merge(merge("", old), new)
    assert {section.key: section.run for section in sections_of(body)} == {
        key: section.run for key, section in expected.items()
    }


@given(st.text(), st.text(), st.text(), st.sampled_from(HOSTILE))
def test_what_is_written_is_read_back(gate: str, line: str, text: str, hostile: str) -> None:
    section = CommentSection("pfa.yaml", gate + hostile, hostile, "broken", line, f"{text}\n{hostile} end", (1, 2))
    assert sections_of(to_markdown(section)) == (section,)
    other = CommentSection("b", "c", "", "kept", "x")
    assert set(sections_of(compose([section, other]))) == {section, other}


@given(st.text())
def test_any_text_is_a_comment_without_sections_or_with_whole_ones(text: str) -> None:
    assert sections_of(text) == ()
    assert sections_of(f"{MARKER}\n<!-- pfa_gate:section {text} -->\n<!-- pfa_gate:end -->") == ()


@pytest.mark.parametrize(
    "damage",
    ['"outcome":"fine"', '"run":[1]', '"run":["a",1]', '"cap":"x"', '"gate":7', '"leg":null'],
)
def test_a_damaged_section_is_left_out(damage: str) -> None:
    whole = CommentSection("pfa.yaml", "digits", "", "broken", "a", "b", (1, 1))
    name = damage.split(":", maxsplit=1)[0]
    marker = to_markdown(whole)
    start = marker.index(name)
    stop = min(at for at in (marker.find(',"', start), marker.find("} -->", start)) if at > 0)
    assert sections_of(marker[:start] + damage + marker[stop:]) == ()
    assert len(sections_of(marker)) == 1


def test_the_marker_counts_only_at_the_beginning() -> None:
    body = compose([CommentSection("pfa.yaml", "digits", "", "broken", "digits", "Two layers.")])
    assert is_ours(body)
    quoted = "> " + body
    assert not is_ours(quoted)
    assert merge(quoted, []) == merge("", [])


ONE = CommentSection(
    "pfa.yaml", "digits", "py3.11", "broken", "digits: 2 budgets broken", "### Broken\n\n| a |\n|---|\n| b |"
)
TWO = CommentSection("pfa.yaml", "mnist", "", "kept", "mnist: 9 budgets kept")


def test_one_gate_speaks_for_itself() -> None:
    visible = [line for line in compose([ONE]).splitlines() if not line.startswith("<!--")]
    assert visible == ONE.text.splitlines()


def test_several_gates_have_a_headline() -> None:
    visible = [line for line in compose([ONE, TWO]).splitlines() if line and not line.startswith("<!--")]
    assert visible == [
        "❌ **pfa_gate**: 1 of 2 gates does not keep every budget.",
        *(line for line in ONE.text.splitlines() if line),
        "mnist: 9 budgets kept",
    ]


def test_all_resolved_is_one_line() -> None:
    resolved = dataclasses.replace(ONE, outcome="kept", line="✅ digits: 11 budgets kept", text="")
    for sections, told in (
        ([resolved], "**pfa_gate**: ✅ digits: 11 budgets kept"),
        ([resolved, TWO], "✅ **pfa_gate**: all 2 gates keep every budget."),
    ):
        body = compose(sections)
        assert [line for line in body.splitlines() if not line.startswith("<!--")] == [told]
        assert sections_of(body) == tuple(sections)


def test_the_same_in_another_run_is_the_same() -> None:
    later = dataclasses.replace(ONE, run=(8, 1))
    assert say_the_same(compose([ONE, TWO]), compose([later, TWO]))
    assert say_the_same(compose([ONE, TWO]).replace("\n", "\r\n"), compose([later, TWO]))
    assert not say_the_same(compose([ONE]), compose([dataclasses.replace(later, text="### Worse")]))
    quick, slow = (dataclasses.replace(ONE, text=f"torch 2.13.0 · {time} s", run=(1, 1)) for time in ("8.1", "12.0"))
    assert say_the_same(compose([quick]), compose([slow]))
    assert not say_the_same(compose([quick]), compose([dataclasses.replace(slow, text="torch 2.14.0 · 8.1 s")]))
    assert not say_the_same(compose([ONE]), compose([dataclasses.replace(later, outcome="kept")]))


def test_a_cut_is_at_a_row_and_closes_what_is_open() -> None:
    rows = [f"| layer {number} | {'x' * 90} |" for number in range(400)]
    folded = "\n".join(["### Broken", "", "<details><summary>a</summary>", "<details>", "", *rows, "</details>", "```"])
    body = compose([dataclasses.replace(ONE, text=folded), dataclasses.replace(TWO, text=folded)], 20_000)
    assert units(body) <= 20_000
    for section in sections_of(body):
        lines = section.text.splitlines()
        assert lines[:5] == folded.splitlines()[:5]
        assert lines[-4:] == ["</details>", "</details>", "", lines[-1]]
        assert set(lines[5:-4]) <= set(rows)
        assert lines[-1].startswith("_The rest does not fit")


@pytest.mark.parametrize("count", [300, 3_000])
def test_hundreds_of_legs_fit(count: int) -> None:
    crowd = [dataclasses.replace(TWO, leg=f"leg {n}", text="long " * 50) for n in range(count)]
    body = merge("", [*crowd, dataclasses.replace(ONE, leg="zz", text="x" * 70_000)])
    assert units(body) <= LIMIT
    assert is_ours(body)
    assert f"1 of {count + 1} gates does not keep" in body
    shown = sections_of(body)
    absent = [] if count == 300 else [f"_{count + 1 - len(shown)} more gates have no room here._"]
    assert re.findall("^_.* have no room here._$", body, re.MULTILINE) == absent
    assert any(section.leg == "zz" for section in shown)


def test_a_cut_once_made_binds_those_who_come_later() -> None:
    """Its first row is short and its second fits nowhere, so that the later one would fit beside it uncut."""
    early = dataclasses.replace(TWO, leg="early", text="short\n" + "x" * 7_000)
    late = dataclasses.replace(TWO, leg="late", text="\n".join(["y" * 42] * 100))
    assert chained([early, late], 5_000) == chained([late, early], 5_000) == compose([early, late], 5_000)


def test_three_orders_by_hand() -> None:
    three = [dataclasses.replace(TWO, leg=leg, text=f"{leg}\n" * 900) for leg in ("abcdef", "ghijkl", "m")]
    assert len({chained(list(order), 9_000) for order in permutations(three)}) == 1
