"""--pfa-update-baseline: what this run measured becomes what later runs are compared with."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pfa_gate.budget.wording import listed, plural
from pfa_gate.config import Document, GateConfig, load
from pfa_gate.config.budgets import MORE_IS_BETTER
from pfa_gate.config.paths import from_root
from pfa_gate.errors import PFAGateError
from pfa_gate.files import remove_abandoned, replace_text
from pfa_gate.plugin.gate_analysis import Result, results
from pfa_gate.plugin.run_plan import RunPlan
from pfa_gate.record import Record, from_dict
from pfa_gate.record.baseline import Stamp, baseline_entry, baseline_text, valid_entries
from pfa_gate.record.baseline_history import NAME, ask_git, history_of
from pfa_gate.record.baseline_source import find_baseline, subject
from pfa_gate.record.lost_baseline import PreviousBaseline, name_in_baseline, previous_baseline
from pfa_gate.record.ratchet import Ratchets, ratcheted, ratchets, refers_back
from pfa_gate.report.ownership import require_baseline
from pfa_gate.report.text import printable


class BaselineUpdate:
    """Writes the baselines at the end of a run.

    Args:
        plan: that of the run.
    """

    def __init__(self, plan: RunPlan) -> None:
        self.plan = plan
        self.sentences: list[str] = []
        self.failed = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write one file for each config; what cannot be written, or must not, fails the run."""
        for config in self.plan.configs:
            try:
                for message in _updated(config, session.config.rootpath, self.plan):
                    self._note(session, message)
            except (PFAGateError, OSError) as error:
                self._note(
                    session, Message(f"ERROR: {from_root(config.parent / NAME)} was not written: {error}", refused=True)
                )

    def _note(self, session: pytest.Session, message: "Message") -> None:
        self.sentences.append(message.sentence)
        if message.refused:
            session.exitstatus = session.exitstatus or pytest.ExitCode.USAGE_ERROR

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what was written, and what was not."""
        for sentence in self.sentences:
            terminalreporter.write_line(printable(sentence))


@dataclass(frozen=True)
class Message:
    """A sentence on an update, and whether it refuses to write something."""

    sentence: str
    refused: bool = False


def _updated(config: Path, root: Path, plan: RunPlan) -> Iterator[Message]:
    document = load(config, root)
    results_by_gate = {
        result.gate: result
        for result in results(plan.shared)
        if result.record is not None and result.config == str(config)
    }
    old = _old(document)
    if old.remark:
        yield Message(old.remark)
    # A gate that is gone from the config leaves the baseline with the next update.
    gates: dict[str, Any] = {}
    written = 0
    for name, gate in document.gates.items():
        today = subject(gate, config.parent)
        # Where a limit refers to the baseline, the gate may have had another name in it.
        then = name_in_baseline(old.gates, name, document, today, old.source) if refers_back(gate) else name
        before = old.entry(then or name)
        plain, fault = _fresh(gate, results_by_gate.get(name), before, document)
        if fault is not None:
            yield fault
        written += plain is not None
        if kept := plain or before:
            gates[name] = dict(kept)
    if written:
        _write(config.parent / NAME, gates)
        yield Message(f"{from_root(config.parent / NAME)}: written with {plural(written, 'gate')}; commit it.")


def _old(document: Document) -> PreviousBaseline:
    """The baseline before the update; a file that cannot be read counts as empty where no limit refers to it."""
    written = find_baseline(document.path, "")
    if any(refers_back(gate) for gate in document.gates.values()):
        return previous_baseline(written.content, written.source, history_of(document.path.parent / NAME))
    try:
        return PreviousBaseline(
            valid_entries(written.content, written.source) if written.content is not None else {}, written.source
        )
    except PFAGateError:
        return PreviousBaseline({}, written.source)


def _fresh(
    gate: GateConfig, result: Result | None, before: Mapping[str, Any] | None, document: Document
) -> tuple[dict[str, Any] | None, Message | None]:
    """The new entry of a gate; or None, and why it is left as it was."""
    folder = document.path.parent
    left = f"{from_root(folder / NAME)}: gate '{gate.name}' is left as it was"
    if result is None or result.record is None:
        return None, Message(f"{left}: it could not be measured.")
    record = from_dict(result.record)
    if why := _unjudged(record):
        return None, Message(f"{left}: {why}.")
    if why := _moved(result, document):
        return None, Message(f"{left}: {why}. Run again.", refused=True)
    # The subject as it was measured, not as it is now.
    subject_then = {key: value for key, value in result.subject.items() if key != "config"}
    plain = baseline_entry(
        record, Stamp(str(date.today()), ask_git(folder, "rev-parse", "HEAD").text or "", subject_then)
    )
    if before is None:
        return plain, None
    renamed = record.baseline.renamed if record.baseline is not None else {}
    rules = Ratchets(renamed, lambda budget, layer: ratchets(gate, budget, layer))
    plain, worse = ratcheted(plain, before, rules)
    if worse:
        verb = "ratchets, and is" if len(worse) == 1 else "ratchet, and are"
        side = "worse than" if set(worse) & set(MORE_IS_BETTER) else "above"
        return None, Message(f"{left}: {listed(worse, 5)} {verb} {side} the old baseline.", refused=True)
    return plain, None


def _moved(result: Result, document: Document) -> str:
    """Which input changed during the run, so that the values are not of what is there; empty for none."""
    if not result.subject:
        return "model.checkpoint was written while it was measured"
    if result.subject["config"] != hashlib.sha256(document.content).hexdigest():
        return f"{document.path.name} was changed after it was read"
    return ""


def _unjudged(record: Record) -> str:
    return next((f"{each.id} was not judged" for each in record.budgets if each.outcome == "not judged"), "")


def _write(path: Path, gates: Mapping[str, Any]) -> None:
    require_baseline(path)
    replace_text(path, baseline_text(gates))
    remove_abandoned(path.parent)
