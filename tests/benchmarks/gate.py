"""Print what a gate costs: `python tests/benchmarks/gate.py`, from the root of the repository.

Wanted: the example gate, cold, in under 20 s on two cores; the analysis at most 3 times the bare forward
passes over the same data; the plugin's import in a pytest that does not use it under 3 ms.
"""

import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from pfa_gate.config import load
from pfa_gate.model import Batches
from pfa_gate.model import load as load_subject
from pfa_gate.pipeline.run import run

CONSOLE = Console(width=110)
ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "example_project" / "pfa.yaml"
ANALYSIS = ("probing", "taking spectra", "deciding", "cutting and proving", "scoring", "judging")


def main() -> None:
    CONSOLE.print(machine())
    table = Table("what", "measured", "wanted", "how")
    table.add_row(*cold_gate())
    for threads in sorted({1, torch.get_num_threads()}):
        table.add_row(*analysis(threads))
    table.add_row(*plugin_import())
    CONSOLE.print(table)


def machine() -> str:
    threads = torch.get_num_threads()
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    busy = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{versions}; {platform.machine()}, {os.cpu_count()} cores, torch threads {threads} unless told, {busy}"


def cold_gate() -> tuple[str, str, str, str]:
    """A process of its own, imports and all."""
    command = [sys.executable, "-m", "pytest", "-q", "--pfa", "--pfa-no-cache", "example_project"]
    with tempfile.TemporaryDirectory() as output:
        start = time.perf_counter()
        subprocess.run([*command, f"--pfa-output={output}"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        taken = time.perf_counter() - start
    return "example gate, cold", f"{taken:.1f} s", "< 20 s", "pytest --pfa example_project, once"


def analysis(threads: int) -> tuple[str, str, str, str]:
    """From the probe to the record, against the passes that no analysis could do without.

    Several threads on cores that are busy with something else say more about the scheduler than about the gate.
    """
    torch.set_num_threads(threads)
    subject = load_subject(load(CONFIG), "digits")
    assert subject.evaluation is not None
    passes = ((subject.model, subject.probe), *[(subject.model, subject.evaluation)] * 2)
    bare, measured = [], []
    with tempfile.TemporaryDirectory() as output:
        for _ in range(6):
            seconds = run(CONFIG, output=output).record.seconds
            measured.append(sum(seconds[stage] for stage in ANALYSIS))
            bare.append(sum(forward(model, batches) for model, batches in passes))
    # The first round pays for what torch imports and tunes on its first use.
    ratio = median(one / other for one, other in zip(measured[1:], bare[1:], strict=True))
    how = f"{threads} threads: {1e3 * median(measured[1:]):.0f} ms over {1e3 * median(bare[1:]):.0f} ms, median of 5"
    return "analysis / forward passes", f"{ratio:.2f}", "<= 3", how


def forward(model: nn.Module, batches: Batches) -> float:
    """Seconds for one pass over the data; reading it is part of the pass."""
    start = time.perf_counter()
    with torch.inference_mode():
        for batch in batches:
            model(*batch.args, **batch.kwargs)
    return time.perf_counter() - start


def plugin_import() -> tuple[str, str, str, str]:
    """What a pytest run that does not use the gate pays for having it installed."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [loading(Path(folder)) for _ in range(10)][1:]
    taken = 1e3 * median(seconds for seconds, _ in runs)
    how = f"brings in {', '.join(runs[0][1])}; median of 9"
    return "plugin import, unused", f"{taken:.2f} ms", "< 3 ms", how


TIMED = """
import importlib.metadata, sys, time, pytest
load = importlib.metadata.EntryPoint.load

def timed(entry):
    before, start = set(sys.modules), time.perf_counter()
    loaded = load(entry)
    if entry.name == "pfa_gate":
        print("LOADED", time.perf_counter() - start, *sorted(set(sys.modules) - before))
    return loaded

importlib.metadata.EntryPoint.load = timed
pytest.main(["-q", "-p", "no:cacheprovider", "--collect-only"])
"""


def loading(folder: Path) -> tuple[float, list[str]]:
    """Seconds that pytest takes to load the plugin, and the modules this brings in."""
    output = subprocess.run([sys.executable, "-c", TIMED], cwd=folder, capture_output=True, text=True, check=True)
    line = next(line for line in output.stdout.splitlines() if line.startswith("LOADED "))
    _, seconds, *modules = line.split()
    return float(seconds), modules


if __name__ == "__main__":
    main()
