"""What a user's code sets in torch for the whole process, and the gate in C, is set back after the gate."""

import ctypes
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from platform import libc_ver
from typing import Any

import pytest
import torch

import pfa_gate
from pfa_gate.config import load
from pfa_gate.distributed.collect_shard import ShardSpec, collect
from pfa_gate.model.global_state import defaults_restored, freed_memory_kept
from pfa_gate.study import run as study
from pfa_gate.study.options import StudyOptions

CHANGES = {
    "dtype": (torch.get_default_dtype, torch.set_default_dtype, torch.float64),
    "device": (torch.get_default_device, torch.set_default_device, torch.device("meta")),
    "threads": (torch.get_num_threads, torch.set_num_threads, 1),
    "precision": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"),
    "determinism": (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode, 1),
    "gradients": (torch.is_grad_enabled, torch.set_grad_enabled, False),
}
SETTER = """
import torch

def build():
    torch.set_grad_enabled(False)
    torch.set_float32_matmul_precision("medium")
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))

def rows():
    return torch.randn(64, 3)

def labelled():
    return torch.utils.data.TensorDataset(rows(), torch.arange(64) % 2)
"""
CONFIG = """
version: 1
gates:
  net:
    model: {factory: "net.py:build"}
    probe: {data: "net.py:rows"}
    evaluation: {data: "net.py:labelled"}
    budgets: {layers: [{match: "*", kl: 1}]}
    selection: correlation
    recovery: []
"""
WORK: dict[str, Callable[[Path], Any]] = {
    "run": pfa_gate.run,
    "collect": lambda config: collect(load(config), "net", ShardSpec(1, 1)),
    "study": lambda config: study.run(config, None, StudyOptions(("kl",))),
}


@pytest.fixture
def _as_before() -> Iterator[None]:
    with defaults_restored():
        yield


@pytest.mark.usefixtures("_as_before")
@pytest.mark.parametrize(("read", "write", "value"), CHANGES.values(), ids=CHANGES)
def test_each_is_set_back(read: Callable[[], Any], write: Callable[[Any], Any], value: Any) -> None:
    torch.set_num_threads(2)
    before = read()
    assert before != value
    with defaults_restored():
        write(value)
        assert read() == value
    assert read() == before


@pytest.mark.usefixtures("_as_before")
def test_what_only_warned_warns_again() -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    with defaults_restored():
        torch.use_deterministic_algorithms(True)
    assert torch.is_deterministic_algorithms_warn_only_enabled()


@pytest.mark.usefixtures("_as_before")
@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_a_factory_changes_nothing_for_later_tests(work: Callable[[Path], Any], tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(SETTER)
    (tmp_path / "pfa.yaml").write_text(CONFIG)
    work(tmp_path / "pfa.yaml")
    assert torch.is_grad_enabled()
    assert torch.get_float32_matmul_precision() == "highest"


PAGES = """
from mmap import PAGESIZE
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

import torch

from pfa_gate.model.global_state import freed_memory_kept

VALUE = 2**26


def cleared():
    "Values whose pages the system clears while 64 MiB are asked for, filled and freed, ten times."
    before = getrusage(RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(VALUE // 4)
    return (getrusage(RUSAGE_SELF).ru_minflt - before) * PAGESIZE / VALUE


def held():
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGESIZE / VALUE


torch.ones(VALUE // 4)
start = held()
usual = cleared()
with freed_memory_kept():
    within = cleared()
    kept = held() - start
print(usual, within, kept, held() - start)
"""


@pytest.mark.skipif(libc_ver()[0] != "glibc", reason="only glibc is told what to do with freed memory")
def test_a_gate_does_not_clear_its_pages_again_and_gives_its_memory_back() -> None:
    # In a process of its own: in this one, a hole that an earlier test left in the heap may hold the values.
    done = subprocess.run([sys.executable, "-c", PAGES], capture_output=True, text=True, check=True)
    usual, within, kept, afterwards = map(float, done.stdout.split())
    assert usual > 5 * within > 0  # a ratio, as huge pages are fewer; within, the first value's alone
    assert kept > 0.9
    assert afterwards < 0.1


@pytest.mark.parametrize("variable", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_what_the_environment_says_of_memory_is_left_alone(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "1")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("The C library was asked."))
    with freed_memory_kept():
        pass
