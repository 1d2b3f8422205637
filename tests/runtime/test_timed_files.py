"""Files and modules timed: in the thread that calls, for calls of several sizes, none of which takes too long."""

import os
import time
from pathlib import Path

import pytest
import torch
from onnx_files import linear
from torch import nn

from pfa_gate.errors import CandidateError
from pfa_gate.model import Batch
from pfa_gate.runtime.cpu_time import CpuTimes
from pfa_gate.runtime.latency import one_thread, session_of, timed_batches
from pfa_gate.runtime.onnx_module import OnnxModel


def batch(size: int) -> Batch:
    return Batch((torch.zeros(size, 512),), {})


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    path = tmp_path_factory.mktemp("timed") / "net.onnx"
    linear(path, nn.Linear(512, 512))
    return session_of(str(path), "net.onnx")


def test_a_file_works_in_the_thread_that_calls_it(file: OnnxModel) -> None:
    call = file.prepared(batch(256))
    threads, own = len(os.listdir("/proc/self/task")) if Path("/proc").exists() else 0, time.thread_time()
    begun = time.process_time()
    for _ in range(40):
        call()
    own, whole = time.thread_time() - own, time.process_time() - begun
    assert own >= 0.8 * whole  # of a process that may have others' threads
    assert not threads or len(os.listdir("/proc/self/task")) <= threads


def test_a_file_of_another_batch_is_refused(tmp_path: Path) -> None:
    linear(tmp_path / "four.onnx", nn.Linear(512, 2), batch=4)
    four = session_of(str(tmp_path / "four.onnx"), "four.onnx")
    with pytest.raises(CandidateError, match=r"four\.onnx takes 4 samples a call, and is given 3"):
        four.prepared(batch(3))


def test_torch_gets_its_threads_back() -> None:
    before, found = torch.get_num_threads(), []

    def fails() -> None:
        with one_thread():
            found.append(torch.get_num_threads())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert (found, torch.get_num_threads()) == ([1], before)


def test_the_judged_size_comes_first_and_what_would_take_too_long_is_left() -> None:
    asked: list[tuple[int, float]] = []

    def timer(given: Batch, longest: float) -> CpuTimes:
        asked.append((given.size, longest))
        return CpuTimes(0.8, 0.01, 0.2 * given.size, 0.16 * given.size, 16)

    found, skipped = timed_batches(timer, [batch(1), batch(4), batch(64)], judged=4, seconds=40)
    assert asked == [(4, 40), (1, 10)]
    assert [each.samples for each in found] == [1, 4]
    assert (found[0].full, found[0].smaller) == (pytest.approx(200), pytest.approx(160))
    assert skipped == {"64": "it would take about 115 s"}
