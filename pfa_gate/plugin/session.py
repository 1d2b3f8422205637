"""The hooks of a run under --pfa: they set its threads, collect configs, and see that a gate is left to run."""

import os
import shutil
import sys
from collections.abc import Generator, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pfa_gate.cache.imports import IMPORTS
from pfa_gate.plugin.command_line import Budgets, Choice, share_left_out
from pfa_gate.plugin.discovery import shown
from pfa_gate.plugin.exit_status import ExitStatus
from pfa_gate.plugin.nodes import BudgetItem, ConfigFile
from pfa_gate.plugin.result_files import begin_manifests
from pfa_gate.plugin.run_plan import PLAN, PROGRESS, RunPlan, plan_of, require_gates
from pfa_gate.plugin.terminal import progress_on, write_reports
from pfa_gate.plugin.xdist import XdistHooks, collects_elsewhere, has_workers, is_worker

_GROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def choose_threads(workers: int) -> None:
    """Let threads leave busy cores to others while they wait, and start no more than this process has cores for.

    What the user has set stays, and where torch is loaded already nothing is done: it has read these variables.

    Args:
        workers: processes that share the machine, this one included.
    """
    if "torch" in sys.modules:
        return
    # Processes that this one starts inherit them.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    cores = _cores()
    share = cores_for(cores, workers, quota())
    if share < cores:
        os.environ.setdefault("OMP_NUM_THREADS", str(share))
        os.environ.setdefault("OPENBLAS_NUM_THREADS", str(share))


def cores_for(cores: int, workers: int, limit: float | None) -> int:
    """One process's share of the cores, at least one.

    Args:
        cores: those that the scheduler offers.
        workers: processes that share them.
        limit: CPUs that all of them together may use; None where there is no limit.

    Example:
        >>> cores_for(8, 3, None), cores_for(64, 1, 2.5), cores_for(64, 4, 2.0), cores_for(2, 1, None)
        (2, 2, 1, 2)
    """
    return max(1, int(min(cores, limit or cores) // workers))


def quota(groups: Path = _GROUPS, own: Path = _OWN) -> float | None:
    """CPUs that the control group (v2) of this process may use, as a container has one; None without a limit.

    Example:
        >>> quota(Path("nowhere"), Path("nowhere")) is None
        True
    """
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    path = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    folders = [groups / path, *(groups / path).parents]
    limits = [_limit(folder / "cpu.max") for folder in folders if folder.is_relative_to(groups)]
    return min((limit for limit in limits if limit is not None), default=None)


def _limit(file: Path) -> float | None:
    """`max 100000`, or microseconds of CPU and the period in which they may be used."""
    try:
        used, period = file.read_text(encoding="utf-8").split()
        return None if used == "max" else int(used) / int(period)
    except (OSError, ValueError):
        return None  # no such file, as at the root, or not of this version


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start(config: pytest.Config) -> None:
    """Register what --pfa turns on."""
    IMPORTS.start()
    if not has_workers(config):  # each worker chooses for itself
        choose_threads(int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    config.pluginmanager.register(GateSession(config), "pfa_gate_session")


class GateSession:
    """Hooks of one run."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Find the configs, or get them from the controller.

        Raises:
            UsageError: there is none, or one that is named is not there.
        """
        plan, register = plan_of(self.config), self.config.pluginmanager.register
        register(LeftOutBudgets(self.config, plan), "pfa_gate_left_out")
        if self.config.pluginmanager.hasplugin("xdist"):  # its hooks exist only beside it
            register(XdistHooks(session), "pfa_gate_workers")
        if not is_worker(self.config):
            register(ExitStatus(self.config, plan, begin_manifests(plan, self.config)), "pfa_gate_exit_status")
            if plan.updating:
                from pfa_gate.plugin.update_baseline import BaselineUpdate  # noqa: PLC0415  for runs that write one

                register(BaselineUpdate(plan), "pfa_gate_update_baseline")
            if any(os.environ.get(name) for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY")):
                from pfa_gate.plugin.github_actions import GitHubActions  # noqa: PLC0415  for runs in a workflow alone

                register(GitHubActions(plan), "pfa_gate_github_actions")
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
    """Configs that no argument of pytest covers."""
    here = config.invocation_params.dir
    covered = {Path(os.path.abspath(here / argument.partition("::")[0])) for argument in config.args}
    return [path for path in plan_of(config).configs if covered.isdisjoint((path, *path.parents))]


class LeftOutBudgets:
    """Notes, in each process that collects, which budgets pytest leaves out as the command line chose.

    Args:
        config: of this process.
        plan: that of the run.
    """

    def __init__(self, config: pytest.Config, plan: RunPlan) -> None:
        self.config = config
        self.plan = plan

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Generator[None, object, object]:
        """Compare what is left with what was collected, and share which budgets -k and -m took away."""
        before = [item for item in items if isinstance(item, BudgetItem)]
        result = yield
        left = set(items)
        gone = [item for item in before if item not in left]
        process = os.environ.get("PYTEST_XDIST_WORKER", "main")
        share_left_out(self.plan.shared, process, self._chosen(gone))
        return result

    def _chosen(self, gone: Iterable[BudgetItem]) -> Budgets:
        marks: Any = self.config.pluginmanager.get_plugin("mark")
        items = list(gone)
        if marks is None or not items:
            return frozenset()
        left = list(items)
        # pytest's own reading of -k and -m, with what the command line says, and without a call of its hooks.
        marks.pytest_collection_modifyitems(items=left, config=_ConfigOfChoice(self.config, self.plan.choice))
        return frozenset(item.key for item in items if item not in left)


class _ConfigOfChoice:
    """pytest's config for -k and -m, with the expressions of the command line alone."""

    def __init__(self, config: pytest.Config, choice: Choice) -> None:
        self._config = config
        self.option = SimpleNamespace(**{**vars(config.option), "keyword": choice.keyword, "markexpr": choice.mark})
        self.hook = SimpleNamespace(pytest_deselected=lambda items: None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._config, name)
