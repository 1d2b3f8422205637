"""The last word on a run: it does not end well unless every declared budget was found kept.

PYTEST_DONT_REWRITE
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pfa_gate.item import Plan, results

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
    for outcome in ("broken", "not judged"):
        names = tuple(name for name, found in listing if found == outcome)
        if names:
            yield Gap(path, gate, names, outcome)


class Ledger:
    """Refuses exit 0 to a run that leaves gaps, whatever hid them: --lf, a conftest, a mark, an early exit.

    Args:
        config: that of the controller, or of the only process.
        plan: that of the run.
    """

    def __init__(self, config: pytest.Config, plan: Plan) -> None:
        self.config = config
        self.plan = plan
        self.sentences: tuple[str, ...] = ()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Compare what was declared with what was found, where all else went well."""
        if exitstatus != pytest.ExitCode.OK or self.plan.chosen or _chosen_or_only_looked(self.config):
            return
        self.sentences = tuple(gap.sentence(self.config.rootpath) for gap in gaps(self.plan, self.config.rootpath))
        if self.sentences:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
            if not self.config.pluginmanager.hasplugin("terminalreporter"):
                print(self.words(), file=sys.stderr)

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say why a run in which no test failed does not end with 0."""
        if self.sentences:
            terminalreporter.write_line(self.words(), red=True)

    def words(self) -> str:
        """The reason, in full."""
        head = "ERROR: --pfa: no test failed, but not every budget was found kept, so the run does not pass."
        return "\n  ".join([head, *self.sentences, "Run pytest --pfa without what left them out."])


def _chosen_or_only_looked(config: pytest.Config) -> bool:
    names = ("keyword", "markexpr", *_LOOKS_ONLY)
    if any(getattr(config.option, name, None) for name in names):
        return True
    return config.args_source is pytest.Config.ArgsSource.ARGS and any("::" in argument for argument in config.args)
