"""The badge against the schema of shields' endpoint, in words."""

import json

import pytest
import records
from examples import HOSTILE, named

from pfa_gate.report.ci import badge


@pytest.mark.parametrize(
    ("record", "message", "colour"),
    [
        (records.kept(), "kept · 68.8% of parameters", "brightgreen"),
        (records.broken(), "broken · 52.1% of parameters", "red"),
        (records.not_judged(), "not judged", "yellow"),
    ],
)
def test_the_badge_tells_verdict_and_size(record, message, colour):
    wanted = {"schemaVersion": 1, "label": "pfa digits", "message": message, "color": colour}
    assert json.loads(badge(record)) == wanted


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_names_are_short_and_clean(name):
    found = json.loads(badge(named(name)))
    assert set(found) == {"schemaVersion", "label", "message", "color"}
    assert len(found["label"]) <= 44
    assert found["label"].isprintable()
