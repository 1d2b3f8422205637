"""The plugin in a process that torchrun started beside others: rank 0 runs pytest, the others only help it measure."""

import os
import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pfa_gate.errors import RankError
from pfa_gate.plugin.exit_guard import JUDGED, ExitInterceptor
from pfa_gate.plugin.run_plan import RUNNER, Runner
from pfa_gate.plugin.session import choose_threads
from pfa_gate.plugin.xdist import has_workers
from pfa_gate.report.text import printable
from pfa_gate.torchrun import Seat, seat_in

if TYPE_CHECKING:
    from pfa_gate.budget import Context
    from pfa_gate.config import Document
    from pfa_gate.record import Record
    from pfa_gate.record.manifest import Wait
    from pfa_gate.torchrun.calls import Ranks


def take_seat(config: pytest.Config) -> None:
    """Register the hooks of this process's rank, if torchrun started several.

    Raises:
        UsageError: the environment says half of it.
    """
    try:
        seat = seat_in(os.environ)
    except RankError as error:
        raise pytest.UsageError(printable(f"--pfa: {error}")) from error
    if seat is not None:
        config.pluginmanager.register(Leader(seat) if seat.rank == 0 else Worker(seat), "pfa_gate_ranks")


class Leader:
    """Rank 0: runs pytest as usual, and ends all others with its own exit status."""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> Generator[None, "int | None", int]:
        """Wait for the others, run, and let them end.

        Raises:
            UsageError: they do not come, or xdist is to run as well.
        """
        if has_workers(config):
            raise pytest.UsageError(
                "--pfa: torchrun's ranks and the workers of xdist (-n) do not go together.\n"
                "  Leave out -n: the ranks share the work of a gate already."
            )
        ranks = _joined(self.seat)
        _explain_stop(ranks)
        config.stash[RUNNER] = _leading(ranks, config.rootpath)
        status: int = pytest.ExitCode.INTERNAL_ERROR
        try:
            status = (yield) or 0
        except pytest.UsageError:
            status = pytest.ExitCode.USAGE_ERROR
            raise
        finally:
            status = _ended(ranks, status)
        return status


class Worker:
    """Another rank: collects nothing, runs no test, prints and writes nothing."""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat

    @pytest.hookimpl(tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> int:
        """Do what rank 0 calls for, until it ends the run; its exit status is that of all.

        Raises:
            UsageError: the others do not come.
        """
        if has_workers(config):
            return pytest.ExitCode.USAGE_ERROR  # rank 0 says why
        ranks = _joined(self.seat)
        from pfa_gate.distributed.ranks import run_as_worker  # noqa: PLC0415  torch, for these runs alone

        exits = ExitInterceptor()
        try:
            with nullcontext() if config.getoption("capture", "no") == "no" else _quiet():
                status = run_as_worker(ranks, config.rootpath)
        except KeyboardInterrupt:  # which rank 0 gets too, and reports
            return pytest.ExitCode.INTERRUPTED
        finally:
            exits.allow()
        # As in `_ended`.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        ranks.leave()
        config.stash[JUDGED] = status
        return status


def _joined(seat: Seat) -> "Ranks":
    choose_threads(int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    try:
        from pfa_gate.torchrun.calls import join  # noqa: PLC0415  torch, for these runs alone
    except ImportError as error:
        raise pytest.UsageError(printable(f"--pfa: this torch cannot connect ranks: {error}")) from error
    outside = os.dup(2)  # the terminal, whatever is captured later
    try:
        return join(seat, lambda words: _say(outside, words))
    except RankError as error:
        raise pytest.UsageError(printable(f"--pfa: {error}")) from error


def _say(file: int, words: str) -> None:
    with suppress(OSError):
        os.write(file, printable(words).encode(errors="backslashreplace"))


def _leading(ranks: "Ranks", root: Path) -> Runner:
    def run(document: "Document", gate: str, context: "Context", output: Path | None, wait: "Wait") -> "Record":
        from pfa_gate.distributed.ranks import run_as_leader  # noqa: PLC0415  torch, for a gate that is measured alone

        return run_as_leader(ranks, root, (document, gate, context), output, wait)

    return run


def _ended(ranks: "Ranks", status: int) -> int:
    """End all ranks; where one is gone, the run does not pass."""
    # torchrun stops all others as soon as one ends with an error; each is to end by itself, with the status of all.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        ranks.call("present")
        ranks.answers()
    except RankError as error:
        ranks.say(f"ERROR: --pfa: {error}\n")
        status = status or pytest.ExitCode.TESTS_FAILED
    ranks.end(status)
    return int(status)


def _explain_stop(ranks: "Ranks") -> None:
    """End pytest as by Ctrl-C, with the reason, where torchrun stops rank 0 by SIGTERM because another rank failed."""
    process = os.getpid()

    def stopped(signum: int, frame: Any) -> None:
        del frame
        if os.getpid() != process:  # a fork, such as a worker of the user's data, ends as it would have
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        ranks.fault = ranks.fault or "Rank 0 was stopped by SIGTERM: another rank has failed, or the job was cancelled."
        raise KeyboardInterrupt(ranks.fault)

    signal.signal(signal.SIGTERM, stopped)


@contextmanager
def _quiet() -> Iterator[None]:
    """Discard what the user's code prints, since rank 0 shows it; with -s all ranks show it."""
    kept = [os.dup(1), os.dup(2)]
    with open(os.devnull, "wb") as nowhere:
        try:
            for file in (1, 2):
                os.dup2(nowhere.fileno(), file)
            yield
        finally:
            for file, own in zip((1, 2), kept, strict=True):
                os.dup2(own, file)
                os.close(own)
