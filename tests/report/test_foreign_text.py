"""No text of a record is markup, whatever field it stands in and whatever it looks like."""

from pathlib import Path

import pytest
from examples import everything
from foreign import PAYLOADS, assert_all_markup_is_ours, planted, shape, sites
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pfa_gate.github.command import LegRecord, section_of
from pfa_gate.github.comment_text import compose
from pfa_gate.record import Record
from pfa_gate.report.markdown import comment, not_measured

RECORD = everything()


def posted(record: Record) -> str:
    return compose([section_of(LegRecord(Path("record.json"), record.gate, record), (7, 1), brief=False)])


@pytest.mark.parametrize("site", [*sites(RECORD)], ids=".".join)
def test_no_field_of_a_record_is_markup(site: tuple[str, str]) -> None:
    text = comment([planted(RECORD, " ".join(PAYLOADS[each] for each in ("item", "end of code", "html")), site)])
    assert_all_markup_is_ours(text)
    assert shape(text) == shape(comment([planted(RECORD, "word", site)]))


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_that_is_planted_in_every_field_is_markup(payload: str) -> None:
    text = posted(planted(RECORD, PAYLOADS[payload]))
    assert_all_markup_is_ours(text)
    assert shape(text) == shape(posted(planted(RECORD, "word" if PAYLOADS[payload] else "")))


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_reason_why_a_gate_was_not_measured_is_markup(payload: str) -> None:
    text = not_measured(*[PAYLOADS[payload]] * 3)
    assert_all_markup_is_ours(text)
    assert shape(text) == shape(not_measured(*["word"] * 3))


PIECES = st.sampled_from([*PAYLOADS.values(), *"`*_~<>[]()!#@:|\\-+=&$. \n\t", "1.", "://", "www.", "word"])


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(PIECES, min_size=1, max_size=6).map("".join))
def test_no_mixture_of_them_is_markup(text: str) -> None:
    assert_all_markup_is_ours(comment([planted(RECORD, text)]))
