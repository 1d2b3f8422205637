"""A project of several gates, and the comparison of records that several processes made with those of one."""

import json
from pathlib import Path
from typing import Any

import pytest

from pfa_gate.record import Record, to_dict

PROJECT = """
import torch
from torch import nn
from torch.utils.data import Dataset


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.first, self.second = nn.Conv2d(8, 12, 3, padding=1), nn.Conv2d(12, 8, 3, padding=1)
        self.twice, self.head = nn.Conv2d(8, 8, 1), nn.Linear(8, 3)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        x = (x + self.second(self.first(x).relu())).relu()
        return self.head(self.twice(self.twice(x).relu()).relu().mean((2, 3)))


class Tokens(nn.Module):
    '''Four rows for every sample at its layers.'''

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.first(x.reshape(-1, 6)).relu())


class Written(nn.Module):
    '''A width stands in its forward, so its compressed model is a graph.'''

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 6, 1), nn.Linear(6, 3)

    def forward(self, x):
        x = self.first(x).relu()
        return self.head(self.second(x.view(x.shape[0], 8, 8, 8)).relu().mean((2, 3)))


class Undecided(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = self.first(x)
        return self.head(x.relu()) if x.sum() > 0 else self.head(x)


def build(kind, seed=0):
    torch.manual_seed(seed)
    return globals()[kind]()


class Noisy(Dataset):
    '''Each reading draws from the global generator, as random transforms do.'''

    def __len__(self):
        return 301

    def __getitem__(self, index):
        return torch.randn(1, 8, 8) + index % 3, index % 3


def images():
    return Noisy()


def rows():
    return torch.randn(301, 6, generator=torch.Generator().manual_seed(0)), torch.arange(301) % 3


def tokens():
    return torch.randn(301, 4, 6, generator=torch.Generator().manual_seed(0))
"""

GATE = """
  {name}:
    model: {{factory: net.py:build, arguments: {{kind: {kind}}}}}
    probe: {{data: net.py:{data}, batch_size: 37}}
    recipe: {{strategy: energy, energy: 0.95}}
    {more}
    budgets: {{layers: [{{match: "*", kl: 1.0, peak_correlation: 1.0, mean_correlation: 1.0, inactive: {most}}}]}}
"""
MORE = "selection: reconstruction\n    recovery: [compensate]\n    evaluation: {data: net.py:images}"
PAPER = "selection: correlation\n    recovery: []"
GATES = {
    "residual": GATE.format(name="residual", kind="Residual", data="images", more=MORE, most=9),
    "tokens": GATE.format(name="tokens", kind="Tokens", data="tokens", more=PAPER, most=9),
    # A part of its probe is held out, for the error of outputs.
    "positions": GATE.format(name="positions", kind="Residual", data="images", more=PAPER, most=9)
    .replace("batch_size: 37", "batch_size: 37, positions: 5")
    .replace("inactive: 9}]", "inactive: 9}], compressed: {output_error: 900%}"),
    "undecided": GATE.format(name="undecided", kind="Undecided", data="rows", more=PAPER, most=9),
    "strict": GATE.format(name="strict", kind="Undecided", data="rows", more=PAPER, most=9).replace("kl: 1.0", "kl: 0"),
}


def project(folder: Path) -> Path:
    (folder / "net.py").write_text(PROJECT)
    config = folder / "pfa.yaml"
    config.write_text("version: 1\ngates:" + "".join(GATES.values()))
    return config


def assert_same(found: Any, wanted: Any, where: str = "record") -> None:
    """Equal, numbers to 1e-9; sentences and pictures follow from the numbers and are equal too."""
    if isinstance(wanted, dict):
        assert set(found) == set(wanted), where
        for key in set(wanted) - {"seconds", "files", "written", "detail", "run"}:
            assert_same(found[key], wanted[key], f"{where}.{key}")
    elif isinstance(wanted, list | tuple):
        assert len(found) == len(wanted), where
        for number, (one, two) in enumerate(zip(found, wanted, strict=True)):
            assert_same(one, two, f"{where}[{number}]")
    elif isinstance(wanted, float) and found is not None:
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-9), where
    else:
        assert found == wanted, where


def plain(record: Record) -> dict[str, Any]:
    return json.loads(json.dumps(to_dict(record)))
