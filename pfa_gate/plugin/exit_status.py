"""The exit status of a run: it is no success unless every declared budget was found kept."""

import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pfa_gate.errors import PFAGateError
from pfa_gate.plugin.command_line import Budgets, left_out_by_id, selections_not_chosen, shared_left_out
from pfa_gate.plugin.discovery import shown
from pfa_gate.plugin.exit_guard import JUDGED, say, succeeds
from pfa_gate.plugin.gate_analysis import results
from pfa_gate.plugin.result_files import Manifests
from pfa_gate.plugin.run_plan import RunPlan
from pfa_gate.plugin.xdist import unresponsive
from pfa_gate.report.text import printable


@dataclass(frozen=True)
class Gap:
    """Declared budgets of one gate that a run did not find kept, and how it found them."""

    config: Path
    gate: str
    budgets: tuple[str, ...]
    outcome: str

    def sentence(self, base: Path) -> str:
        """Say it; the config's path is shown from a base where it lies below it.

        Example:
            >>> Gap(Path("/p/pfa.yaml"), "digits", ("exact", "layers.kl"), "not judged").sentence(Path("/p"))
            'pfa.yaml::digits: not judged in this run: exact, layers.kl.'
        """
        from pfa_gate.budget.wording import listed  # noqa: PLC0415  only a run with gaps needs words

        return f"{shown(self.config, base)}::{self.gate}: {self.outcome} in this run: {listed(self.budgets)}."


def gaps(plan: RunPlan, root: Path, left_out: Budgets = frozenset()) -> Iterator[Gap]:
    """Find the budgets that the configs of a run declare and that its records do not say are kept.

    Args:
        plan: that of the run.
        root: pytest's rootdir.
        left_out: budgets that the command line of the run chose away.

    Raises:
        ConfigError: a config does not hold.
    """
    from pfa_gate.config import load  # noqa: PLC0415  a worker's controller collects nothing by itself

    records = {(each.config, each.gate): each.record for each in results(plan.shared)}
    for path in plan.configs:
        for name, gate in load(path, root).gates.items():
            record = records.get((str(path), name)) or {}
            outcomes = {each["id"]: each["outcome"] for each in record.get("budgets", ())}
            budgets = [budget.name for budget in gate.budgets_declared()]
            declared = [each for each in budgets if (str(path), name, each) not in left_out]
            yield from _gaps_of(path, name, [(each, outcomes.get(each, "not judged")) for each in declared])


def _gaps_of(path: Path, gate: str, budgets: Iterable[tuple[str, str]]) -> Iterator[Gap]:
    listing = list(budgets)
    broken = tuple(name for name, outcome in listing if outcome == "broken")
    # An outcome of an unknown name is no reason to pass.
    others = tuple(name for name, outcome in listing if outcome not in ("kept", "broken"))
    for names, label in ((broken, "broken"), (others, "not judged")):
        if names:
            yield Gap(path, gate, names, label)


class ExitStatus:
    """Refuses exit 0 to a run with gaps, whatever hid them: --lf, a conftest, a mark, an early exit, a dead worker.

    Args:
        config: that of the controller, or of the only process.
        plan: that of the run.
        manifests: what the run writes of itself.
    """

    def __init__(self, config: pytest.Config, plan: RunPlan, manifests: Manifests) -> None:
        self.config = config
        self.plan = plan
        self.manifests = manifests
        self.workers: list[Any] = []
        self.dead: list[str] = []
        self.said = ""

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object | None) -> None:
        """Note a worker of xdist that did not end by itself; xdist forgives one that held no test at the time."""
        self.workers.append(node.gateway)
        if error:
            self.dead.append(f"{node.gateway.id}: {error}")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Generator[None, object, object]:
        """Judge the run before other plugins see its status, and let none of them make a success of a failure."""
        left_out = self._left_out()
        status: int = exitstatus
        if succeeds(status):
            self._judge(session, left_out)
            status = pytest.ExitCode.USAGE_ERROR if self.said else pytest.ExitCode.OK
        try:
            return (yield)
        except pytest.exit.Exception as error:
            if error.returncode is not None:
                session.exitstatus, error.returncode = error.returncode, None
            raise
        finally:
            self._end(session, status, left_out)

    def _end(self, session: pytest.Session, judged: int, left_out: Budgets) -> None:
        """Restore the status where a hook made a success of a failure, and write it down."""
        if succeeds(session.exitstatus) and not succeeds(judged):
            session.exitstatus = judged
            say(f"ERROR: --pfa: a hook set the exit status to 0; it stays {int(judged)}.")
        status = session.exitstatus if isinstance(session.exitstatus, int) else 1
        if not self.plan.choice.only_lists:
            try:
                self.manifests.write(int(status), left_out)
            except PFAGateError as error:
                say(f"ERROR: --pfa: {error}")
                status = session.exitstatus = status or pytest.ExitCode.USAGE_ERROR
        self.config.stash[JUDGED] = int(status)

    def _left_out(self) -> Budgets:
        """What the command line chose away, by expression or id."""
        listings: dict[Path, dict[str, tuple[str, ...]]] = {}
        for each in self.manifests.gates:
            listings.setdefault(each.config, {})[each.gate] = each.budgets
        return shared_left_out(self.plan.shared) | left_out_by_id(self.plan.choice, listings)

    def _judge(self, session: pytest.Session, left_out: Budgets) -> None:
        """Fail the run where no test has failed, but a declared budget was not found kept, or a worker died."""
        reason = self._not_kept(left_out)
        # A worker that has sent its results waits for the order to end: until then it can still die.
        gone = [f"{each}: it no longer answers" for each in unresponsive(self.workers)]
        self.said = "\n".join(filter(None, (reason, _died(self.dead or gone))))
        if self.said:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
            if not self.config.pluginmanager.hasplugin("terminalreporter"):
                print(printable(self.said), file=sys.stderr)

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say why a run in which no test failed does not end with 0."""
        if self.said:
            terminalreporter.write_line(printable(self.said), red=True)

    def _not_kept(self, left_out: Budgets) -> str:
        if self.plan.choice.only_lists:
            return ""
        root = self.config.rootpath
        try:
            sentences = [gap.sentence(root) for gap in gaps(self.plan, root, left_out)]
        except PFAGateError as error:
            sentences = [f"A config can no longer be read: {error}"]
        head = "ERROR: --pfa: no test failed, but not every budget was found kept, so the run does not pass."
        remedy = "Run pytest --pfa without what left them out: where tests are split over jobs, give the gate its own."
        if sentences and (by := selections_not_chosen(self.config, self.plan.choice)):
            sentences.append(f"{by} was not chosen for this run: only the command line of a run leaves budgets out.")
        return "\n  ".join([head, *sentences, remedy]) if sentences else ""


def _died(workers: Sequence[str]) -> str:
    """Say that workers died; what they sent before may not be all that they found.

    Example:
        >>> print(_died(["gw1: Not properly terminated"]))
        ERROR: --pfa: no test failed, but a worker died, so the run does not pass.
          gw1: Not properly terminated
          Run it again; if workers keep dying (out of memory?), use fewer, or none with -n0.
    """
    head = "ERROR: --pfa: no test failed, but a worker died, so the run does not pass."
    remedy = "Run it again; if workers keep dying (out of memory?), use fewer, or none with -n0."
    return "\n  ".join([head, *workers, remedy]) if workers else ""
