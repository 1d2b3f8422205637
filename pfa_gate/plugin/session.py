"""The plugin while --pfa is on: finds the configs, collects them, and sees that a gate is left to run.

PYTEST_DONT_REWRITE
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterable
from pathlib import Path

import pytest

from pfa_gate.errors import ArtifactError
from pfa_gate.item import PLAN, PROGRESS, BudgetItem, ConfigFile, Plan
from pfa_gate.plugin.ledger import Ledger
from pfa_gate.plugin.progress import watch_on
from pfa_gate.plugin.search import NAME, Request, search
from pfa_gate.plugin.summary import write_reports

SENT = "pfa_gate"
"""Key of the plan in what xdist sends to its workers."""


def start(config: pytest.Config) -> None:
    """Register what --pfa turns on."""
    if "torch" not in sys.modules:
        # Read when torch is loaded; workers inherit it. Threads that wait actively hold each other up on busy cores.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    config.pluginmanager.register(GateSession(config), "pfa_gate_session")
    if config.pluginmanager.hasplugin("xdist"):
        from pfa_gate.plugin.workers import GateWorkers  # noqa: PLC0415  its hooks exist only beside xdist

        config.pluginmanager.register(GateWorkers(config), "pfa_gate_workers")


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
        if not is_worker(self.config):
            self.config.pluginmanager.register(Ledger(self.config, plan), "pfa_gate_ledger")
            if plan.updating:
                from pfa_gate.plugin.accept import Accept  # noqa: PLC0415  no other run writes a baseline

                self.config.pluginmanager.register(Accept(plan), "pfa_gate_accept")
            if any(os.environ.get(name) for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY")):
                from pfa_gate.plugin.actions import Actions  # noqa: PLC0415  for runs in a workflow alone

                self.config.pluginmanager.register(Actions(plan), "pfa_gate_actions")
        watch = watch_on(self.config)
        if watch is not None:
            self.config.stash[PROGRESS] = watch

    def pytest_report_header(self) -> str:
        """Name the configs."""
        names = [_shown(path, self.config.rootpath) for path in plan_of(self.config).configs]
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
        plan = self.config.stash.get(PLAN, None)
        if plan is not None and not is_worker(self.config):
            shutil.rmtree(plan.shared, ignore_errors=True)


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is a worker of xdist."""
    return hasattr(config, "workerinput")


def collects_elsewhere(config: pytest.Config) -> bool:
    """Whether what this process collects, if anything, is judged by or in another."""
    return is_worker(config) or config.pluginmanager.hasplugin("dsession")


def plan_of(config: pytest.Config) -> Plan:
    """Give the run's plan, made on first use; a worker has its controller's.

    Raises:
        UsageError: there is no config to run.
    """
    if PLAN not in config.stash:
        sent = getattr(config, "workerinput", {}).get(SENT)
        config.stash[PLAN] = Plan.received(sent) if sent else _made(config)
    return config.stash[PLAN]


def require_gates(session: pytest.Session, budgets: bool) -> None:
    """See that a budget is left to run, unless the command line chose otherwise.

    Args:
        session: that of the controller, or of the only process.
        budgets: whether one is left.

    Raises:
        UsageError: none is left; otherwise the gate would pass by not running.
    """
    options = session.config.option
    by_choice = any(getattr(options, name, None) for name in ("keyword", "markexpr", "lf", "stepwise"))
    # A failed collection is reported as such, and fails the run by itself.
    if budgets or by_choice or session.testsfailed or plan_of(session.config).chosen:
        return
    names = ", ".join(_shown(path, session.config.rootpath) for path in plan_of(session.config).configs)
    raise pytest.UsageError(
        f"--pfa: no budget of {names} is left to run.\n"
        "  They were ignored or deselected, so the gate would pass without judging anything."
    )


def _made(config: pytest.Config) -> Plan:
    request = _request(config)
    configs = search(request, lambda path: bool(config.hook.pytest_ignore_collect(collection_path=path, config=config)))
    chosen = request.names_only_tests()
    _check(request, configs, chosen)
    asked = _baseline(config, configs)
    updating = bool(config.getoption("pfa_update_baseline"))
    return Plan(configs, _shared_folder(), _output(config), chosen, _cache(config), asked, updating)


def _shared_folder() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="pfa_gate-"))
    except OSError as error:
        fact = f"--pfa: there is no room for a temporary folder: {error.strerror}."
        raise pytest.UsageError(f"{fact}\n  Free some space, or point TMPDIR at another disk.") from error


def _request(config: pytest.Config) -> Request:
    given = config.args_source is pytest.Config.ArgsSource.ARGS
    return Request(
        arguments=tuple(config.args) if given else (),
        options=tuple(config.getoption("pfa_config")),
        ini=tuple(config.getini("pfa_config")),
        here=config.invocation_params.dir,
        root=config.rootpath,
    )


def _check(request: Request, configs: Iterable[Path], chosen: bool) -> None:
    for path in configs:
        if not path.is_file():
            fact = f"--pfa: there is no file {_shown(path, request.here)}."
            raise pytest.UsageError(f"{fact}\n  Correct the path, or leave it out to search for {NAME}.")
    if not configs and not chosen:
        places = ", ".join(_shown(path, request.here) for path in request.paths()) or "this folder"
        fact = f"--pfa: found no {NAME} in or below {places}, nor upward to {request.root}."
        raise pytest.UsageError(f"{fact}\n  Write one, or name another with --pfa-config.")


def _output(config: pytest.Config) -> Path | None:
    option, ini = config.getoption("pfa_output"), config.getini("pfa_output")
    if option:
        return Path(os.path.abspath(config.invocation_params.dir / option))
    base = config.inipath.parent if config.inipath else config.rootpath
    return Path(os.path.abspath(base / ini)) if ini else None


def _baseline(config: pytest.Config, configs: Iterable[Path]) -> str:
    """The baseline asked for; what was asked for must be there, though in git the file may not be yet."""
    option, ini = config.getoption("pfa_baseline"), config.getini("pfa_baseline")
    asked = str(option or ini)
    if not asked:
        return ""
    from pfa_gate.record.before import GIT, find  # noqa: PLC0415  most runs ask for none

    if not asked.startswith(GIT):
        ini_folder = config.inipath.parent if config.inipath else config.rootpath
        asked = os.path.abspath((config.invocation_params.dir if option else ini_folder) / asked)
    for path in configs:
        try:
            find(path, asked)
        except ArtifactError as error:
            raise pytest.UsageError(f"--pfa-baseline: {error}") from error
    return asked


def _cache(config: pytest.Config) -> Path | None:
    """The folder below pytest's own cache; none without that plugin, or where it cannot be written."""
    cache = getattr(config, "cache", None)
    if cache is None or config.getoption("pfa_no_cache") or config.getini("pfa_no_cache"):
        return None
    try:
        return Path(os.path.abspath(cache.mkdir("pfa_gate")))
    except OSError:
        return None


def _uncovered(config: pytest.Config) -> list[Path]:
    """Configs that pytest would not come by on its own."""
    here = config.invocation_params.dir
    covered = {Path(os.path.abspath(here / argument.partition("::")[0])) for argument in config.args}
    return [path for path in plan_of(config).configs if covered.isdisjoint((path, *path.parents))]


def _shown(path: Path, base: Path) -> str:
    return Path(os.path.relpath(path, base)).as_posix() if path.is_relative_to(base) else path.as_posix()
