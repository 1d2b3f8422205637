"""A whole gate over the forward passes that nobody could do without: `python tests/benchmarks/floor.py --help`.

ResNet-56 and a MobileNetV2 for CIFAR on 3,805 probe and 761 evaluation images of the shared folder, cold, each run in
a process of its own on one thread, followed in the same process by the floor: the full model on the probe and the
evaluation, the compressed one on the evaluation, and the matrix product and the eigenvalues of each layer's responses
alone. Seconds are of CPU. The floor keeps freed memory as a gate does, which makes it the faster one; the passes as
anybody runs them are given too.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from mobilenet import mobilenet
from resnets import SHARED
from rich.table import Table
from safetensors.torch import save_file
from surroundings import CONSOLE, Finding, described, keep
from torch import nn

from pfa_gate.config import load
from pfa_gate.model import Batches, Subject
from pfa_gate.model import load as load_subject
from pfa_gate.model.global_state import freed_memory_kept
from pfa_gate.pipeline.run import run

CONFIG = """
version: 1
gates:
  net:
    model: %s
    probe: {data: resnets.py:probe}
    recipe: {strategy: energy, energy: 0.9}
    evaluation: {data: resnets.py:test}
    budgets: {layers: [{match: "*", kl: 1.0}], compressed: {parameters: 100%%}}
"""
RESNET = "{factory: resnets.py:resnet, arguments: {depth: 56}}"
MOBILENET = "{factory: mobilenet.py:untrained, checkpoint: mobilenet.safetensors}"
WEIGHTS = "    artifacts: [weights]\n"
PLAIN = "    selection: correlation\n    recovery: []\n"
RECOVERED = "    selection: reconstruction\n    recovery: [compensate]\n"
GATES = {
    "plain": CONFIG % RESNET + PLAIN,
    "weights": CONFIG % RESNET + PLAIN + WEIGHTS,
    "recovered": CONFIG % RESNET + RECOVERED,
    "mobilenet": CONFIG % MOBILENET + PLAIN + WEIGHTS,
    "mobilenet recovered": CONFIG % MOBILENET + WEIGHTS + "    selection: correlation\n    recovery: [compensate]\n",
}
# Whatever the size of the data: starting Python, following the model, writing it in two forms.
FIXED = ("start and imports", "tracing", "exporting", "writing")
WANTED = {"plain": 1.2, "weights": 1.2, "recovered": 2, "mobilenet": 2, "mobilenet recovered": 2}
WHOLE = {"plain": 1.3, "weights": 1.3, "recovered": 2, "mobilenet": 2, "mobilenet recovered": 2}
# What no gate that writes exported files can do without, each in a process of its own.
IMPORTS = {"importing torch alone": "torch", "importing torch and its exporter alone": "torch, torch._dynamo"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gates", nargs="+", choices=WANTED, default=list(WANTED))
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(once(arguments.one)))
        return
    CONSOLE.print(described())
    findings: list[Finding] = []
    for name in arguments.gates:
        with tempfile.TemporaryDirectory() as place:
            config = written(Path(place), GATES[name])
            command = [sys.executable, __file__, "--one", str(config)]
            found = [subprocess.run(command, check=True, capture_output=True) for _ in range(arguments.times)]
        findings += told(name, [json.loads(each.stdout.splitlines()[-1]) for each in found])
    keep("floor", findings)


def written(folder: Path, text: str) -> Path:
    """A project of its own, as a config may only name files below it."""
    for name in ("resnets.py", "mobilenet.py"):
        source = Path(__file__).with_name(name).read_text()
        (folder / name).write_text(f"import os\nos.environ['PFA_GATE_SHARED'] = {str(SHARED)!r}\n{source}")
    if MOBILENET in text:
        save_file(mobilenet().state_dict(), folder / "mobilenet.safetensors")
    (folder / "pfa.yaml").write_text(text)
    return folder / "pfa.yaml"


class Clock:
    """Seconds of CPU in each stage of a run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {"start and imports": self.now()}
        self._began: dict[str, float] = {}

    def now(self) -> float:
        return time.process_time()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if ", " in stage:  # a stage with what it foresees
            return
        now = self.now()
        if done == 0:
            self._began[stage] = now
        elif stage in self._began and done == total:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._began[stage]
            self._began[stage] = now


def once(config: Path) -> dict[str, dict[str, float]]:
    torch.set_num_threads(1)
    clock = Clock()
    gate = run(config, progress=clock)
    whole = time.process_time()
    subject = load_subject(load(config), "net")
    assert gate.model is not None
    bare = passes(gate.model, subject)
    with freed_memory_kept():
        floor = passes(gate.model, subject)
    layers = [np.random.default_rng(0).standard_normal((3805, each.filters)) for each in gate.record.layers]
    scatters = [rows.T @ rows for rows in layers]
    beside = {
        "the same passes, memory not kept": sum(bare.values()),
        "products alone": seconds(lambda: [rows.T @ rows for rows in layers]),
        "eigenvalues alone": seconds(lambda: [np.linalg.eigvalsh(each) for each in scatters]),
        **{name: imported(modules) for name, modules in IMPORTS.items()},
    }
    return {"gate": clock.seconds | {"whole": whole}, "floor": floor, "beside": beside}


def passes(compressed: nn.Module, subject: Subject) -> dict[str, float]:
    """Seconds for each pass of the floor."""
    assert subject.evaluation is not None
    return {
        "full model, probe": passed(subject.model, subject.probe),
        "full model, evaluation": passed(subject.model, subject.evaluation),
        "compressed model, evaluation": passed(compressed, subject.evaluation),
    }


def imported(modules: str) -> float:
    code = f"import time, {modules}; print(time.process_time())"
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)


def passed(model: nn.Module, batches: Batches) -> float:
    """Seconds for one pass over the data; reading it is part of the pass."""

    def forward() -> None:
        with torch.inference_mode():
            for batch in batches:
                model(*batch.args, **batch.kwargs)

    return seconds(forward)


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def told(name: str, found: list[dict[str, dict[str, float]]]) -> list[Finding]:
    floors = [sum(each["floor"].values()) for each in found]
    whole = [each["gate"]["whole"] / floor for each, floor in zip(found, floors, strict=True)]
    fixed = [sum(each["gate"][stage] for stage in FIXED) for each in found]
    analysis = [
        (each["gate"]["whole"] - start) / floor for each, start, floor in zip(found, fixed, floors, strict=True)
    ]
    drawn = Table("part", "seconds of CPU", "of the floor", title=f"{name}: medians of {len(found)}, one thread")
    middle = median(floors)
    for part in ("gate", "floor", "beside"):
        for stage in found[0][part]:
            taken = median(each[part][stage] for each in found)
            drawn.add_row(stage, f"{taken:.2f}", f"{taken / middle:.3f}")
        drawn.add_section()
    drawn.add_row("whole gate / floor", "", f"{median(whole):.2f}")
    drawn.add_row(f"the same without {', '.join(FIXED)}", f"{median(fixed):.2f} less", f"{median(analysis):.2f}")
    CONSOLE.print(drawn)
    work, wanted = f"gate, {name}", f"<= {WANTED[name]}"
    return [
        Finding(work, f"whole / forward passes, without {', '.join(FIXED)}", median(analysis), wanted),
        Finding(work, "whole / forward passes", median(whole), f"<= {WHOLE[name]}"),
    ]


if __name__ == "__main__":
    main()
