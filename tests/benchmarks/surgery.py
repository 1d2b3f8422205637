"""Print what trace and surgery cost: `python tests/benchmarks/surgery.py [--against 1.6.1] [name ...]`, from the root.

A network of the size of ResNet-50 first: wanted under 2 s on two cores and memory under twice the model. Then each
network of the zoo at half of its filters, ours (traced, cut, proved) beside torch-pruning (cut, and runs), in one run.
torch-pruning is installed into a temporary folder that only its own process sees; where that fails, it is not
measured. It is told which layers feed the output, and otherwise used as its manual says; nobody proves its result.
Seconds are of CPU, on one thread.
"""

# ruff: noqa: E402  the zoo is no package
import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from statistics import median

ZOO_FOLDERS = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "zoo")]
sys.path[:0] = ZOO_FOLDERS

import torch
from classics import BottleneckResNet
from judging import ZOO, halves
from networks import conditioned
from rich.table import Table
from surroundings import CONSOLE, Finding, keep

from pfa_gate.compress.prune import compress
from pfa_gate.graph import inputs_of, trace

LIMIT = 60  # seconds for one network
OUTPUT = "it feeds the model's output"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", default="1.6.1", help="version of torch-pruning")
    parser.add_argument("names", nargs="*", default=list(ZOO))
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    CONSOLE.print(f"torch {torch.__version__}, 1 thread, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    CONSOLE.print(large())
    ours = {name: cut(name) for name in options.names}
    theirs = against(options.against, {name: found.get("output", []) for name, found in ours.items()})
    if isinstance(theirs, str):
        CONSOLE.print(f"torch-pruning {options.against}: not measured: {theirs}")
        theirs = {}
    CONSOLE.print(comparison(ours, theirs))
    keep("surgery", [ratio(ours, theirs)] if theirs else [])


def large() -> Table:
    """Seconds and memory for a network of the size of ResNet-50."""
    model, example = conditioned(BottleneckResNet()), torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        model(example)
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values())
    trace(torch.nn.Linear(2, 2), torch.ones(2, 2))
    with Memory() as memory:
        start, used = time.perf_counter(), time.process_time()
        groups = trace(model, example)
        traced = time.perf_counter() - start
        result = compress(model, groups, halves(groups), inputs_of(example))
        seconds, used = time.perf_counter() - start, time.process_time() - used
    table = Table("ResNet-50, half of every group", "measured", "wanted")
    table.add_row("parameters", f"{sum(each.numel() for each in model.parameters()) / 1e6:.1f} M", "")
    table.add_row("left", f"{sum(each.numel() for each in result.model.parameters()) / 1e6:.1f} M", "")
    table.add_row("proof", f"{result.proof.max_error:.0e} ({result.proof.dtype})", "")
    table.add_row("trace and surgery", f"{seconds:.1f} s (trace {traced:.1f} s; {used:.1f} s of CPU)", "< 2 s")
    table.add_row("memory on top", f"{memory.peak / size:.1f} x the model ({memory.peak / 1e6:.0f} MB)", "< 2 x")
    return table


class Memory:
    """The largest resident size inside the block, on top of that before it; bytes."""

    def __enter__(self) -> "Memory":
        self.peak, self._before, self._done = 0, self._resident(), threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.peak = max(self.peak, self._resident() - self._before)

    @staticmethod
    def _resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cut(name: str) -> dict[str, object]:
    """Ours: seconds, what is left, and how it went."""
    model, example = conditioned(ZOO[name].build()), ZOO[name].example()
    start = time.process_time()
    try:
        groups = trace(model, example)
        result = compress(model, groups, halves(groups), inputs_of(example))
    except Exception as error:
        return {"seconds": time.process_time() - start, "outcome": f"{type(error).__name__}: {error}"}
    seconds = time.process_time() - start
    output = [layer for group in groups.groups if group.frozen == OUTPUT for layer in group.layers]
    left = groups.footprint({name: len(kept) for name, kept in halves(groups).items()}).parameters
    share = left / groups.footprint().parameters
    outcome = "proved" if not result.put_back else f"put back {sorted(result.put_back)}"
    return {"seconds": seconds, "left": share, "outcome": outcome, "output": output}


THEIRS = """
import json, logging, signal, sys, time, warnings
warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
import torch
import torch_pruning
from judging import ZOO
from networks import conditioned

torch.set_num_threads(1)

def late(*_):
    raise TimeoutError("no end")

signal.signal(signal.SIGALRM, late)

def cut(name, output):
    model, example = conditioned(ZOO[name].build()), ZOO[name].example()
    run = (lambda: model(**example)) if isinstance(example, dict) else (lambda: model(example))
    before = sum(each.numel() for each in model.parameters())
    start = time.process_time()
    try:
        pruner = torch_pruning.pruner.MagnitudePruner(
            model,
            example,
            importance=torch_pruning.importance.MagnitudeImportance(p=2),
            pruning_ratio=0.5,
            ignored_layers=[model.get_submodule(each) for each in output],
            output_transform=lambda answer: answer.logits if hasattr(answer, "logits") else answer,
        )
        pruner.step()
        with torch.no_grad():
            run()
    except BaseException as error:
        words = " ".join(str(error).split())[:60]
        return {"seconds": time.process_time() - start, "outcome": f"{type(error).__name__}: {words}"}
    left = sum(each.numel() for each in model.parameters()) / before
    return {"seconds": time.process_time() - start, "left": left, "outcome": "runs" if left < 1 else "nothing cut"}

for name, output in json.load(sys.stdin).items():
    signal.alarm(int(sys.argv[1]))
    found = cut(name, output)
    signal.alarm(0)
    print("ROW", json.dumps([name, found]), flush=True)
"""


def against(version: str, outputs: dict[str, object]) -> dict[str, dict[str, object]] | str:
    """The same networks through torch-pruning, or why they were not."""
    with tempfile.TemporaryDirectory() as folder:
        install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder]
        done = subprocess.run([*install, f"torch-pruning=={version}"], check=False, capture_output=True, text=True)
        if done.returncode:
            return done.stderr.strip().splitlines()[-1]
        path = os.pathsep.join([folder, *ZOO_FOLDERS])
        done = subprocess.run(
            [sys.executable, "-c", THEIRS, str(LIMIT)],
            check=False,
            input=json.dumps(outputs),
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
    rows = [json.loads(line[4:]) for line in done.stdout.splitlines() if line.startswith("ROW ")]
    return dict(rows) if rows else (done.stderr.strip().splitlines() or ["no answer"])[-1]


def comparison(ours: dict[str, dict[str, object]], theirs: dict[str, dict[str, object]]) -> Table:
    table = Table("network", "pfa_gate", "left", "s", "torch-pruning", "left", "s")
    for name, own in ours.items():
        table.add_row(name, *cells(own), *cells(theirs.get(name, {"outcome": "not measured"})))
    good = sum(found["outcome"] == "proved" for found in ours.values())
    runs = sum(found["outcome"] == "runs" for found in theirs.values())
    table.add_section()
    table.add_row(
        f"{len(ours)} networks", f"{good} proved", "", "", f"{runs} run" if theirs else "not measured", "", ""
    )
    return table


def ratio(ours: dict[str, dict[str, object]], theirs: dict[str, dict[str, object]]) -> Finding:
    """Theirs over ours, where ours is proved and theirs runs."""
    ratios = [
        float(str(theirs[name]["seconds"])) / float(str(own["seconds"]))
        for name, own in ours.items()
        if own["outcome"] == "proved" and theirs.get(name, {}).get("outcome") == "runs"
    ]
    measure = f"trace + cut, theirs / ours, median of {len(ratios)} networks"
    CONSOLE.print(f"{measure}: {median(ratios):.2f}")
    return Finding("torch-pruning", measure, median(ratios), ">= 1")


def cells(found: dict[str, object]) -> tuple[str, str, str]:
    left, seconds = found.get("left"), found.get("seconds")
    shown = f"{left:.0%}" if isinstance(left, float) else ""
    return str(found["outcome"]), shown, f"{seconds:.1f}" if isinstance(seconds, float) else ""


if __name__ == "__main__":
    main()
