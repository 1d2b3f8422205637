"""The factorized layers in every report: what they save and lose, and why others are one as before."""

import dataclasses

import pytest
import records
from examples import factorized
from goldens import golden

from pfa_gate.record import Record, dumps, loads
from pfa_gate.report.factorized import rank_facts
from pfa_gate.report.html import render as page
from pfa_gate.report.markdown import comment
from pfa_gate.report.terminal import render


@pytest.fixture(scope="module")
def record() -> Record:
    return factorized(records.kept())


@pytest.mark.parametrize(("name", "width", "unicode", "verbosity"), [
    ("plain", 80, True, 1), ("ascii", 80, False, 0), ("40", 40, True, 2),
])  # fmt: skip
def test_on_a_terminal(record: Record, name: str, width: int, unicode: bool, verbosity: int) -> None:
    text = render(record, width=width, colour=False, unicode=unicode, verbosity=verbosity)
    assert max(map(len, text.splitlines())) <= width
    golden(f"factorized.{name}.txt", text.partition("Factorized layers")[2].partition("Budgets")[0])


def test_in_a_comment(record: Record) -> None:
    golden("factorized.md", comment([record]))


def test_on_the_page(record: Record) -> None:
    part = page(record).partition('<section aria-labelledby="factorized">')[2].partition("</section>")[0]
    golden("factorized.html", part)


@pytest.mark.parametrize(
    ("way", "target", "said"),
    [
        ("energy", 0.97, "Their ranks keep 97.0% of the energy of each layer's outputs."),
        ("parameters", 120_000.0, "Their ranks lose least for a model of at most 120,000 parameters."),
        ("macs", 3_000_000.0, "Their ranks lose least for a model of at most 3,000,000 MACs."),
        ("ranks", None, "Their ranks stand in pfa.yaml."),
    ],
)
def test_how_ranks_were_found_is_said(record: Record, way: str, target: float | None, said: str) -> None:
    assert record.factorized is not None
    found = dataclasses.replace(record.factorized, way=way, target=target)
    assert rank_facts(dataclasses.replace(record, factorized=found)).sentences[1] == said


def test_where_no_layer_became_two_the_reasons_are_said(record: Record) -> None:
    assert record.factorized is not None
    none = dataclasses.replace(record.factorized, layers=(), exact=None, whole={"fc": "it is small"})
    facts = rank_facts(dataclasses.replace(record, factorized=none))
    assert facts.sentences == ("No layer became two.", "One as before: fc (it is small).")
    assert facts.rows == ()


def test_a_record_with_them_is_read_as_it_was_written(record: Record) -> None:
    assert loads(dumps(record)) == record
