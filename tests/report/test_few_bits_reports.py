"""The file of few bits in every report, and the sensitivity of bits: what they say, and what to do about a budget."""

import dataclasses

import pytest
import records
from examples import packed
from goldens import golden

from pfa_gate.record import BitsRecord, LayerBits, Record, dumps, loads
from pfa_gate.record.bit_sensitivity import BitSensitivityRecord, LayerWidths, dumps_bits, loads_bits
from pfa_gate.report.advice import advice
from pfa_gate.report.bit_sensitivity import page as bits_page
from pfa_gate.report.bit_sensitivity import terminal as bits_terminal
from pfa_gate.report.html import render as page
from pfa_gate.report.markdown import comment
from pfa_gate.report.quantized import int8_sentences
from pfa_gate.report.terminal import render


@pytest.fixture(scope="module")
def record() -> Record:
    return packed(records.kept())


@pytest.mark.parametrize(("name", "width", "verbosity"), [("plain", 80, 1), ("40", 40, 2)])
def test_on_a_terminal(record: Record, name: str, width: int, verbosity: int) -> None:
    text = render(record, width=width, colour=False, unicode=True, verbosity=verbosity)
    assert max(map(len, text.splitlines())) <= width
    golden(f"few_bits.{name}.txt", text)


def test_in_a_comment(record: Record) -> None:
    golden("few_bits.md", comment([record]))


def test_on_the_page(record: Record) -> None:
    found = page(record).partition('<section aria-labelledby="int8">')[2].partition("</section>")[0]
    golden("few_bits.html", found)


def test_the_record_is_read_as_it_was_written(record: Record) -> None:
    assert loads(dumps(record)) == record


def test_what_helps_with_a_broken_budget(record: Record) -> None:
    told = {finding.id: advice(record, finding) for finding in record.budgets if finding.outcome == "broken"}
    assert told["quantized.bytes"] == (
        "Write quantize: {bits: auto, bytes: 1%}: it keeps this limit, or says how near it gets.",
        "In floating numbers: head (pfa.yaml leaves it out).",
    )
    assert told["quantized.agreement"][0] == (
        "Alone, layer2.0.conv2 (3), layer1.0.conv1 (4), stem (6) move the answers most: more quantize.bytes, or "
        "quantize.layers.exclude spares them."
    )


@pytest.mark.parametrize(("plan", "said"), [
    (
        BitsRecord((LayerBits("stem", "4", 64, 64),), None, "divergence", 64, 0.02, 0.03, False),
        "Its numbers are the nearest ones: the answers are 0.02 nats from the compressed model's, 0.03 with error "
        "feedback, on 64 samples of the probe that no weight was fitted on.",
    ),
    (
        BitsRecord((LayerBits("stem", "4", 64, 64),), None, "divergence", 0, None, None, False, "The probe is short."),
        "Its numbers are the nearest ones, without error feedback: The probe is short.",
    ),
    (
        BitsRecord((LayerBits("stem", "binary", 64, 64),), None, "divergence", 0, None, None, False),
        "Rounded to the nearest and not trained, binary weights mostly leave a model at chance.",
    ),
])  # fmt: skip
def test_how_it_was_rounded_and_what_that_means_is_said(record: Record, plan: BitsRecord, said: str) -> None:
    assert record.quantized is not None
    file = dataclasses.replace(record.quantized, plan=plan)
    assert said in int8_sentences(dataclasses.replace(record, quantized=file))


WIDTHS = ("binary", "ternary", "2", "3", "4", "5", "6", "8")
VALUES = (
    (None, 2.5, 0.31, 0.021, 0.0085, 0.0004, 2e-5, 0.0),
    (9.1, 1.2, 0.8, 0.11, 0.034, 0.01, 0.002, 3e-6),
)
BITS = BitSensitivityRecord(
    "digits", "pfa.yaml", {"torch": "2.13"}, "divergence", WIDTHS, 256, "ab", "cd", 99_000,
    (
        LayerWidths("stem", 432, {}, dict(zip(WIDTHS, VALUES[0], strict=True))),
        LayerWidths("layer1.0.conv1", 2304, {}, dict(zip(WIDTHS, VALUES[1], strict=True))),
    ),
    {"table": "its weight is computed from others"},
)  # fmt: skip


@pytest.mark.parametrize("width", [100, 80, 40])
def test_the_table_of_bits(width: int) -> None:
    text = bits_terminal(BITS, width=width, colour=False, unicode=True)
    assert max(map(len, text.splitlines())) <= width
    golden(f"bits.{width}.txt", text)


def test_the_page_of_bits_holds_all_it_shows_and_the_record_comes_back() -> None:
    text = bits_page(BITS)
    assert text.count("<svg") == 2
    assert "its weight is computed from others" in text
    assert loads_bits(dumps_bits(BITS)) == BITS
