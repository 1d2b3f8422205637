"""What the reports say of the time of the files: on a terminal, on the page, in the comment, to JUnit."""

import dataclasses
from typing import Any

import pytest
import records
from goldens import golden

from pfa_gate.budget import Measurements, judge
from pfa_gate.record import BatchTiming, QuantizedRecord, Record, RoundedForecast, TimingRecord
from pfa_gate.report.ci import scalars
from pfa_gate.report.html import render as page
from pfa_gate.report.markdown.timing import timing_part
from pfa_gate.report.terminal import render
from pfa_gate.report.timing import time_rows, time_sentences

ONE = BatchTiming(1, 0.993, 0.0098, (0.973, 1.013), 1.472, 1.461, 52)
MANY = BatchTiming(64, 0.938, 0.009, (0.919, 0.957), 1.06, 0.994, 16)
SKIPPED = {"128": "it would take long"}
OF_THE_FILE = TimingRecord("model.onnx", "ONNX Runtime 1.31.1", "CPU time", "CPU", 1, (ONE, MANY))


def timed(timing: TimingRecord = OF_THE_FILE, macs: int = 3_464_233) -> Record:
    plain = records.kept()
    assert plain.compressed is not None
    assert plain.recipe is not None
    rounded = RoundedForecast(110_000, 3_426_343, dict.fromkeys(plain.recipe.keep, 24))
    small = dataclasses.replace(plain.compressed, macs=macs, latency=0.993, timing=timing, rounded=rounded)
    return records.judged(dataclasses.replace(plain, compressed=small))


def with_int8() -> Record:
    ints = dataclasses.replace(OF_THE_FILE, file="model.int8.onnx", batches=(dataclasses.replace(ONE, ratio=0.61),))
    file = QuantizedRecord("ab", 9, "ONNX Runtime 1.31.1", 8, "static", "", 64, 9, 18, timing=ints)
    return dataclasses.replace(timed(), quantized=file)


def judged_with_int8(budgets: dict[str, Any]) -> Record:
    record = with_int8()
    assert record.quantized is not None
    measured = Measurements((), record.model, latency=0.993, quantized=record.quantized.measure())
    asked = records.gate(budgets=budgets).model_copy(update={"name": record.gate})
    return dataclasses.replace(record, budgets=judge(asked, measured, records.place_of))


def test_on_a_terminal() -> None:
    golden("timing.plain.txt", render(with_int8(), width=100, colour=False, unicode=True))
    golden("timing.60.ascii.txt", render(timed(), width=60, colour=False, unicode=False))


def test_on_the_page_and_in_the_comment() -> None:
    section = page(with_int8()).partition('<section aria-labelledby="time">')[2].partition("</section>")[0]
    golden("timing.html", section)
    assert 'aria-labelledby="time"' not in page(records.kept())
    golden("timing.md", timing_part(with_int8()))
    assert timing_part(records.kept()) == ""


def test_a_file_that_takes_as_long_for_fewer_macs_is_told_and_what_multiples_would_give() -> None:
    assert time_sentences(timed())[-1] == (
        "The MACs fall to 64.0% and the time does not: 99.3%. recipe.round_to: auto would give 63.3% of the MACs with "
        "6 of 6 counts in multiples of 8."
    )
    assert time_rows(timed())[-1].ratio == "not measured"


@pytest.mark.parametrize(
    ("ratio", "interval", "macs", "told"),
    [
        (0.83, (0.80, 0.86), 0.64, False),  # 20 % saved at the favourable end: more than half of 36 %
        (0.85, (0.83, 0.87), 0.64, True),
        (0.99, (0.97, 1.01), 0.96, False),  # nothing to save
        (0.99, None, 0.64, True),
    ],
)
def test_the_rule_of_fewer_macs_and_no_less_time(
    ratio: float, interval: tuple[float, float] | None, macs: float, told: bool
) -> None:
    batch = dataclasses.replace(ONE, ratio=ratio, interval=interval)
    record = timed(dataclasses.replace(OF_THE_FILE, batches=(batch,)), round(macs * 5_412_864))
    assert any("the time does not" in sentence for sentence in time_sentences(record)) == told


def test_what_was_timed_in_torch_says_why_and_what_was_not_timed_too() -> None:
    eager = TimingRecord(
        "",
        "torch, eager",
        "CPU time",
        "CPU",
        1,
        (ONE,),
        "the extra onnx is not installed",
        {"128": "it would take long"},
    )
    assert time_sentences(timed(eager))[:3] == (
        "Measured in torch, eager, on CPU, because the extra onnx is not installed.",
        "CPU time on one thread in torch, eager, both models in turns; the budget is judged for calls of 1 sample.",
        "Not timed for calls of 128 samples: it would take long.",
    )
    assert time_rows(timed(eager))[0].file == "torch, eager"
    device = dataclasses.replace(
        eager, clock="wall clock", device="cuda:0", reason="the gate runs on cuda:0", skipped={}
    )
    assert time_sentences(timed(device))[:2] == (
        "Measured in torch, eager, on cuda:0, because the gate runs on cuda:0.",
        "Wall clock of cuda:0 in torch, eager, both models in turns; the budget is judged for calls of 1 sample.",
    )


def test_no_line_is_wider_than_the_terminal() -> None:
    for width in (40, 60, 80):
        text = render(with_int8(), width=width, colour=False, unicode=True)
        assert max(map(len, text.splitlines())) <= width


def test_a_limit_within_the_interval_is_told() -> None:
    measured = timed().compressed
    assert measured is not None
    assert measured.timing is not None
    time = measured.timing.measure()
    assert time is not None
    assert list(time.notes(100)) == ["Within noise: it lies between 97.3% and 101.3% (95 %)."]
    assert list(time.notes(97)) == list(time.notes(102)) == []


def test_junit_has_the_ratios_of_both_files() -> None:
    budgets = {"compressed": {"latency": "99%"}, "quantized": {"latency": "60%"}}
    found = {finding.id: finding for finding in judged_with_int8(budgets).budgets}
    assert scalars(with_int8(), found["compressed.latency"])["pfa_value"] == 0.993
    assert scalars(with_int8(), found["quantized.latency"])["pfa_value"] == 0.61
    assert {name: finding.outcome for name, finding in found.items() if "latency" in name} == {
        "compressed.latency": "broken",
        "quantized.latency": "broken",
    }
