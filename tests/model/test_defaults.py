"""What a user's code sets in torch for the whole process is set back after the gate."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import pfa_gate
from pfa_gate.config import load
from pfa_gate.distributed.collect_shard import ShardSpec, collect
from pfa_gate.model.global_state import defaults_restored
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
