"""Zeros among the weights in the reports: said where they were asked for or are there, whole on the page."""

import dataclasses

import pytest
import records

from pfa_gate.record import Record, SparseLayer, SparsityRecord, ZeroCount
from pfa_gate.report.files import report_text
from pfa_gate.report.sparsity import zeros_sentences
from pfa_gate.report.terminal import render

DENSE = ZeroCount(1024, 0, {"1:4": (0, 256), "2:4": (0, 256), "4:8": (0, 128)})
HALF = ZeroCount(768, 384, {"1:4": (0, 192), "2:4": (192, 192), "4:8": (96, 96)})
TABLE = ZeroCount(40, 10)
MADE = SparsityRecord(
    (
        SparseLayer("stem", DENSE, DENSE, "it reads 3 channels, fewer than the 4 of a group"),
        SparseLayer("branch.3", DENSE, HALF),
        SparseLayer("words", TABLE, None),
    ),
    "2:4",
    412_345,
)
ON_A_TERMINAL = """\
Zeros
   Of the weights of the full model 0.5% are zero, in no pattern.
   Of the weights of the compressed model 21.4% are zero, 2:4 in 1 of 2 layers, 4:8 in 1 of 2
   layers.
   2:4: of 4 neighbouring input channels of a filter, at one place of its kernel, at most 2 have
   weights that are not zero.
   With all their weights: stem (it reads 3 channels, fewer than the 4 of a group).
   Zeros save no byte of these files, which store them like any weight; as values and places the
   compressed model would take 412 kB. GPUs with sparse tensor cores run 2:4 faster; common runtimes
   on a CPU run no such pattern faster.
   layer      full  smaller  patterns
   stem       0.0%     0.0%
   branch.3   0.0%    50.0%  2:4, 4:8
   words     25.0%        -
"""


def of(zeros: SparsityRecord | None) -> Record:
    return dataclasses.replace(records.kept(), sparsity=zeros)


def terminal(record: Record, verbosity: int = 0) -> str:
    return render(record, width=100, colour=False, unicode=False, verbosity=verbosity)


def section(text: str) -> str:
    return text[text.index("\nZeros\n") + 1 :].partition("\n\n")[0] + "\n"


def test_a_pattern_that_was_asked_for_is_told_with_every_layer() -> None:
    assert section(terminal(of(MADE), verbosity=1)) == ON_A_TERMINAL
    assert section(terminal(of(MADE))) == ON_A_TERMINAL.partition("   layer ")[0]


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_page_and_comment_say_the_same(name: str) -> None:
    text = report_text(of(MADE), name).replace("\\", "")
    for sentence in zeros_sentences(of(MADE)):
        assert sentence in text
    for words in ("50.0%", "2:4, 4:8", "it reads 3 channels, fewer than the 4 of a group"):
        assert words in text


def test_a_pattern_that_came_with_the_model_is_told_and_what_became_of_it() -> None:
    found = of(SparsityRecord((SparseLayer("stem", HALF, HALF), SparseLayer("head", HALF, DENSE))))
    assert zeros_sentences(found) == (
        "Of the weights of the full model 50.0% are zero, 2:4 in 2 of 2 layers, 4:8 in 2 of 2 layers.",
        "Of the weights of the compressed model 21.4% are zero, 2:4 in 1 of 2 layers, 4:8 in 1 of 2 layers.",
    )
    assert "\nZeros\n" in terminal(found)


def test_short_reports_do_not_speak_of_what_nobody_asked_for_and_is_not_there() -> None:
    found = of(SparsityRecord((SparseLayer("stem", DENSE, DENSE),)))
    assert "Zeros" not in terminal(found, verbosity=2)
    assert "Zeros" not in report_text(found, "report.md")
    assert "Of the weights of the full model 0.0% are zero, in no pattern." in report_text(found, "report.html")
    assert "Zeros" not in report_text(of(None), "report.html")
