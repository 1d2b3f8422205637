"""The exit status of the process, held from before the first conftest to the end: no code of the project makes it 0.

What cannot be held in a process (a call of C's `_exit`, say) is told by `pfa-gate verify` from what the run wrote.

PYTEST_DONT_REWRITE
"""

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest

from pfa_gate.plugin.arguments import PARSER, choice_of
from pfa_gate.plugin.exits import Exits, succeeds
from pfa_gate.plugin.planning import is_worker
from pfa_gate.report.text import printable

JUDGED = pytest.StashKey[int]()
"""Where the exit status that the gate gave to the run is kept on pytest's config."""


@contextmanager
def guarded(config: pytest.Config, parser: pytest.Parser) -> Iterator[None]:
    """Guard the loading of the first conftests, and then the run.

    Raises:
        UsageError: one of them ended the process with success.
    """
    config.stash[PARSER] = parser
    exits = Exits()
    try:
        yield
    except BaseException as error:
        exits.keep(pytest.ExitCode.USAGE_ERROR)
        if not isinstance(error, SystemExit) or not succeeds(error.code):
            raise
        fact = f"--pfa: a conftest or plugin asked to end by SystemExit({error.code}) before any gate was judged."
        raise pytest.UsageError(printable(f"{fact}\n  Let it be imported without an exit.")) from error
    # Registered after all that they have registered, so that it wraps theirs.
    config.pluginmanager.register(Guard(exits), "pfa_gate_guard")


class Guard:
    """Outermost of all that wrap the run.

    Args:
        exits: of this process.
    """

    def __init__(self, exits: Exits) -> None:
        self.exits = exits

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> Generator[None, object, object]:
        """Let the run end with 0 only where it was judged so."""
        if is_worker(config):  # its death is seen by its controller
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
            status = _held(config, status)
        finally:
            if succeeds(status):
                self.exits.allow()
            else:
                self.exits.keep(status if isinstance(status, int) else 1)
        return status


def _held(config: pytest.Config, status: object) -> object:
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
    """Whether nothing was to be run: help is asked for, or a plugin's list, on the command line."""
    return bool(getattr(config.option, "help", None)) or choice_of(config).only_lists


def say(fact: str) -> None:
    """Tell where no terminal of pytest is left."""
    print(printable(fact), file=sys.stderr)
