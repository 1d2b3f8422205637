"""`pfa-gate merge` calls code of the project, which must not end it with success before anything is judged."""

import os
import subprocess
from pathlib import Path

import pytest

NET = """
import atexit, os, sys, threading
import torch
from torch import nn


def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


def probe():
    return torch.randn(64, 4, generator=torch.Generator().manual_seed(0))


def labelled():
    return probe(), torch.zeros(64, dtype=torch.long)


def leaves(model, batches):
    os._exit(0)


def leaves_by_the_other_name(model, batches):
    sys.modules[os.name]._exit(0)


def leaves_in_a_thread(model, batches):
    thread = threading.Thread(target=os._exit, args=(0,))
    thread.start()
    thread.join()


def exits(model, batches):
    sys.exit(0)


def leaves_at_the_end(model, batches):
    atexit.register(lambda: os._exit(0))
    return float(sum(len(model(inputs)) for inputs, _ in batches))


def stays(model, batches):
    return float(sum(len(model(inputs)) for inputs, _ in batches))
"""
CONFIG = """
version: 1
gates:
  digits:
    model: {{factory: net.py:build}}
    probe: {{data: net.py:probe}}
    artifacts: [weights]
    evaluation: {{data: net.py:labelled, metric: "net.py:{metric}", direction: higher}}
    budgets: {{model: {{parameters: {limit}}}, compressed: {{score_drop: 100}}}}
    selection: correlation
    recovery: []
"""
# Each merge is a fork of a process that has imported torch already, and ends as the command would.
DRIVER = """
import os, sys
import pfa_gate.distributed.merge_shards, pfa_gate.plugin.exit_guard
from pfa_gate.cli import main

assert main(["collect", "stays.yaml", "--shard", "1/1", "--output", "shard"]) == 0
for name in sys.argv[1:]:
    child = os.fork()
    if not child:
        os.dup2(os.open(f"{name}.txt", os.O_CREAT | os.O_WRONLY), 2)
        os.dup2(2, 1)
        sys.argv = ["pfa-gate", "merge", "shard", "--config", f"{name}.yaml", "--output", name]
        sys.exit(main())
    print(name, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
LEFT = "os._exit(0) was called, which would have ended the run with success before every budget was judged"
# Metric -> exit status, and what is said.
SAYS = {
    "leaves": (2, f"The metric failed: 'net.py:leaves' raised SystemExit: {LEFT}"),
    "leaves_by_the_other_name": (2, f"'net.py:leaves_by_the_other_name' raised SystemExit: {LEFT}"),
    "leaves_in_a_thread": (1, ""),
    "exits": (2, "The metric failed: 'net.py:exits' raised SystemExit: 0"),
    "leaves_at_the_end": (1, "model.parameters"),
    "stays": (0, "model.parameters"),
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="not run: this system has no forks")
def test_no_exit_of_a_metric_is_a_success(torch_python: str, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET, "utf-8")
    for metric in SAYS:
        limit = 10 if metric == "leaves_at_the_end" else "1 k"
        (tmp_path / f"{metric}.yaml").write_text(CONFIG.format(metric=metric, limit=limit), "utf-8")
    done = subprocess.run([torch_python, "-c", DRIVER, *SAYS], cwd=tmp_path, capture_output=True, text=True, check=True)
    statuses = dict(line.split() for line in done.stdout.splitlines()[1:])
    shown = {name: (tmp_path / f"{name}.txt").read_text("utf-8") for name in statuses}
    assert statuses == {name: str(status) for name, (status, _) in SAYS.items()}, shown
    for name, (_, says) in SAYS.items():
        assert says in shown[name]
