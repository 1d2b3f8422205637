"""Peak memory of a whole gate for probes of 1,000 and of 100,000 samples: `python tests/benchmarks/memory.py --help`.

Each run in a process of its own, on data that is drawn when it is read, so that nothing but the gate could hold it.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import torch
from rich.table import Table
from surroundings import CONSOLE, Finding, described, keep

from pfa_gate.pipeline.run import run

PROJECT = """
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset


class Drawn(IterableDataset):
    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        for _ in range(int(Path(__file__).with_name("samples").read_text())):
            yield torch.randn(3, 8, 8, generator=generator), 0


def data():
    return DataLoader(Drawn(), batch_size=125)


def build():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 10),
    )
"""

CONFIG = """
version: 1
gates:
  drawn:
    model: {factory: net.py:build}
    probe: {data: net.py:data}
    recipe: {strategy: energy, energy: 0.9}
    recovery: %s
    evaluation: {data: net.py:data}
    budgets: {compressed: {parameters: 100%%}}
"""
WANTED = "<= 1.05"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs=2, default=[1_000, 100_000])
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--recovery", default="[]", help="for instance [compensate], whose bound is its own")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        torch.set_num_threads(1)
        run(arguments.one)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    CONSOLE.print(described())
    few, many = ([peak(count, arguments.recovery) for _ in range(arguments.times)] for count in arguments.samples)
    ratio = median(many) / median(few)
    drawn = Table("samples", "peak resident, median", "largest")
    for count, found in zip(arguments.samples, (few, many), strict=True):
        drawn.add_row(f"{count:,}", f"{median(found):.0f} MiB", f"{max(found):.0f} MiB")
    drawn.add_row("ratio", f"{ratio:.3f}", WANTED)
    CONSOLE.print(drawn)
    low, high = arguments.samples
    keep("memory", [Finding("memory", f"peak resident, {high:,} samples over {low:,}", ratio, WANTED)])


def peak(samples: int, recovery: str) -> float:
    """MiB of one run in a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        for name, text in (("net.py", PROJECT), ("pfa.yaml", CONFIG % recovery), ("samples", str(samples))):
            (Path(place) / name).write_text(text)
        command = [sys.executable, __file__, "--one", str(Path(place) / "pfa.yaml")]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
