"""What a run imports beside torch: what it uses, and nothing that takes as long as the run itself."""

import json
import subprocess
import sys
from pathlib import Path

HEAVY = (
    "sympy", "networkx", "rich", "pygments", "onnx", "onnxscript", "onnxruntime", "sklearn", "pytest",
    "torch._dynamo", "torch._inductor", "torch._export", "torch.fx.experimental.symbolic_shapes", "torch.onnx",
)  # fmt: skip
LATER = ("scipy", "jinja2", "filelock", "pfa_gate.artifacts", "pfa_gate.compress.recover", "torch.export._trace")
"""What some gates use, or all of them at their end."""
MOST = 264
"""Modules beside torch's; two thirds are our own, the rest those of pydantic and yaml."""
NET = """
import torch

def build():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 4),
    )

def probe():
    return torch.randn(64, 3, 8, 8)

def scored():
    return torch.utils.data.TensorDataset(probe(), torch.arange(64) % 4)
"""
CONFIG = """
version: 1
gates:
  tiny:
    model: {factory: net.py:build}
    probe: {data: net.py:probe}
    recipe: {strategy: energy, energy: 0.9, rounds: 2}
    selection: reconstruction
    recovery: [compensate, {distill: {steps: 2}}, recalibrate]
    evaluation: {data: net.py:scored, allow_chance: true}
    budgets: {model: {macs: 9 M}, compressed: {latency: 900%}}
    artifacts: [weights]
"""
RUN = """
import json, sys
import torch
before = set(sys.modules)
import pfa_gate.pipeline.run
imported = set(sys.modules)
record = pfa_gate.pipeline.run.run("pfa.yaml").record
print(json.dumps([sorted(imported - before), sorted(set(sys.modules) - before), sorted(record.files)]))
"""


def test_a_run_that_writes_weights_alone_imports_neither_compiler_nor_exporter(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "pfa.yaml").write_text(CONFIG)
    done = subprocess.run([sys.executable, "-c", RUN], cwd=tmp_path, capture_output=True, text=True, check=True)
    imported, ran, files = json.loads(done.stdout)
    assert files == ["badge", "html", "markdown", "recipe", "record", "weights"]
    assert [name for name in HEAVY if name in ran] == []
    assert [name for name in LATER if name in imported] == []
    assert len([name for name in imported if not name.startswith("torch.")]) <= MOST
