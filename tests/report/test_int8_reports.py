"""The int8 file in every report: what it is, what it answers, which layers suffer, and what to do about a budget."""

import dataclasses

import pytest
import records
from examples import quantized
from goldens import golden

from pfa_gate.budget import Baseline, Context, Finding, Measurements, judge
from pfa_gate.record import BatchTiming, Record, TimingRecord, dumps, loads
from pfa_gate.record.baseline import Stamp, baseline_entry
from pfa_gate.report.advice import advice
from pfa_gate.report.ci import scalars
from pfa_gate.report.html import render as page
from pfa_gate.report.markdown import comment
from pfa_gate.report.quantized import int8_sentences
from pfa_gate.report.terminal import render

SECTIONS = ("failing", "footprint", "recovery", "int8")
"""The sections of the page that tell of the file."""


@pytest.fixture(scope="module")
def record() -> Record:
    return quantized(records.kept())


@pytest.mark.parametrize(("name", "width", "unicode", "verbosity"), [
    ("plain", 80, True, 1), ("ascii", 80, False, 0), ("40", 40, True, 2),
])  # fmt: skip
def test_on_a_terminal(record: Record, name: str, width: int, unicode: bool, verbosity: int) -> None:
    text = render(record, width=width, colour=False, unicode=unicode, verbosity=verbosity)
    assert max(map(len, text.splitlines())) <= width
    golden(f"int8.{name}.txt", text)


def test_in_a_comment(record: Record) -> None:
    golden("int8.md", comment([record]))


def test_on_the_page(record: Record) -> None:
    text = page(record)
    parts = [text.partition(f'<section aria-labelledby="{name}">')[2].partition("</section>")[0] for name in SECTIONS]
    assert all(parts)
    golden("int8.html", "".join(parts))


def test_weights_alone_are_said_with_the_reason() -> None:
    first, second, *_ = int8_sentences(quantized(records.kept(), "weights"))
    assert first == (
        "model.int8.onnx has weights of 8 bits and floating activations: encoder.attention multiplies activations with "
        "one another, as attention does."
    )
    assert second == "It stores 138 kB, 18.5% of the full model's; it was run by ONNX Runtime 1.31.1."


def test_a_forecast_that_was_off_is_said(record: Record) -> None:
    assert "The recipe had forecast 138,112 bytes; these are 102 more." in int8_sentences(record)


def test_what_helps_with_a_broken_budget(record: Record) -> None:
    told = {finding.id: advice(record, finding) for finding in record.budgets if finding.outcome == "broken"}
    assert list(told) == [
        "quantized.bytes",
        "quantized.accuracy_drop",
        "quantized.agreement",
        "quantized.class_drop",
    ]
    assert told["quantized.bytes"] == (
        "Write recipe: {strategy: bytes, bytes: 18%}: it finds the counts that keep this limit, or says how near it "
        "gets.",
        "In floating numbers: head (pfa.yaml leaves it out).",
    )
    assert told["quantized.agreement"][:2] == (
        "The outputs that suffer most are those of layer2.0.conv2 (8.0 dB), head (17.3 dB), layer1.0.conv1 "
        "(23.9 dB): quantize.layers.exclude spares them.",
        "The ranges are those of 256 samples: more quantize.samples may show what these miss.",
    )


def test_scalars_are_those_of_the_file(record: Record) -> None:
    values = {finding.id: scalars(record, finding).get("pfa_value") for finding in record.budgets}
    assert values == {
        "exact": 2.41e-07,
        "quantized.bytes": 138_214,
        "quantized.accuracy_drop": 0.01944,
        "quantized.agreement": 0.9417,
        "quantized.divergence": 0.0312,
        "quantized.class_drop": 0.125,
    }


def test_a_baseline_holds_its_values_each_drop_under_one_name(record: Record) -> None:
    held = baseline_entry(record, Stamp("2026-11-29", "", {}))["budgets"]
    assert {key: value for key, value in held.items() if key.startswith("quantized.")} == {
        "quantized.parameters": 128_306,
        "quantized.bytes": 138_214,
        "quantized.accuracy_drop": 1.944,
        "quantized.agreement": 94.17,
        "quantized.divergence": 0.0312,
        "quantized.output_error": 8.4,
        "quantized.class_drop": 12.5,
    }


def test_it_may_not_get_worse_than_the_baseline_allows(record: Record) -> None:
    assert record.quantized is not None
    budgets = {
        "quantized": {
            "bytes": {"max_increase": "1%"},
            "accuracy_drop": {"max_increase": "0.1 pp"},
            "agreement": {"min": "90%", "max_decrease": "0.5 pp"},
        }
    }
    before = {"quantized.bytes": 130_000.0, "quantized.accuracy_drop": 1.9, "quantized.agreement": 95.0}
    base = Baseline("pfa.baseline.json", "2026-11-20", values=before)
    measured = Measurements((), full=record.model, quantized=record.quantized.measure())
    found = judge(records.gate(budgets=budgets), measured, records.place_of, Context(base))
    assert [(finding.id, finding.outcome) for finding in found] == [
        ("exact", "not judged"),
        ("quantized.bytes", "broken"),
        ("quantized.accuracy_drop", "kept"),
        ("quantized.agreement", "broken"),
    ]
    assert found[1].sentence == (
        "The int8 file has 138 kB, 6.91 kB above the limit of 131 kB. That is the baseline's 130 kB + 1%."
    )


def test_a_record_with_it_is_read_as_it_was_written(record: Record) -> None:
    assert loads(dumps(record)) == record


def test_the_cut_is_named_first_where_it_costs_more_than_the_bits(record: Record) -> None:
    (finding,) = (each for each in record.budgets if each.id == "quantized.accuracy_drop")
    assert record.quantized is not None
    assert record.quantized.scores is not None
    scores = record.quantized.scores
    mostly_cut = dataclasses.replace(record, scores=dataclasses.replace(scores, drop=0.015))
    told = advice(mostly_cut, finding)
    assert told[0] == "The cut alone costs 1.50 pp, before the bits."
    assert told[1].startswith("Write recovery: [compensate]")
    assert "quantize.layers.exclude" in told[-2]
    without = advice(dataclasses.replace(record, scores=dataclasses.replace(scores, drop=-0.002)), finding)
    assert "quantize.layers.exclude" in without[0]


@pytest.mark.parametrize(("ratio", "said"), [(0.97, "Judge quantized.latency on one like"), (0.4, "Cut more")])
def test_no_layer_is_blamed_for_the_time_that_a_processor_takes(record: Record, ratio: float, said: str) -> None:
    assert record.compressed is not None
    assert record.quantized is not None
    batch = BatchTiming(1, ratio, 0.01, None, 2.0, 2 * ratio, 16)
    timing = TimingRecord("model.int8.onnx", "ONNX Runtime", "CPU time", "CPU", 1, (batch,))
    timed = dataclasses.replace(
        record,
        compressed=dataclasses.replace(record.compressed, latency=0.7),
        quantized=dataclasses.replace(record.quantized, timing=timing),
        layers=(),
    )
    late = Finding("quantized.latency", "90%", f"{ratio:.0%}", "broken", "Too slow.", 7)
    (told,) = advice(timed, late)
    assert said in told
