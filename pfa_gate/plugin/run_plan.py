"""What one pytest run is to do: decided by its controller, sent to its workers."""

import os
import secrets
import shlex
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from pfa_gate.errors import ArtifactError
from pfa_gate.files import remove_abandoned, unfinished_folder
from pfa_gate.plugin.command_line import Choice, absolute_ids, choice_of
from pfa_gate.plugin.discovery import NAME, Request, require_own_root, search, shown
from pfa_gate.report.text import printable

if TYPE_CHECKING:
    from pfa_gate.budget import Context
    from pfa_gate.config import Document
    from pfa_gate.record import Record
    from pfa_gate.record.manifest import Progress, Wait


@dataclass(frozen=True)
class RunPlan:
    """What one run does.

    Args:
        configs: the configs to collect, in order; absolute.
        shared: folder of this run alone, in which its processes share what they found; absolute.
        output: folder for the results of all gates; None for `.pfa` beside each config.
        names_tests_only: the command line names single tests only, so that no gate need be among them.
        cache: folder of what earlier runs found; absolute; None for none.
        baseline: an absolute path or `git:REF`; empty for the file beside each config.
        updating: this run writes the baseline.
        run: the run's token; its records and its manifest bear it.
        choice: what the command line of this run chose.
    """

    configs: tuple[Path, ...]
    shared: Path
    output: Path | None = None
    names_tests_only: bool = False
    cache: Path | None = None
    baseline: str = ""
    updating: bool = False
    run: str = ""
    choice: Choice = field(default_factory=Choice)

    def context(self) -> dict[str, str]:
        """What verdicts depend on beside the config and the files it names.

        Example:
            >>> RunPlan((), Path("/tmp/run"), output=Path("/out")).context()
            {'output': '/out', 'updating': 'False'}
        """
        return {"output": "" if self.output is None else str(self.output), "updating": str(self.updating)}

    def to_plain(self) -> dict[str, object]:
        """Write it as plain data, for a worker.

        Example:
            >>> plan = RunPlan((Path("/a/pfa.yaml"),), Path("/tmp/run"))
            >>> RunPlan.from_plain(plan.to_plain()) == plan
            True
        """
        paths = {name: str(path) for name, path in vars(self).items() if isinstance(path, Path)}
        return {**vars(self), **paths, "configs": list(map(str, self.configs)), "choice": self.choice.to_plain()}

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> Self:
        """Read it from what `to_plain` wrote."""
        paths = {name: data[name] and Path(data[name]) for name in ("shared", "output", "cache")}
        configs, choice = tuple(map(Path, data["configs"])), Choice.from_plain(data["choice"])
        return cls(**{**data, **paths, "configs": configs, "choice": choice})


Runner = Callable[["Document", str, "Context", Path | None, "Wait"], "Record"]
"""Runs a gate, given the config, the gate's name, what it is judged by, the output folder and since when it waits."""

PLAN = pytest.StashKey[RunPlan]()
"""Where the plan of a run is kept on its pytest config."""

PROGRESS = pytest.StashKey[Callable[[str], "Progress"]]()
"""Where there is a terminal to show progress on: gives that of the gate with a name."""

RUNNER = pytest.StashKey[Runner]()
"""Where a pytest config keeps what runs its gates in place of `run_gate`: where several processes measure, say."""

WORKER_INPUT = "pfa_gate"
"""Key of the plan in what xdist sends to its workers."""


def plan_of(config: pytest.Config) -> RunPlan:
    """Give the run's plan, made on first use; a worker has its controller's.

    Raises:
        UsageError: there is no config to run.
    """
    if PLAN not in config.stash:
        plain = getattr(config, "workerinput", {}).get(WORKER_INPUT)
        config.stash[PLAN] = RunPlan.from_plain(plain) if plain else _made(config)
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
    # What these leave out fails the run at its end.
    rerun = any(getattr(options, name, None) for name in ("lf", "stepwise"))
    by_choice = plan.names_tests_only or plan.choice.keyword or plan.choice.mark
    # A failed collection is reported as such, and fails the run by itself.
    if budgets or rerun or by_choice or session.testsfailed:
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
    shared, run = _shared_folder(), secrets.token_hex(16)
    return RunPlan(configs, shared, _output(config), chosen, _cache(config), asked, updating, run, choice)


def _shared_folder() -> Path:
    folder = Path(tempfile.gettempdir())
    remove_abandoned(folder)
    try:
        return unfinished_folder("pfa_gate", folder)
    except OSError as error:
        fact = f"--pfa: there is no room for a temporary folder: {error.strerror}."
        raise pytest.UsageError(printable(f"{fact}\n  Free some space, or point TMPDIR at another disk.")) from error


def _request(config: pytest.Config, choice: Choice) -> Request:
    given, here = config.args_source is pytest.Config.ArgsSource.ARGS, config.invocation_params.dir
    # An id that an ini file or a plugin has added selects the whole config of its file.
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
