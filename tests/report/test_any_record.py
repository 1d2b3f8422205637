"""Whatever a record says, as long as it is one, every report can be made from it."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest
import records
from any_record import anything
from examples import HOSTILE
from hypothesis import HealthCheck, given, settings
from rich.cells import cell_len

from pfa_gate.errors import ArtifactError
from pfa_gate.record import Record, from_dict, to_dict
from pfa_gate.report.ci import Failed, annotations, scalars
from pfa_gate.report.files import DatedRecord, report_text
from pfa_gate.report.formatting import headline
from pfa_gate.report.history import gates, history_page, history_text
from pfa_gate.report.markdown import MARKER
from pfa_gate.report.ownership import REPORTS
from pfa_gate.report.terminal import render


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(anything)
def test_any_record_can_be_reported(record: Record) -> None:
    outcome, counted = headline(record)
    whole(record, outcome, counted)
    for verbosity in (-1, 0, 2):
        shown = render(record, width=60, colour=False, unicode=True, verbosity=verbosity)
        assert outcome.upper() in shown.splitlines()[0]
        assert counted in " ".join(shown.split())
        assert max(map(cell_len, shown.splitlines())) <= 60
    commands = annotations([record], [Failed("a", "b", HOSTILE["command"])])
    unkept = sum(finding.outcome != "kept" for finding in record.budgets)
    assert len(commands) == 1 + unkept
    assert all(line.startswith("::error file=") and len(line.splitlines()) == 1 for line in commands)
    for finding in record.budgets:
        found = scalars(record, finding)
        assert found["pfa_outcome"] == finding.outcome
        assert {type(value) for value in found.values()} <= {str, int, float}, "all that crosses to another process"
    past = gates(
        [DatedRecord("a.json", "2026-11-20T08:30:00Z", record), DatedRecord("b.json", "2026-11-21T08:30:00Z", record)]
    )
    assert "2 runs" in history_text(past)
    assert complete(history_page(past))


def whole(record: Record, outcome: str, counted: str) -> None:
    """Each file is whole and says the verdict."""
    files = {name: report_text(record, name) for name in REPORTS}
    assert complete(files["report.html"])
    assert f"{outcome.capitalize()}</strong> <span>{counted}</span>" in files["report.html"]
    lines = files["report.md"].splitlines()
    assert lines[0] == MARKER
    assert lines[1].startswith("## ")
    assert lines[1].endswith(f" {outcome}")
    assert any(line.startswith("### ") and line.endswith(f": {outcome} · {counted}") for line in lines)
    badge = json.loads(files["badge.json"])
    assert badge["message"].partition(" · ")[0] == outcome
    assert badge["schemaVersion"] == 1


def complete(html: str) -> bool:
    return html.startswith("<!doctype html>") and html.rstrip().endswith("</html>")


def test_verdicts_on_layers_that_are_not_there_can_be_reported() -> None:
    record = dataclasses.replace(records.broken(), layers=())
    whole(record, "broken", headline(record)[1])
    assert "2 of 8 layers have too high a KL ratio" in render(record, width=80, colour=False, unicode=True, verbosity=2)
    assert len(annotations([record])) == 5


def leaves(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every number in plain data."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in pairs:
        yield from leaves(entry, (*way, key))
    if type(value) in (int, float):
        yield way


def put(plain: Any, way: tuple[Any, ...], value: Any) -> None:
    *upper, last = way
    for key in upper:
        plain = plain[key]
    plain[last] = value


def test_no_field_takes_a_number_that_no_report_can_write() -> None:
    plain = to_dict(records.broken())
    for way in leaves(plain):
        for huge in (10**400, -(10**400), 10**19 if type(held(plain, way)) is int else 10**310):
            before = held(plain, way)
            put(plain, way, huge)
            with pytest.raises(ArtifactError, match=r"should be (below|a finite number|a whole number)"):
                from_dict(plain)
            put(plain, way, before)


def held(plain: Any, way: tuple[Any, ...]) -> Any:
    for key in way:
        plain = plain[key]
    return plain


@pytest.mark.parametrize(("count", "share"), [(2**63 - 1, 1.7e308), (1 - 2**63, -1.7e308), (0, 5e-324)])
def test_the_largest_numbers_of_all_fields_at_once_can_be_reported(count: int, share: float) -> None:
    plain = to_dict(records.broken())
    for way in list(leaves(plain)):
        put(plain, way, count if type(held(plain, way)) is int else share)
    record = from_dict(plain)
    for name in REPORTS:
        assert report_text(record, name)
    assert render(record, width=60, colour=True, unicode=True, verbosity=2)
    assert annotations([record])
