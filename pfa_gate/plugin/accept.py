"""--pfa-update-baseline: what this run measured becomes what later runs are compared with.

PYTEST_DONT_REWRITE
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pfa_gate.budget.wording import plural
from pfa_gate.config import load
from pfa_gate.errors import PFAGateError
from pfa_gate.item import Plan, results
from pfa_gate.record import Record, from_dict
from pfa_gate.record.baseline import Stamp, entries, entry, text
from pfa_gate.record.before import NAME, find, git, subject
from pfa_gate.report.lines import printable


class Accept:
    """Writes the baselines at the end of a run.

    Args:
        plan: that of the run.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.sentences: list[str] = []
        self.failed = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write one file for each config; what cannot be written fails the run."""
        for config in self.plan.configs:
            try:
                self.sentences += _accepted(config, session.config.rootpath, self.plan)
            except (PFAGateError, OSError) as error:
                self.sentences.append(f"ERROR: {NAME} was not written: {error}")
                session.exitstatus = session.exitstatus or pytest.ExitCode.USAGE_ERROR

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what was written, and what was not."""
        for sentence in self.sentences:
            terminalreporter.write_line(printable(sentence))


def _accepted(config: Path, root: Path, plan: Plan) -> Iterator[str]:
    gates = load(config, root).gates
    records = {
        each.gate: from_dict(each.record)
        for each in results(plan.shared)
        if each.record is not None and each.config == str(config)
    }
    path = config.parent / NAME
    before, fresh = _before(config), {}
    for name, gate in gates.items():
        fault = _fault(records.get(name))
        if fault:
            yield f"{NAME}: gate '{name}' is left as it was: {fault}."
        else:
            stamp = Stamp(
                str(date.today()), git(config.parent, "rev-parse", "HEAD") or "", subject(gate, config.parent)
            )
            fresh[name] = entry(records[name], stamp)
    # Gates that the config has no more go with the next update.
    kept = {name: plain for name, plain in before.items() if name in gates}
    if fresh:
        _write(path, {**kept, **fresh})
        yield f"{path.name}: written with {plural(len(fresh), 'gate')}; commit it."


def _before(config: Path) -> Mapping[str, Any]:
    found = find(config, "")
    try:
        return entries(found.content, found.source) if found.content is not None else {}
    except PFAGateError:
        return {}  # a file that cannot be read is what an update mends


def _fault(record: Record | None) -> str:
    if record is None:
        return "it could not be measured"
    for finding in record.budgets:
        if finding.outcome == "not judged":
            return f"{finding.id} was not judged"
        if finding.outcome == "broken" and "ratchet" in finding.limit:
            return f"{finding.id} ratchets, and is above the old baseline"
    return ""


def _write(path: Path, gates: Mapping[str, Any]) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    unfinished = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text(gates))
        unfinished.chmod(0o644)
        os.replace(unfinished, path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
