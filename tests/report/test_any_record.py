"""Whatever a record says, as long as it is one, every report can be made from it."""

import dataclasses

import records
from examples import HOSTILE
from hypothesis import HealthCheck, given, settings
from test_record import anything

from pfa_gate.record import Record
from pfa_gate.report.annotations import annotations
from pfa_gate.report.files import KEYS, text
from pfa_gate.report.history import Run, gates, page, words
from pfa_gate.report.scalars import scalars
from pfa_gate.report.terminal import render


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(anything)
def test_any_record_can_be_reported(record: Record) -> None:
    for name in KEYS:
        assert text(record, name)
    for verbosity in (-1, 0, 2):
        assert render(record, width=60, colour=True, unicode=True, verbosity=verbosity)
    annotations([record], [("a", "b", HOSTILE["command"])])
    for finding in record.budgets:
        scalars(record, finding)
    past = gates([Run("a.json", "2026-11-20T08:30:00Z", record), Run("b.json", "2026-11-21T08:30:00Z", record)])
    assert words(past)
    assert page(past)


def test_verdicts_on_layers_that_are_not_there_can_be_reported() -> None:
    record = dataclasses.replace(records.broken(), layers=())
    for name in KEYS:
        assert text(record, name)
    assert "2 of 8 layers have too high a KL ratio" in render(record, width=80, colour=False, unicode=True, verbosity=2)
    assert len(annotations([record])) == 5
