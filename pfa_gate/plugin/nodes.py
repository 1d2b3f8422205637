"""The nodes of pytest's tree: config file, gate, budget."""

import functools
import os
import shlex
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from pfa_gate.cache.test_names import listing
from pfa_gate.cache.verdicts import GateVerdict, measured_or_cached
from pfa_gate.errors import ArtifactError, PFAGateError
from pfa_gate.files import display_path, sha256_of
from pfa_gate.plugin.gate_analysis import Attempt, Result, analyse_once, run_gate
from pfa_gate.plugin.result_files import RESULT_FOLDERS, ResultFolders
from pfa_gate.plugin.run_plan import PLAN, PROGRESS, RUNNER
from pfa_gate.report.text import printable

if TYPE_CHECKING:
    from pfa_gate.budget import Finding
    from pfa_gate.config import Document
    from pfa_gate.record import Record
    from pfa_gate.record.baseline_source import BaselineText

_Node = TypeVar("_Node", bound=pytest.Collector)


class ConfigFile(pytest.File):
    """A pfa.yaml; its gates are what it collects."""

    @functools.cached_property
    def document(self) -> "Document":
        """The config, read and checked when first asked for."""
        from pfa_gate.config import load  # noqa: PLC0415  pydantic and yaml are needed from here on only

        return load(self.path, self.config.rootpath)

    def collect(self) -> Iterable["GateCollector"]:
        """Give the gates.

        Raises:
            ConfigError: the config does not hold, or two configs of this run would write to one folder.
        """
        root, plan = self.config.rootpath, self.config.stash[PLAN]
        folders = self.session.stash.setdefault(
            RESULT_FOLDERS, ResultFolders(plan, lambda path: listing(path, root, plan.cache))
        )
        for name, lines in listing(self.path, root, plan.cache).items():
            output = folders.claim(self.path, name)
            yield GateCollector.from_parent(self, name=name, lines=lines, output=output)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show a mistake in the config as its own text; any other exception has a traceback."""
        if isinstance(excinfo.value, PFAGateError):
            return printable(str(excinfo.value))
        return super().repr_failure(excinfo)


class GateCollector(pytest.Collector):
    """A gate; its budgets are what it collects."""

    def __init__(self, *, lines: Mapping[str, int], output: Path | None, **rest: Any) -> None:
        super().__init__(**rest)
        self.lines = lines
        self.output = output
        self.record: Record | None = None

    def collect(self) -> Iterable["BudgetItem"]:
        """Give the budgets, in the order of the config."""
        for name, line in self.lines.items():
            yield BudgetItem.from_parent(self, name=name, line=line)


class BudgetItem(pytest.Item):
    """A budget; kept is passed, broken is failed, not judged is an error of the set-up."""

    def __init__(self, *, line: int, **rest: Any) -> None:
        super().__init__(**rest)
        self.line = line
        self.finding: Finding | None = None

    def setup(self) -> None:
        """Get the gate's verdict on this budget; the first to ask in a run has the gate analysed."""
        record = self._record()
        for finding in record.budgets:
            if finding.id == self.name:
                self.finding = finding
        if self.finding is None:
            error = ArtifactError(f"The record of gate '{record.gate}' holds no verdict on {self.name}.")
            raise _failure(str(error.at(self._location())))
        self._report(self.finding, record)
        if self.finding.outcome not in {"kept", "broken"}:
            raise _failure(self._message(self.finding))

    def runtest(self) -> None:
        """Fail where the budget is broken."""
        if self.finding is None or self.finding.outcome != "kept":
            raise _failure(self._message(self.finding) if self.finding else "The budget was not judged.")

    def reportinfo(self) -> tuple[os.PathLike[str], int, str]:
        """Give the config, the budget's line in it, from 0, and a heading."""
        # Not the end of the node id: pytest -v would then write its dots as colons.
        return self.path, self.line - 1, f"{self._gate.name}: {self.name}"

    @property
    def key(self) -> tuple[str, str, str]:
        """Give its config's path, its gate and its name."""
        return str(self.path), self._gate.name, self.name

    @property
    def _gate(self) -> GateCollector:
        return _parent(self, GateCollector)

    def _record(self) -> "Record":
        if self._gate.record is None:
            self._gate.record = self._shared_record()
        return self._gate.record

    def _shared_record(self) -> "Record":
        from pfa_gate.record import from_dict  # noqa: PLC0415

        attempt = Attempt(self.path, self._gate.name, self.nodeid, min(self._gate.lines.values()))
        shared = self.config.stash[PLAN].shared
        try:
            result = analyse_once(shared, self.path, self._gate.name, lambda: attempt.result(self._verdict))
        except PFAGateError as error:
            raise _failure(str(error)) from None
        if attempt.exception is not None:
            raise attempt.exception
        if result.record is None:
            raise _failure(_reason(result, self.nodeid))
        return from_dict(result.record)

    def _verdict(self) -> GateVerdict:
        from pfa_gate.cache.fingerprint import code_of, fingerprint  # noqa: PLC0415  a run without a gate needs no metadata
        from pfa_gate.config.paths import from_root  # noqa: PLC0415
        from pfa_gate.record.baseline_source import find_with_history, subject_and_config  # noqa: PLC0415
        from pfa_gate.record.sensitivity import sensitivity_file  # noqa: PLC0415
        from pfa_gate.report.ownership import require_folder  # noqa: PLC0415

        since = time.perf_counter()
        file, plan, name = _parent(self._gate, ConfigFile), self.config.stash[PLAN], self._gate.name
        folder = (self._gate.output or self.path.parent / ".pfa") / name
        require_folder(folder)
        baseline = find_with_history(self.path, plan.baseline, file.document.gate(name))
        called = {"called": from_root(self.path), "source": baseline.source}
        called["output"] = str(self._gate.output or "")
        known = sensitivity_file(folder.parent, name)
        called["sensitivity"] = sha256_of(known) if known.is_file() else ""
        facts = {**plan.context(), **called, "baseline": baseline.content or "", "past": repr(baseline.history)}
        before = subject_and_config(file.document, name) if plan.updating else {}
        verdict = measured_or_cached(
            plan.cache,
            lambda: fingerprint(file.document, name, facts),
            code_of(file.document, name),
            lambda: self._analysis(file.document, baseline, since),
            watch(name) if (watch := self.config.stash.get(PROGRESS, None)) else None,
        )
        if plan.updating and subject_and_config(file.document, name) == before:
            verdict = replace(verdict, subject=before)
        if verdict.since:
            from pfa_gate.report.files import restore  # noqa: PLC0415  a listing restores nothing

            # The cache found it valid in this run, so it bears this run's token.
            verdict = replace(verdict, record={**verdict.record, "run": plan.run})
            restore(verdict.record, folder)
        return verdict

    def _analysis(self, document: "Document", baseline: "BaselineText", since: float) -> dict[str, object]:
        from pfa_gate.record import to_dict  # noqa: PLC0415
        from pfa_gate.record.baseline_source import context_of  # noqa: PLC0415
        from pfa_gate.record.manifest import Wait  # noqa: PLC0415

        plan, watch, name = self.config.stash[PLAN], self.config.stash.get(PROGRESS, None), self._gate.name
        context = replace(context_of(document, name, baseline, plan.updating), run=plan.run)
        wait = Wait(watch(name) if watch else None, since)
        if wait.progress is not None:
            wait.progress("importing", 0, 1)
        run = self.config.stash.get(RUNNER, run_gate)
        return to_dict(run(document, name, context, self._gate.output, wait))

    def _report(self, finding: "Finding", record: "Record") -> None:
        """Hand the verdict to JUnit and to other plugins."""
        from pfa_gate.report.ci import scalars  # noqa: PLC0415  only a verdict needs it

        self.user_properties += scalars(record, finding).items()

    def _message(self, finding: "Finding") -> str:
        from pfa_gate.report.advice import advice  # noqa: PLC0415  only a failure needs it

        record = self._gate.record
        elsewhere = self._explained_by(finding)
        if elsewhere:
            return f"Not judged: {elsewhere.nodeid} says why."
        helpful = advice(record, finding) if record is not None else ()
        notes = [f"  {note}" for note in (*helpful, *finding.notes)]
        lines = [finding.sentence, f"  at {self._location()}", *notes, f"  Again: {self._rerun_command()}"]
        return "\n".join(lines)

    def _explained_by(self, finding: "Finding") -> "BudgetItem | None":
        """The first budget of this run that says the same: a reason why nothing was measured is given once a gate."""
        record = self._gate.record
        if record is None or finding.outcome != "not judged":
            return None
        same = {each.id for each in record.budgets if (each.outcome, each.sentence) == ("not judged", finding.sentence)}
        items = (each for each in self.session.items if isinstance(each, BudgetItem) and each.parent is self.parent)
        first = next((each for each in items if each.name in same), self)
        return None if first is self else first

    def _rerun_command(self) -> str:
        """The command that judges this budget alone, by the same baseline."""
        baseline = self.config.getoption("pfa_baseline")
        node = f"{display_path(self.path)}::{self._gate.name}::{self.name}"
        return shlex.join(["pytest", "--pfa", *(["--pfa-baseline", baseline] if baseline else []), node])

    def _location(self) -> str:
        return f"{display_path(self.path)}:{self.line}"


def _parent(node: pytest.Item | pytest.Collector, kind: type[_Node]) -> _Node:
    """The node above another, which is of the kind that collects it."""
    if not isinstance(node.parent, kind):
        raise TypeError(f"{node.nodeid} stands below {node.parent}, and not below a {kind.__name__}.")
    return node.parent


def _failure(words: str) -> BaseException:
    return pytest.fail.Exception(printable(words), pytrace=False)


def _reason(result: Result, test: str) -> str:
    """Why there is no verdict: in full at the test that analysed the gate; the others name that test."""
    if result.error is not None:
        elsewhere = f"Not measured: {result.test} says why."
        return elsewhere if result.test not in ("", test) else result.error
    return f"{result.crash}\n  The analysis of gate '{result.gate}' stopped; {result.test} shows its traceback."
