"""Real processes behind real gateways, asked for a sign of life."""

import os
import signal
from collections.abc import Iterator

import execnet
import pytest

from pfa_gate.plugin.xdist import unresponsive


@pytest.fixture
def gateways() -> Iterator[list[execnet.Gateway]]:
    group = execnet.Group(["popen//id=one", "popen//id=two", "popen//id=three"])
    yield list(group)
    group.terminate(timeout=0.1)


def _process(gateway: execnet.Gateway) -> int:
    return int(gateway.remote_exec("import os; channel.send(os.getpid())").receive())


def test_all_live(gateways: list[execnet.Gateway]) -> None:
    assert unresponsive(gateways) == []


def test_nobody_to_ask() -> None:
    assert unresponsive([]) == []


def test_dead_just_now_or_long_ago(gateways: list[execnet.Gateway]) -> None:
    processes = [_process(each) for each in gateways]
    os.kill(processes[2], signal.SIGKILL)
    assert unresponsive(gateways) == ["three"]
    gateways[2].join()
    os.kill(processes[0], signal.SIGKILL)
    assert unresponsive(gateways) == ["one", "three"]


def test_one_that_says_nothing_is_not_waited_for_without_end(gateways: list[execnet.Gateway]) -> None:
    process = _process(gateways[1])
    os.kill(process, signal.SIGSTOP)
    assert unresponsive(gateways, seconds=5) == ["two"]
    os.kill(process, signal.SIGCONT)
    assert unresponsive(gateways) == []
