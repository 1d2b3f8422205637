"""A run inside a workflow: annotations on the lines of pfa.yaml, and the summary of the job."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pfa_gate.config.paths import from_root
from pfa_gate.plugin.gate_analysis import results
from pfa_gate.plugin.run_plan import RunPlan
from pfa_gate.report.text import printable

if TYPE_CHECKING:
    from pfa_gate.record import Record
    from pfa_gate.report.ci import Failed

# The runner drops a summary above one mebibyte whole, what others have written in this step included.
_LARGEST = 2**20
# UTF-16 units of the whole, from what is wanted to what still says something; a unit takes at most three bytes.
_LIMITS = (300_000, 65_000, 16_000, 4_000, 1_000)


class GitHubActions:
    """Tells the runner what it can show; it changes no verdict.

    Args:
        plan: that of the run.
    """

    def __init__(self, plan: RunPlan) -> None:
        self.plan = plan
        self.unwritten = ""

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Add to the summary of the job; a summary that cannot be written is reported at the end, and fails nothing."""
        path = os.environ.get("GITHUB_STEP_SUMMARY")
        records, failed = _found(self.plan)
        if not path or not (records or failed):
            return
        try:
            self.unwritten = _added(Path(path), records, failed)
        except OSError as error:
            self.unwritten = f"pfa_gate: the summary of the job cannot be written: {error}"

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the annotations."""
        if self.unwritten:
            terminalreporter.write_line(printable(self.unwritten))
        if os.environ.get("GITHUB_ACTIONS") == "true":
            from pfa_gate.report.ci import annotations  # noqa: PLC0415  for runs in a workflow alone

            for line in annotations(*_found(self.plan)):
                terminalreporter.write_line(line)  # a command, and meant as one


def _found(plan: RunPlan) -> "tuple[list[Record], list[Failed]]":
    from pfa_gate.record import from_dict  # noqa: PLC0415
    from pfa_gate.report.ci import Failed  # noqa: PLC0415

    found = sorted(results(plan.shared), key=lambda each: (each.config, each.gate))
    named = [(from_root(Path(each.config)), each) for each in found]
    records = [replace(from_dict(each.record), config=name) for name, each in named if each.record is not None]
    failed = [
        Failed(name, each.gate, each.error or each.crash or "", each.line, each.column)
        for name, each in named
        if each.record is None
    ]
    return records, failed


def _added(path: Path, records: "Sequence[Record]", failed: "Sequence[Failed]") -> str:
    """Write as much as there is room for; give a sentence where there is none."""
    present = path.read_bytes() if path.exists() else b""
    separator = b"\n" if present and not present.endswith(b"\n") else b""
    for limit in _LIMITS:
        text = separator + _summary(records, failed, limit).encode("utf-8", "replace")
        if len(present) + len(text) <= _LARGEST:
            with path.open("ab") as file:
                file.write(text)
            return ""
    fact = f"pfa_gate: the summary of the job has no room: {len(present):,} of {_LARGEST:,} bytes are taken"
    return f"{fact}, and GitHub drops one that is larger. The report is in report.md."


def _summary(records: "Sequence[Record]", failed: "Sequence[Failed]", limit: int) -> str:
    from pfa_gate.report.markdown import comment, not_measured  # noqa: PLC0415

    texts: list[str] = []
    for gate in failed:
        text = not_measured(gate.config, gate.gate, gate.reason)
        limit -= len(text)
        if texts and limit < _LIMITS[-1]:
            texts.append(f"and {len(failed) - len(texts):,} more gates were not measured; the log has them all.\n")
            break
        texts.append(text)
    return "\n".join([*texts, *([comment(records, max(limit, _LIMITS[-1]))] if records else [])])
