"""Print what a gate costs: `python tests/benchmarks/gate.py`, from the root of the repository.

Wanted: the example gate, cold, at most 2.2 s over the import of torch alone where it writes weights alone, and 3.6 s
with all files; the analysis at most 3 times the bare forward passes over the same data; what the program imports beside
torch in 0.35 s of CPU; the plugin's import in a pytest that does not use it under 3 ms.
"""

import os
import platform
import shutil
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
    table.add_row(*cold_gate("weights, pt2, onnx", "<= 3.6 s"))
    table.add_row(*cold_gate("weights", "<= 2.2 s"))
    table.add_row(*program_import())
    for threads in sorted({1, torch.get_num_threads()}):
        table.add_row(*analysis(threads))
    table.add_row(*plugin_import())
    CONSOLE.print(table)


def machine() -> str:
    threads = torch.get_num_threads()
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    busy = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{versions}; {platform.machine()}, {os.cpu_count()} cores, torch threads {threads} unless told, {busy}"


def cold_gate(artifacts: str, wanted: str) -> tuple[str, str, str, str]:
    """Processes of their own, imports and all, in turns with others that import torch and end."""
    # The plugin of Hypothesis imports all of it in each run, for a second.
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:hypothesispytest", "--pfa", "--pfa-no-cache"]
    bare, whole = [], []
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "example_project")
        shutil.copytree(CONFIG.parent, project, ignore=shutil.ignore_patterns(".pfa"))
        text = CONFIG.read_text()
        (project / "pfa.yaml").write_text(text.replace("    watch:", f"    artifacts: [{artifacts}]\n    watch:"))
        for _ in range(5):
            bare.append(taken([sys.executable, "-c", "import torch"], folder))
            whole.append(taken([*pytest, project.name], folder))
    clock, cpu = (median(each[kind] for each in whole) - median(each[kind] for each in bare) for kind in range(2))
    how = f"over import torch, medians of 5; {cpu:.1f} s of CPU; pytest --pfa"
    return f"example gate, cold, [{artifacts}]", f"{clock:.1f} s", wanted, how


def taken(command: list[str], folder: str) -> tuple[float, float]:
    """Seconds by the clock and of CPU that a process takes."""
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    clock, after = time.perf_counter() - start, os.times()
    return clock, after.children_user + after.children_system - before.children_user - before.children_system


IMPORTING = """
import sys, time, torch
before, start = len(sys.modules), time.process_time()
import pfa_gate.pipeline.run
print(time.process_time() - start, len(sys.modules) - before)
"""


def program_import() -> tuple[str, str, str, str]:
    """What the program imports beside torch, from compiled files as an installation has them."""
    with tempfile.TemporaryDirectory() as compiled:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = compiled
        command = [sys.executable, "-c", IMPORTING]
        runs = [
            subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
            for _ in range(10)
        ][1:]
    spent = median(float(seconds) for seconds, _ in runs)
    return "program import", f"{spent:.2f} s of CPU", "<= 0.35", f"{runs[0][1]} modules beside torch's; median of 9"


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
