"""The last word on a run: it does not end well unless every declared budget was found kept.

PYTEST_DONT_REWRITE
"""

import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pfa_gate.errors import PFAGateError
from pfa_gate.item import Plan, results
from pfa_gate.plugin.pulse import silent
from pfa_gate.report.lines import printable

_LOOKS_ONLY = ("collectonly", "showfixtures", "show_fixtures_per_test")


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

        path = self.config.relative_to(base) if self.config.is_relative_to(base) else self.config
        return f"{path.as_posix()}::{self.gate}: {self.outcome} in this run: {listed(self.budgets)}."


def gaps(plan: Plan, root: Path) -> Iterator[Gap]:
    """Find the budgets that the configs of a run declare and that its records do not say are kept.

    Args:
        plan: that of the run.
        root: pytest's rootdir.

    Raises:
        ConfigError: a config does not hold.
    """
    from pfa_gate.config import load  # noqa: PLC0415  a worker's controller collects nothing by itself

    found = {(each.config, each.gate): each.record for each in results(plan.shared)}
    for path in plan.configs:
        for name, gate in load(path, root).gates.items():
            record = found.get((str(path), name)) or {}
            outcomes = {each["id"]: each["outcome"] for each in record.get("budgets", ())}
            declared = [budget.name for budget in gate.budgets_declared()]
            yield from _gaps_of(path, name, [(each, outcomes.get(each, "not judged")) for each in declared])


def _gaps_of(path: Path, gate: str, budgets: Iterable[tuple[str, str]]) -> Iterator[Gap]:
    listing = list(budgets)
    broken = tuple(name for name, found in listing if found == "broken")
    # Whatever else is not kept: an outcome of no known name is no reason to pass.
    others = tuple(name for name, found in listing if found not in ("kept", "broken"))
    for names, outcome in ((broken, "broken"), (others, "not judged")):
        if names:
            yield Gap(path, gate, names, outcome)


class Ledger:
    """Refuses exit 0 to a run with gaps, whatever hid them: --lf, a conftest, a mark, an early exit, a dead worker.

    Args:
        config: that of the controller, or of the only process.
        plan: that of the run.
    """

    def __init__(self, config: pytest.Config, plan: Plan) -> None:
        self.config = config
        self.plan = plan
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
        if exitstatus == pytest.ExitCode.OK:
            self._judge(session)
        status = session.exitstatus
        result = yield
        if status != pytest.ExitCode.OK and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = status
            fact = f"ERROR: --pfa: a hook set the exit status to 0; it stays {int(status)}."
            print(printable(fact), file=sys.stderr)
        return result

    def _judge(self, session: pytest.Session) -> None:
        """Compare what was declared with what was found, where all else went well."""
        reason = self._not_kept()
        # A worker that has handed in everything waits to be told to go: until then it can still die.
        gone = [f"{each}: it no longer answers" for each in silent(self.workers)]
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

    def _not_kept(self) -> str:
        if self.plan.chosen or _chosen_or_only_looked(self.config):
            return ""
        root = self.config.rootpath
        try:
            sentences = [gap.sentence(root) for gap in gaps(self.plan, root)]
        except PFAGateError as error:
            sentences = [f"A config can no longer be read: {error}"]
        head = "ERROR: --pfa: no test failed, but not every budget was found kept, so the run does not pass."
        remedy = "Run pytest --pfa without what left them out: where tests are split over jobs, give the gate its own."
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


def _chosen_or_only_looked(config: pytest.Config) -> bool:
    names = ("keyword", "markexpr", *_LOOKS_ONLY)
    if any(getattr(config.option, name, None) for name in names):
        return True
    return config.args_source is pytest.Config.ArgsSource.ARGS and any("::" in argument for argument in config.args)
