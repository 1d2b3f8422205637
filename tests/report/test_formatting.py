"""Words, rounding, sparklines, names."""

import dataclasses
import subprocess
import sys
import unicodedata

import pytest
import records
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from pfa_gate.record import Scores
from pfa_gate.report.formatting import UNICODE, footprint, headline
from pfa_gate.report.layers import chosen, kept_columns, layer_rows, limits, sparkline
from pfa_gate.report.terminal.layout import shorten, wrapped
from pfa_gate.report.text import clean


def test_headline_counts_what_is_broken_first():
    assert headline(records.kept()) == ("kept", "12 budgets kept")
    assert headline(records.broken()) == ("broken", "12 budgets: 5 broken, 7 kept")
    assert headline(records.not_judged()) == ("not judged", "12 budgets: 9 not judged, 3 kept")


def test_footprint_before_and_after():
    rows = {row.name: dataclasses.astuple(row)[1:5] for row in footprint(records.kept())}
    assert rows == {
        "parameters": ("186,442", "128,306", "68.8%", ""),
        "bytes": ("746 kB", "513 kB", "68.8%", ""),
        "MACs": ("5.41 M", "4.21 M", "77.8%", ""),
        "accuracy": ("99.44%", "99.17%", "-0.28 pp", "95%: -0.83 to +0.28 pp"),
        "latency": ("", "", "91.3%", ""),
    }


def test_a_metric_of_the_user_is_no_percentage():
    record = dataclasses.replace(records.kept(), scores=Scores("metrics.py:psnr", 31.2489, None, None))
    row = footprint(record)[3]
    assert (row.name, row.full, row.compressed, row.change) == ("psnr", "31.25", "", "")


def test_a_metric_of_which_less_is_better_rises_where_it_gets_worse():
    scores = Scores("net.py:loss", 0.3604, 0.3728, 0.0124, (-0.001, 0.0258), direction="lower", unit="plain")
    row = footprint(dataclasses.replace(records.kept(), scores=scores))[3]
    assert (row.name, row.full, row.compressed, row.change) == ("loss", "0.3604", "0.3728", "+0.0124")
    assert row.remark == "lower is better, 95%: -0.001 to +0.0258"
    better = dataclasses.replace(scores, compressed=0.35, drop=-0.0104, interval=None)
    row = footprint(dataclasses.replace(records.kept(), scores=better))[3]
    assert (row.change, row.remark) == ("-0.0104", "lower is better")


def test_rows_know_what_they_break_and_graze():
    rows = {row.layer.name: row for row in layer_rows(records.broken())}
    assert rows["layer2.0.conv2"].broken == {"kl", "peak_correlation"}
    assert rows["layer2.0.shortcut"].broken == {"kl", "inactive"}
    assert rows["branch.3"].noisy
    assert not rows["branch.3"].broken
    assert not rows["head"].unknown
    assert {row.layer.name for row in layer_rows(records.not_judged()) if row.unknown} == {"layer2.1.conv1"}
    assert limits(list(rows.values())) == {
        "kl": "0.5-0.6",
        "peak_correlation": "0.99",
        "mean_correlation": "0.5",
        "inactive": "0",
    }


def test_few_layers_are_all_shown_and_of_many_the_failing_and_the_worst_in_model_order():
    rows = layer_rows(records.deep())
    shown = chosen(rows, everything=False)
    assert [row for row in rows if row in shown] == list(shown)
    assert set(map(rows.index, shown)) >= {17, 33, 50}
    assert len(shown) == 5
    assert chosen(rows, everything=True) == rows
    assert chosen(rows[:5], everything=False) == rows[:5]


@given(st.lists(st.floats(0, 1e300), min_size=1, max_size=300), st.integers(1, 40))
def test_a_sparkline_has_one_bar_per_column_and_one_of_full_height(values, width):
    values.sort(reverse=True)
    bars = sparkline(values, width, UNICODE.blocks)
    assert len(bars) == min(width, len(values))
    assert set(bars) <= {*UNICODE.blocks, " "}
    assert bars[0] == "█" or values[0] == 0


def test_sparklines_of_nothing():
    assert sparkline([], 8, UNICODE.blocks) == ""
    assert sparkline([0.0, 0.0], 8, UNICODE.blocks) == "  "
    assert sparkline([1.0] * 8, 4, UNICODE.blocks) == "████"


@given(st.integers(1, 500), st.integers(1, 40), st.data())
def test_the_cut_grows_with_the_filters_kept(filters, width, data):
    keep = data.draw(st.integers(1, filters))
    assert 1 <= kept_columns(filters, keep, width) <= min(width, filters)
    assert kept_columns(filters, filters, width) == min(width, filters)
    assert kept_columns(filters, 0, width) == 0


@given(st.text(), st.integers(0, 30))
def test_a_shortened_name_fits_and_keeps_its_ends(text, width):
    short = shorten(text, width, "…")
    assert cell_len(short) <= width
    assert short == text or cell_len(text) > width


@pytest.mark.parametrize(
    ("width", "short"), [(0, ""), (1, "…"), (2, "…1"), (3, "l…1"), (7, "lay…nv1"), (9, "laye…onv1")]
)
def test_names_lose_their_middle(width, short):
    assert shorten("layer3.1.conv1", width, "…") == short


@given(st.text(), st.integers(6, 60), st.integers(0, 4))  # two columns are left for the widest of letters
def test_wrapped_lines_fit(text, width, indent):
    assert all(cell_len(line) <= width for line in wrapped(text, width, indent, "…"))


@given(st.text())
def test_a_clean_text_holds_no_control_or_format_character(text):
    assert not any(unicodedata.category(sign)[0] == "C" for sign in clean(text))


@pytest.mark.parametrize("room", ["budget", "record", "report.formatting"])
def test_only_the_terminal_needs_rich(room: str) -> None:
    code = f"import sys, pfa_gate.{room}; print('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
