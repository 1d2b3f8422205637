"""Gates with `residual: pad`: what puts filters back in their places is no weight, in the count and in the files."""

from pathlib import Path

from safetensors.torch import load_file

from pfa_gate.pipeline.run import run

NET = """
import torch
from torch import nn


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 12, 3, padding=1), nn.Linear(12, 4)
        self.one, self.norm, self.two = nn.Conv2d(12, 12, 3, padding=1), nn.BatchNorm2d(12), nn.Conv2d(12, 12, 1)

    def forward(self, x):
        x = self.stem(x).relu()
        x = (x + self.two(self.norm(self.one(x)).relu())).relu()
        return self.head(x.mean((2, 3)))


def build():
    torch.manual_seed(0)
    return Residual()


def probe():
    return torch.randn(160, 3, 8, 8, generator=torch.Generator().manual_seed(0))
"""
GATE = """
version: 1
gates:
  padded:
    model: {factory: net.py:build}
    probe: {data: net.py:probe}
    recipe: {strategy: parameters, parameters: 60%, residual: pad}
    recovery: [compensate]
    artifacts: [weights]
    budgets: {compressed: {parameters: 60%}}
"""


def test_a_recovered_model_is_stored_as_it_was_counted(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "pfa.yaml").write_text(GATE)
    record = run(tmp_path / "pfa.yaml").record
    assert record.compressed is not None
    assert record.compressed.form == "graph"
    assert {finding.outcome for finding in record.budgets} == {"kept"}
    held = load_file(tmp_path / ".pfa" / "padded" / "weights.safetensors")
    assert not [name for name in held if name.startswith("scatter")]
