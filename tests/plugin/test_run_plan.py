"""A plan crosses processes as plain data."""

import dataclasses
import json
from pathlib import Path

import pytest

from pfa_gate.plugin.command_line import Choice
from pfa_gate.plugin.run_plan import RunPlan

TWO = RunPlan((Path("/a/pfa.yaml"), Path("/b/pfa.yaml")), Path("/tmp/x"))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"configs": ()},
        {"output": Path("/out")},
        {"names_tests_only": True},
        {"cache": Path("/cache")},
        {"baseline": "git:main"},
        {"updating": True},
        {"run": "ab"},
        {"choice": Choice("a", "b", ("/p::c",), only_lists=True)},
    ],
)
def test_what_is_sent_is_received(change: dict[str, object]) -> None:
    plan = dataclasses.replace(TWO, **change)  # type: ignore[arg-type]
    assert RunPlan.from_plain(json.loads(json.dumps(plan.to_plain()))) == plan
