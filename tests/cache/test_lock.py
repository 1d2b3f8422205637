"""Who waits for another process says for whom and how long; one that is stopped is not waited for for ever."""

import json
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfa_gate.cache import lock
from pfa_gate.cache.lock import exclusive_lock, holder_of
from pfa_gate.cache.verdicts import one_at_a_time
from pfa_gate.errors import ArtifactError
from pfa_gate.plugin.gate_analysis import Result, analyse_once
from pfa_gate.record.manifest import WAITED

HOLDS = """
import sys, time
from pathlib import Path
from pfa_gate.cache import lock

lock.BEAT = 0.02
with lock.exclusive_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "SILENCE", 0.6)
    monkeypatch.setattr(lock, "_PAUSE", 0.05)
    monkeypatch.setattr(lock, "_FIRST_WORD", 0.1)


def holding(path: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDS, str(path), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that was stopped while it held `a.lock`."""
    process = holding(tmp_path / "a.lock", 60)
    os.kill(process.pid, signal.SIGSTOP)
    yield process
    process.kill()
    process.communicate()


def test_a_stopped_holder_is_named_and_given_up(tmp_path: Path, stopped: subprocess.Popen[str]) -> None:
    with pytest.raises(ArtifactError) as caught, exclusive_lock(tmp_path / "a.lock"):
        pytest.fail("two hold it")
    who = f"Process {stopped.pid} on {re.escape(socket.gethostname())}, which has measured this gate since {TIME}"
    state = r"has given no sign of life for 0\.6 s; this run has waited for [12] s\."
    assert re.fullmatch(f"{who}, and {state}", caught.value.fact)
    assert caught.value.remedy == "Let that process go on, or end it, and run again."


def test_a_holder_that_goes_on_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "SILENCE", 2.0)
    told: list[tuple[str, int, int]] = []
    with holding(tmp_path / "a.lock", 3.5) as process:
        with exclusive_lock(tmp_path / "a.lock", lambda *words: told.append(words)):
            assert json.loads(holder_of(tmp_path / "a.lock").read_text())["process"] == os.getpid()
        assert process.wait() == 0
    assert list(tmp_path.glob("*.holder")) == []
    *waiting, end = told
    assert end == (WAITED, 1, 1)
    assert 2 <= len(waiting) <= 6
    for words, done, total in waiting:
        assert re.fullmatch(rf"waiting for process {process.pid} on .*, which .* since {TIME} \(\d s so far\)", words)
        assert (done, total) == (0, 0)


def test_a_holder_that_lives_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "SILENCE", 60.0)
    monkeypatch.setattr(lock, "LONGEST", 0.5)
    process = holding(tmp_path / "a.lock", 60)
    expected = r", and is not done; this run has waited for [01] s\."
    with pytest.raises(ArtifactError, match=expected), exclusive_lock(tmp_path / "a.lock"):
        pytest.fail("two hold it")
    process.kill()
    process.communicate()


@pytest.mark.parametrize("text", [None, "", "[]", '{"process": "a"}'])
def test_a_holder_that_does_not_say_who_it_is_is_given_up_as_well(
    tmp_path: Path, stopped: subprocess.Popen[str], text: str | None
) -> None:
    holder_of(tmp_path / "a.lock").unlink()
    if text is not None:
        holder_of(tmp_path / "a.lock").write_text(text)
    expected = "A process that does not say who it is, which measures this gate, and has given no sign of life"
    with pytest.raises(ArtifactError, match=expected), exclusive_lock(tmp_path / "a.lock"):
        pytest.fail("two hold it")


def test_a_dead_holder_is_not_waited_for(tmp_path: Path, stopped: subprocess.Popen[str]) -> None:
    stopped.kill()
    stopped.wait()
    told: list[object] = []
    with exclusive_lock(tmp_path / "a.lock", lambda *words: told.append(words)):
        assert json.loads(holder_of(tmp_path / "a.lock").read_text())["process"] == os.getpid()
    assert told == []


def ask(folder: Path) -> bool:
    lock.SILENCE = 0.6
    try:
        analyse_once(folder, Path("/pfa.yaml"), "digits", lambda: Result("/pfa.yaml", "digits", error="made"))
    except ArtifactError:
        return False
    return True


def stop(folder: Path) -> None:
    analyse_once(folder, Path("/pfa.yaml"), "digits", lambda: os.kill(os.getpid(), signal.SIGSTOP))


def test_workers_of_a_run_give_up_as_well(tmp_path: Path) -> None:
    """The lock of a run and that of a verdict are one kind; without a place for it, nobody waits."""
    process = multiprocessing.get_context("spawn").Process(target=stop, args=(tmp_path,))
    process.start()
    while not list(tmp_path.glob("*.holder")):
        time.sleep(0.01)
    assert not ask(tmp_path)
    process.kill()
    process.join()
    assert ask(tmp_path)
    (tmp_path / "file").write_text("")
    with one_at_a_time(tmp_path / "file", "ab" * 32):
        assert list(tmp_path.glob("*.holder")) == []
