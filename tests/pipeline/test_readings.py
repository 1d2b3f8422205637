"""How often a run reads the data: the probe once for all that is measured, the evaluation once for each model."""

from collections import Counter
from pathlib import Path

import pytest

import pfa_gate

PROJECT = """
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset


class Told(Dataset):
    '''Writes down each row that is read.'''

    def __init__(self, name):
        self.log = Path(__file__).with_name(name)
        self.rows = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, row):
        with self.log.open("a") as log:
            print(row, file=log)
        return self.rows[row], row % 3


def probe():
    return Told("probe.log")


def test():
    return Told("test.log")


def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 3))
"""

CONFIG = """
version: 1
gates:
  net:
    model: {factory: net.py:build}
    probe: {data: net.py:probe, batch_size: 16}
    artifacts: [weights]
    recipe: {strategy: energy, energy: 0.9}
    recovery: %s
    evaluation: {data: net.py:test, allow_chance: true}
    budgets: {compressed: {accuracy_drop: 100 pp}}
    selection: correlation
"""


@pytest.mark.parametrize(("recovery", "probe", "test"), [("[]", 1, 2), ("[recalibrate]", 2, 3)])
def test_the_probe_is_read_once_for_all_that_is_measured(tmp_path, recovery, probe, test):
    # Recalibration reads the probe again; the evaluation is read by the full model, the cut one and the mended one.
    (tmp_path / "net.py").write_text(PROJECT)
    (tmp_path / "pfa.yaml").write_text(CONFIG % recovery)
    run = pfa_gate.run(tmp_path / "pfa.yaml")
    assert run.record.probe.samples == 200
    for name, times in (("probe.log", probe), ("test.log", test)):
        read = counted(tmp_path / name)
        assert {read[row] for row in range(16, 200)} == {times}
        # The first batch says besides what the data is, and is the example.
        assert all(times < read[row] <= times + 2 for row in range(16))


def counted(log: Path) -> Counter[int]:
    return Counter(map(int, log.read_text().split()))
