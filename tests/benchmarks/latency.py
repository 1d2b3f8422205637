"""How sure a latency is on a busy machine: `python tests/benchmarks/latency.py --help`.

A trained ResNet-20 against the same network with the inner convolutions cut to a share of the MACs, both as ONNX files
on one thread, for calls of one image. Each clock takes the whole measurement several times, with sessions of its own
each time: by CPU time, as gates do it, and by the wall clock. Printed are the standard error that a measurement gives
of itself, and how far the measurements scatter: their standard deviation is what the standard error should be.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from recovery import bench
from resnets import images
from rich.console import Console
from rich.table import Table

from pfa_gate.compress.prune import compress
from pfa_gate.model import Batch
from pfa_gate.pipeline.latency import as_file
from pfa_gate.recipe import Rule, recipe
from pfa_gate.runtime.cpu_time import CpuTimes, cpu_times

CLOCKS = {"CPU time": time.process_time, "wall clock": time.perf_counter}


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that do nothing but work."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def measured(repeats: int, batch: Batch, share: float) -> dict[str, list[CpuTimes]]:
    held = bench(20, "inner", 512)
    whole = held.coupling.footprint().macs
    keep = recipe(
        held.spectra, lambda keep: held.coupling.footprint(keep).macs, Rule("macs", None, share * whole)
    ).counts
    indices = {name: torch.arange(count).numpy() for name, count in keep.items()}
    small = compress(held.model, held.coupling, indices, (batch.args, {})).model
    found: dict[str, list[CpuTimes]] = {name: [] for name in CLOCKS}
    for _ in range(repeats):
        for name, clock in CLOCKS.items():
            first, other = (as_file(model, Batch((images("test")[0][:2],), {})) for model in (held.model, small))
            found[name].append(timed(first.prepared(batch), other.prepared(batch), clock))
            print(name, found[name][-1], flush=True)
    return found


def timed(first: Callable[[], object], other: Callable[[], object], clock: Callable[[], float]) -> CpuTimes:
    return cpu_times(first, other, clock=clock, tick=1e-6)


def table(found: dict[str, list[CpuTimes]], load: float) -> Table:
    drawn = Table(title=f"ResNet-20, load {load:.1f}, {len(found['CPU time'])} measurements by each clock")
    for head in ("clock", "ratio", "standard error, median", "largest", "scatter", "pairs, median"):
        drawn.add_column(head, justify="right")
    for name, times in found.items():
        ratios, errors = [each.ratio for each in times], [each.error for each in times]
        drawn.add_row(
            name, f"{statistics.median(ratios):.3f}", f"{statistics.median(errors):.4f}", f"{max(errors):.4f}",
            f"{statistics.stdev(ratios):.4f}", f"{statistics.median(each.pairs for each in times):.0f}",
        )  # fmt: skip
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--macs", type=float, default=0.64, help="share of the MACs that is left")
    parser.add_argument("--busy", type=int, default=0, help="processes that keep the machine busy")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    batch = Batch((images("test")[0][: arguments.batch],), {})
    with busy(arguments.busy):
        found = measured(arguments.repeats, batch, arguments.macs)
        Console(width=120).print(table(found, os.getloadavg()[0]))


if __name__ == "__main__":
    main()
