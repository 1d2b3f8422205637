"""No code of the project makes the exit status of the process 0, from before the first conftest to the end.

What cannot be prevented in a process (a call of C's `_exit`, say) `pfa-gate verify` finds in what the run wrote.
"""

import atexit
import os
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import NoReturn

import pytest

from pfa_gate.plugin.command_line import PARSER, choice_of
from pfa_gate.plugin.xdist import is_worker
from pfa_gate.report.text import printable

JUDGED = pytest.StashKey[int]()
"""Where the exit status that the gate gave to the run is kept on pytest's config."""

_FACT = "os._exit(0) was called, which would have ended the run with success before every budget was judged"
# The function is known by two names: os took it from the module of the system.
_MODULES = (os, sys.modules[os.name])


def succeeds(status: object) -> bool:
    """Whether a process that ends with a status succeeds: systems keep its last eight bits.

    Example:
        >>> succeeds(0), succeeds(None), succeeds(256), succeeds(1), succeeds("a reason")
        (True, True, True, False, False)
    """
    return status is None or (isinstance(status, int | float) and status % 256 == 0)


class ExitInterceptor:
    """Makes an error of `os._exit(0)`, which would end a run with success before anything is judged.

    It is in force from here until `allow`; other statuses and forks are let through.
    """

    def __init__(self) -> None:
        self._ends, self._process, self._last = os._exit, os.getpid(), 0
        self._hold()

    def force(self, status: int) -> None:
        """Stay in force to the end of the process: an exit with 0 becomes one with this status."""
        self._last = status
        # The last to be registered is the first to run.
        atexit.register(self._hold)

    def allow(self) -> None:
        """Give `os._exit` back."""
        for module in _MODULES:
            vars(module)["_exit"] = self._ends

    def _hold(self) -> None:
        for module in _MODULES:
            vars(module)["_exit"] = self._end

    def _end(self, status: int) -> NoReturn:
        if not succeeds(status) or os.getpid() != self._process:
            self._ends(status)
        if self._last:
            self._ends(self._last)
        if threading.current_thread() is not threading.main_thread():
            self._ends(1)  # an exception would end the thread alone
        raise SystemExit(_FACT)


def run_guarded(command: Callable[[], int | None], *, to_the_end: bool) -> int:
    """Run a command that calls the project's code, which must not end it, or the process, with success.

    Args:
        command: gives its exit status; None for 0.
        to_the_end: the process ends with the command, and so with no other status than the command's.
    """
    exits, status = ExitInterceptor(), 1
    try:
        status = command() or 0
    except SystemExit as error:
        if isinstance(error.code, str):  # of an exit that was refused
            raise
        fact = f"Code that pfa-gate called asked to end by SystemExit({error.code}): nothing was judged."
        say(f"{fact}\n  Let it return, or raise an exception.")
    finally:
        if status and to_the_end:
            exits.force(status)
        else:
            exits.allow()
    return status


@contextmanager
def guarded(config: pytest.Config, parser: pytest.Parser) -> Iterator[None]:
    """Let neither the first conftests nor the run end the process with success.

    Raises:
        UsageError: one of them ended the process with success.
    """
    config.stash[PARSER] = parser
    exits = ExitInterceptor()
    try:
        yield
    except BaseException as error:
        exits.force(pytest.ExitCode.USAGE_ERROR)
        if not isinstance(error, SystemExit) or not succeeds(error.code):
            raise
        fact = f"--pfa: a conftest or plugin asked to end by SystemExit({error.code}) before any gate was judged."
        raise pytest.UsageError(printable(f"{fact}\n  Let it be imported without an exit.")) from error
    # Registered after all that they have registered, so that it wraps theirs.
    config.pluginmanager.register(ExitGuard(exits), "pfa_gate_guard")


class ExitGuard:
    """The outermost hook around the run.

    Args:
        exits: of this process.
    """

    def __init__(self, exits: ExitInterceptor) -> None:
        self.exits = exits

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> Generator[None, object, object]:
        """Let the run end with 0 only where it was judged so."""
        if is_worker(config):  # its controller sees how it ends
            self.exits.allow()
            return (yield)
        status: object = pytest.ExitCode.USAGE_ERROR
        try:
            try:
                status = yield
            except SystemExit as error:  # of a hook, of pytest_unconfigure say: pytest lets it pass
                if not succeeds(error.code):
                    raise
                status = error.code
            status = _judged(config, status)
        finally:
            if succeeds(status):
                self.exits.allow()
            else:
                self.exits.force(status if isinstance(status, int) else 1)
        return status


def _judged(config: pytest.Config, status: object) -> object:
    if not succeeds(status):
        return status
    judged = config.stash.get(JUDGED, None)
    if judged is None and not _only_looked(config):
        judged = pytest.ExitCode.USAGE_ERROR
        say("ERROR: --pfa: something ended the run with 0 before it was judged, so the run does not pass.")
    elif judged:
        say(f"ERROR: --pfa: a hook set the exit status to 0; it stays {int(judged)}.")
    return judged or pytest.ExitCode.OK


def _only_looked(config: pytest.Config) -> bool:
    """Whether the command line asks for help or a list, so that nothing was to run."""
    return bool(getattr(config.option, "help", None)) or choice_of(config).only_lists


def say(fact: str) -> None:
    """Print to the error stream, where pytest's terminal is gone."""
    print(printable(fact), file=sys.stderr)
