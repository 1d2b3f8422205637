"""A plan crosses processes as plain data."""

import json
from pathlib import Path

import pytest

from pfa_gate.item import Plan


@pytest.mark.parametrize("output", [None, Path("/out")])
@pytest.mark.parametrize("chosen", [True, False])
def test_what_is_sent_is_received(output: Path | None, chosen: bool) -> None:
    plan = Plan((Path("/a/pfa.yaml"), Path("/b/pfa.yaml")), Path("/tmp/x"), output, chosen)
    assert Plan.received(json.loads(json.dumps(plan.sent()))) == plan
