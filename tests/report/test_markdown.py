"""The comment against golden files, what a reader of Markdown makes of it, and its limit."""

import dataclasses
import re
from datetime import date

import pytest
import records
from examples import HOSTILE, changed, many, named
from goldens import golden
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pfa_gate.record import Record
from pfa_gate.report.layers import sparkline
from pfa_gate.report.markdown import MARKER, comment, section, verdict_line
from pfa_gate.report.markdown.markup import code, prose, units

OURS = re.compile(r"</?(?:details|summary|sub)>|<!-- pfa_gate:comment -->|\s")
READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
# What the host of a comment turns into links and mentions outside of code.
JOINED = re.compile(r"@\w|#\d|\bGH-\d|https?://\w|\bwww\.\w", re.IGNORECASE)


@pytest.fixture(autouse=True)
def _on_a_day(monkeypatch):
    class Day(date):
        @classmethod
        def today(cls):
            return cls(2026, 11, 20)

    monkeypatch.setattr("pfa_gate.report.baseline.date", Day)


EXAMPLES = {
    "kept": records.kept,
    "broken": records.broken,
    "not_judged": records.not_judged,
    "deep": records.deep,
    "changed": changed,
}


@pytest.mark.parametrize("example", EXAMPLES)
def test_golden_comment(example):
    golden(f"{example}.md", comment([EXAMPLES[example]()]))


def read(text: str) -> list:
    """Every token of a text, as a reader sees it, those within lines too."""
    return [child for token in READER.parse(text) for child in (token, *(token.children or ()))]


def said(text: str) -> str:
    """What is text to a reader, code left out."""
    return "\n".join(token.content for token in read(text) if token.type == "text")


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_names_are_text_and_nothing_else(name):
    text = comment([named(name), records.kept()])
    tokens = read(text)
    kinds = {token.type for token in tokens}
    assert kinds.isdisjoint({"link_open", "image", "fence", "code_block", "hr", "blockquote_open", "s_open"})
    for token in tokens:
        if token.type in ("html_block", "html_inline"):
            assert OURS.sub("", re.sub(r"(?<=<summary>)[^<]*(?=</summary>)", "", token.content)) == "", token.content
    assert not JOINED.search(said(text))
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", text)
    assert text.startswith(f"{MARKER}\n")
    assert text.count(MARKER) == 1
    text.encode("utf-8")


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_name_breaks_no_table(name):
    usual, hostile = (
        [token.type for token in READER.parse(comment([each])) if token.type.startswith(("t", "h"))]
        for each in (named("stem"), named(name))
    )
    assert hostile == usual


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab.`|\\<>&@#1![]()*_~$:/ -\n\u202e😀"), max_size=60))
def test_any_name_is_one_span_of_code_and_any_sentence_one_text(name):
    inline = [child for token in READER.parse(f"x {code(name)} y") for child in token.children or ()]
    kinds = [child.type for child in inline]
    if code(name) == "(no name)":
        assert kinds == ["text"]
    else:
        assert kinds == ["text", "code_inline", "text"]
        shown = " ".join(inline[1].content.split())
        assert shown == " ".join(name.replace("\u202e", "?").replace("|", "│").replace("<!", "<\u200b!").split())
    (row,) = [
        len([token for token in READER.parse(f"| a | b |\n| - | - |\n| {cell} | z |") if token.type == "td_open"])
        for cell in (f"{code(name)} {prose(name)}",)
    ]
    assert row == 2
    told = [child for token in READER.parse(f"x {prose(name)}") for child in token.children or ()]
    assert {child.type for child in told} <= {"text", "text_special"}


def test_the_marker_is_the_first_line_and_the_verdict_the_second():
    first, second = comment([records.broken(), records.kept()]).splitlines()[:2]
    assert first == "<!-- pfa_gate:comment -->"
    assert second == "## ❌ pfa_gate: 2 gates, 1 broken, 1 kept"


@pytest.mark.parametrize("limit", [400, 1_000, 2_500, 5_000, 10_000, 20_000, 65_000, 10**6])
def test_a_comment_keeps_any_limit_and_is_cut_between_rows(limit):
    crowd = [many(300), records.broken(), records.not_judged(), records.kept(), changed()]
    text = comment(crowd, limit)
    assert units(text) <= limit
    assert text.splitlines()[:2] == comment(crowd).splitlines()[:2]
    for line in text.splitlines():
        assert not line.startswith("|") or line.endswith("|")
    assert text.count("<details>") == text.count("</details>")
    alone = section(records.broken(), limit)
    assert units(alone) <= limit
    assert alone.startswith(f"### {verdict_line(records.broken()).text}\n")


def test_less_room_tells_less_but_never_hides_the_worst():
    record = many(300)
    lengths = [units(comment([record], limit)) for limit in (400, 2_000, 8_000, 30_000, 65_000)]
    assert lengths == sorted(lengths)
    assert "`layers.kl`" in comment([record], 2_000)


def test_five_thousand_layers_fit():
    text = comment([many(5_000)])
    assert units(text) <= 65_000
    assert text.startswith(f"{MARKER}\n## ❌ pfa_gate: `digits` broken\n")
    assert "more rows are not shown" in text


def test_hundreds_of_gates_fit_and_are_counted():
    kept = records.kept()
    gates = [dataclasses.replace(kept, gate=f"gate{number}" + "😀" * 60) for number in range(300)]
    text = comment(gates, 20_000)
    assert units(text) <= 20_000
    assert text.splitlines()[1] == "## ✅ pfa_gate: 300 gates, 300 kept"
    left = re.search(r"and ([\d,]+) more gates", text)
    assert left is not None
    assert int(left[1].replace(",", "")) + text.count("- ✅") == 300


def shown_layers(record: Record) -> list[str]:
    plain = comment([record]).partition("<details>")[0]
    return re.findall(r"^\| [^|]*\| `([^`]+)` \| \S+/\d+ \|", plain, re.MULTILINE)


def test_only_broken_and_changed_layers_are_in_the_open():
    assert shown_layers(records.kept()) == []
    assert shown_layers(records.broken()) == ["layer2.0.conv2", "layer2.0.shortcut"]
    record = changed()
    assert record.baseline is not None
    moved = {name: {"kl": 0.5} for name in ("stem",)}
    record = dataclasses.replace(record, baseline=dataclasses.replace(record.baseline, layers=moved, new=()))
    assert shown_layers(record) == ["layer2.0.conv2", "layer2.0.shortcut", "stem"]


def test_a_change_within_the_noise_is_none():
    record = records.kept()
    near = {layer.name: {"kl": (layer.kl_ratio or 0.0) + 0.004} for layer in record.layers if layer.kl_ratio}
    record = dataclasses.replace(record, baseline=dataclasses.replace(changed().baseline, layers=near, new=()))
    assert shown_layers(record) == []


def test_a_spectrum_stands_in_its_row():
    bars = sparkline(records.broken().layers[4].eigenvalues, 8, "▁▂▃▄▅▆▇█")
    assert f"| {bars} |" in comment([records.broken()])


def test_how_to_run_it_again_and_what_it_was_measured_on():
    text = comment([records.broken()])
    assert "Again: `pytest --pfa example_project/pfa.yaml::digits`" in text
    assert "`9f2c9f2c9f2c`" in text.splitlines()[-1]
