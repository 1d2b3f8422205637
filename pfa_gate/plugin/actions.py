"""A run inside a workflow: annotations on the lines of pfa.yaml, and the summary of the job.

PYTEST_DONT_REWRITE
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pfa_gate.item import Plan, results
from pfa_gate.report.lines import printable

if TYPE_CHECKING:
    from pfa_gate.record import Record
    from pfa_gate.report.annotations import Failed

# The runner refuses a summary above one mebibyte; a unit of UTF-16 takes at most three bytes in UTF-8.
_SUMMARY_LIMIT = 300_000


class Actions:
    """Tells the runner what it can show; it changes no verdict.

    Args:
        plan: that of the run.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.unwritten = ""

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Add to the summary of the job; what cannot be written is told later, and no more."""
        path = os.environ.get("GITHUB_STEP_SUMMARY")
        records, failed = _found(self.plan)
        if not path or not (records or failed):
            return
        try:
            with Path(path).open("a", encoding="utf-8", newline="\n") as file:
                file.write(_summary(records, failed))
        except OSError as error:
            self.unwritten = f"pfa_gate: the summary of the job cannot be written: {error}"

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the annotations."""
        if self.unwritten:
            terminalreporter.write_line(printable(self.unwritten))
        if os.environ.get("GITHUB_ACTIONS") == "true":
            from pfa_gate.report.annotations import annotations  # noqa: PLC0415  for runs in a workflow alone

            for line in annotations(*_found(self.plan), _in_repository):
                terminalreporter.write_line(line)  # a command, and meant as one


def _found(plan: Plan) -> "tuple[list[Record], list[Failed]]":
    from pfa_gate.record import from_dict  # noqa: PLC0415
    from pfa_gate.report.annotations import Failed  # noqa: PLC0415

    found = sorted(results(plan.shared), key=lambda each: (each.config, each.gate))
    records = [from_dict(each.record) for each in found if each.record is not None]
    failed = [
        Failed(each.config, each.gate, each.error or each.crash or "", each.line, each.column)
        for each in found
        if each.record is None
    ]
    return records, failed


def _summary(records: "Sequence[Record]", failed: "Sequence[Failed]") -> str:
    from pfa_gate.report.markdown import comment, not_measured  # noqa: PLC0415

    told = [not_measured(_in_repository(each.config), each.gate, each.reason) for each in failed]
    return "\n".join([*told, *([comment(records, _SUMMARY_LIMIT)] if records else [])])


def _in_repository(config: str) -> str:
    """A config's path from the root of the checkout, which is what annotations are placed by."""
    root = Path(os.environ.get("GITHUB_WORKSPACE") or Path.cwd())
    path = Path(os.path.abspath(config))
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()
