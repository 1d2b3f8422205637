"""What this run is to do: the configs it found, where results go, and that a budget of them is left to run.

PYTEST_DONT_REWRITE
"""

import os
import secrets
import shlex
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from pfa_gate.errors import ArtifactError
from pfa_gate.files import sweep, unfinished_folder
from pfa_gate.plugin.arguments import choice_of
from pfa_gate.plugin.choice import Choice, absolute_ids
from pfa_gate.plugin.discovery import NAME, Request, search
from pfa_gate.plugin.rootdir import require_own_root
from pfa_gate.plugin.run_plan import PLAN, RunPlan
from pfa_gate.report.text import printable

WORKER_INPUT = "pfa_gate"
"""Key of the plan in what xdist sends to its workers."""


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is a worker of xdist."""
    return hasattr(config, "workerinput")


def has_workers(config: pytest.Config) -> bool:
    """Whether this process is to start workers of xdist."""
    asked = config.getoption("numprocesses", None) or config.getoption("tx", None)
    return bool(asked) and not is_worker(config)


def collects_elsewhere(config: pytest.Config) -> bool:
    """Whether what this process collects, if anything, is judged by or in another."""
    return is_worker(config) or config.pluginmanager.hasplugin("dsession")


def plan_of(config: pytest.Config) -> RunPlan:
    """Give the run's plan, made on first use; a worker has its controller's.

    Raises:
        UsageError: there is no config to run.
    """
    if PLAN not in config.stash:
        plan = getattr(config, "workerinput", {}).get(WORKER_INPUT)
        config.stash[PLAN] = RunPlan.from_plain(plan) if plan else _made(config)
    return config.stash[PLAN]


def require_gates(session: pytest.Session, budgets: bool) -> None:
    """See that a budget is left to run, unless the command line chose otherwise.

    Args:
        session: that of the controller, or of the only process.
        budgets: whether one is left.

    Raises:
        UsageError: none is left; otherwise the gate would pass by not running.
    """
    options, plan = session.config.option, plan_of(session.config)
    again = any(getattr(options, name, None) for name in ("lf", "stepwise"))  # what they leave out the ledger tells
    by_choice = plan.names_tests_only or plan.choice.keyword or plan.choice.mark
    # A failed collection is reported as such, and fails the run by itself.
    if budgets or again or by_choice or session.testsfailed:
        return
    names = [shown(path, session.config.rootpath) for path in plan.configs]
    fact = f"--pfa: no budget of {', '.join(names)} is left to run."
    why = "Something ignored or deselected them all, so the gate would pass without judging anything."
    raise pytest.UsageError(printable(f"{fact}\n  {why}\n  {_remedy(names)}"))


def _remedy(names: Sequence[str]) -> str:
    """What to do where another plugin, a conftest or an option has taken the budgets away."""
    command = shlex.join(["pytest", "--pfa", *names])
    return f"Give the gate a run of its own, `{command}`; run the tests in others, without --pfa."


def _made(config: pytest.Config) -> RunPlan:
    choice = choice_of(config)
    request = _request(config, choice)
    configs = search(request, lambda path: bool(config.hook.pytest_ignore_collect(collection_path=path, config=config)))
    chosen = request.names_only_tests()
    _check(request, configs, chosen)
    require_own_root(config, configs)
    asked = _baseline(config, configs)
    updating = bool(config.getoption("pfa_update_baseline"))
    place, run = _shared_folder(), secrets.token_hex(16)
    return RunPlan(configs, place, _output(config), chosen, _cache(config), asked, updating, run, choice)


def _shared_folder() -> Path:
    place = Path(tempfile.gettempdir())
    sweep(place)
    try:
        return unfinished_folder("pfa_gate", place)
    except OSError as error:
        fact = f"--pfa: there is no room for a temporary folder: {error.strerror}."
        raise pytest.UsageError(printable(f"{fact}\n  Free some space, or point TMPDIR at another disk.")) from error


def _request(config: pytest.Config, choice: Choice) -> Request:
    given, here = config.args_source is pytest.Config.ArgsSource.ARGS, config.invocation_params.dir
    # An id that somebody else has added asks for the config of its file.
    known = [
        each if place in choice.arguments else each.partition("::")[0]
        for each, place in zip(config.args, absolute_ids(config.args, here), strict=True)
    ]
    return Request(
        arguments=tuple(known) if given else (),
        options=tuple(config.getoption("pfa_config")),
        ini=tuple(config.getini("pfa_config")),
        here=here,
        root=config.rootpath,
    )


def _check(request: Request, configs: Iterable[Path], chosen: bool) -> None:
    for path in configs:
        if not path.is_file():
            fact = f"--pfa: there is no file {shown(path, request.here)}."
            raise pytest.UsageError(printable(f"{fact}\n  Correct the path, or leave it out to search for {NAME}."))
    if not configs and not chosen:
        places = ", ".join(shown(path, request.here) for path in request.paths()) or "this folder"
        fact = f"--pfa: found no {NAME} in or below {places}, nor upward to {request.root}."
        raise pytest.UsageError(printable(f"{fact}\n  Write one, or name another with --pfa-config."))


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
    from pfa_gate.record.baseline_source import absolute, find_baseline  # noqa: PLC0415  most runs ask for none

    ini_folder = config.inipath.parent if config.inipath else config.rootpath
    asked = absolute(asked, config.invocation_params.dir if option else ini_folder)
    for path in configs:
        try:
            find_baseline(path, asked)
        except ArtifactError as error:
            raise pytest.UsageError(printable(f"--pfa-baseline: {error}")) from error
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


def shown(path: Path, base: Path) -> str:
    """A path as people write it: below `base` from there, else whole."""
    return printable(Path(os.path.relpath(path, base)).as_posix() if path.is_relative_to(base) else path.as_posix())
