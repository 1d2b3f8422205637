"""The plugin while --pfa is on: finds the configs, collects them, and sees that a gate is left to run.

PYTEST_DONT_REWRITE
"""

import os
import shutil
from collections.abc import Generator
from pathlib import Path

import pytest

from pfa_gate.cache.imports import IMPORTS
from pfa_gate.plugin.arguments import LeftOutBudgets
from pfa_gate.plugin.exit_status import ExitStatus
from pfa_gate.plugin.manifest import begin_manifests
from pfa_gate.plugin.nodes import BudgetItem, ConfigFile
from pfa_gate.plugin.planning import collects_elsewhere, has_workers, is_worker, plan_of, require_gates, shown
from pfa_gate.plugin.progress import progress_on
from pfa_gate.plugin.run_plan import PLAN, PROGRESS
from pfa_gate.plugin.terminal_summary import write_reports
from pfa_gate.plugin.threads import choose_threads


def start(config: pytest.Config) -> None:
    """Register what --pfa turns on."""
    IMPORTS.start()
    if not has_workers(config):  # they choose for themselves
        choose_threads(int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    config.pluginmanager.register(GateSession(config), "pfa_gate_session")
    if config.pluginmanager.hasplugin("xdist"):
        from pfa_gate.plugin.xdist import XdistHooks  # noqa: PLC0415  its hooks exist only beside xdist

        config.pluginmanager.register(XdistHooks(config), "pfa_gate_workers")


class GateSession:
    """Hooks of one run."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Find the configs, or get them from the controller.

        Raises:
            UsageError: there is none, or one that is named is not there.
        """
        plan = plan_of(self.config)
        self.config.pluginmanager.register(LeftOutBudgets(self.config, plan), "pfa_gate_left_out")
        if not is_worker(self.config):
            self.config.pluginmanager.register(
                ExitStatus(self.config, plan, begin_manifests(plan, self.config)), "pfa_gate_exit_status"
            )
            if plan.updating:
                from pfa_gate.plugin.update_baseline import BaselineUpdate  # noqa: PLC0415  no other run writes a baseline

                self.config.pluginmanager.register(BaselineUpdate(plan), "pfa_gate_update_baseline")
            if any(os.environ.get(name) for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY")):
                from pfa_gate.plugin.github_actions import GitHubActions  # noqa: PLC0415  for runs in a workflow alone

                self.config.pluginmanager.register(GitHubActions(plan), "pfa_gate_github_actions")
        watch = progress_on(self.config)
        if watch is not None:
            self.config.stash[PROGRESS] = watch

    def pytest_report_header(self) -> str:
        """Name the configs."""
        names = [shown(path, self.config.rootpath) for path in plan_of(self.config).configs]
        return f"pfa_gate: {', '.join(names) or 'no config, only the tests that were named'}"

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> Generator[None, object, object]:
        """Add the configs that no argument covers; then see that a budget is left."""
        self.config.args += [str(path) for path in _uncovered(self.config)]
        result = yield
        if not collects_elsewhere(self.config):
            budgets = any(isinstance(item, BudgetItem) for item in session.items)
            require_gates(session, budgets)
        return result

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> ConfigFile | None:
        """Collect a config that is to run."""
        if file_path in plan_of(self.config).configs:
            return ConfigFile.from_parent(parent, path=file_path)
        return None

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the report of every gate that ran."""
        if not self.config.option.no_summary:
            write_reports(terminalreporter, self.config, plan_of(self.config))

    def pytest_unconfigure(self) -> None:
        """Remove what the processes of this run shared."""
        IMPORTS.stop()
        plan = self.config.stash.get(PLAN, None)
        if plan is not None and not is_worker(self.config):
            shutil.rmtree(plan.shared, ignore_errors=True)


def _uncovered(config: pytest.Config) -> list[Path]:
    """Configs that pytest would not come by on its own."""
    here = config.invocation_params.dir
    covered = {Path(os.path.abspath(here / argument.partition("::")[0])) for argument in config.args}
    return [path for path in plan_of(config).configs if covered.isdisjoint((path, *path.parents))]
