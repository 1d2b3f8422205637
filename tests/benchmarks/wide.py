"""Compensation of a layer that reads more columns than there are samples: `python tests/benchmarks/wide.py --help`.

The network of PyTorch's MNIST example (1.2 million parameters, a linear layer of 9,216 columns), its shapes alone:
random weights, and smooth random images as the probe. 60 % of the filters of each group stay. Each run is a process of
its own; prints seconds by the clock and of CPU, what was foreseen, the process's peak memory, and the error left.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from statistics import median
from typing import Any

import torch
from rich.table import Table
from surroundings import CONSOLE, Finding, described, keep
from torch import Tensor, nn
from torch.nn import functional

from pfa_gate.compress.prune import compress
from pfa_gate.compress.recover import CompensateSettings, Forecast, compensate
from pfa_gate.graph import record_model, trace_program
from pfa_gate.model.global_state import freed_memory_kept

KEPT = 0.6


class Net(nn.Module):
    """As in PyTorch's example for MNIST."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3)
        self.fc1, self.fc2 = nn.Linear(9216, 128), nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(self.conv2(self.conv1(x).relu()).relu(), 2)
        return self.fc2(self.fc1(x.flatten(1)).relu())


def once(samples: int, threads: int) -> dict[str, float]:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    net, coarse = Net().eval(), torch.randn(samples + 200, 1, 7, 7)
    images = functional.interpolate(coarse, size=28, mode="bilinear")
    program = record_model(net, (images[:2],), {})
    coupling = trace_program(program)
    keep = {group.name: range(int(group.width * KEPT)) for group in coupling.free}
    cut = compress(net, coupling, keep, ((images[:2],), {}))
    told: list[Forecast] = []
    settings = CompensateSettings(progress=lambda found, _done, _total: told.append(found))
    started, spent = time.perf_counter(), time.process_time()
    with freed_memory_kept():
        mended, _ = compensate(program, cut.model, cut.axis_indices, images[:samples].split(128), settings)
    taken = {"clock": time.perf_counter() - started, "CPU": time.process_time() - spent, "foreseen": told[0].seconds}
    with torch.no_grad():
        wanted = net(images[samples:])
        cut_off, off = (((each(images[samples:]) - wanted).square().mean()) for each in (cut.model, mended))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return taken | {"peak GB": peak, "error left": float(off / cut_off)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="+", default=[600, 4000])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(once(arguments.one, arguments.threads)))
        return
    CONSOLE.print(described())
    drawn, findings = Table(title=f"Medians of {arguments.times}, {arguments.threads} threads"), list[Finding]()
    for samples in arguments.samples:
        command = [sys.executable, __file__, "--one", str(samples), "--threads", str(arguments.threads)]
        runs: list[dict[str, Any]] = [
            json.loads(subprocess.run(command, check=True, capture_output=True).stdout.splitlines()[-1])
            for _ in range(arguments.times)
        ]
        found = {name: median(run[name] for run in runs) for name in runs[0]}
        if not drawn.columns:
            for head in ("samples", *found):
                drawn.add_column(head, justify="right")
        drawn.add_row(f"{samples:,}", *(f"{value:.3f}" for value in found.values()))
        work = f"compensate, 9,216 columns, {samples:,} samples"
        findings += [
            Finding(work, "seconds", found["clock"], "<= 8"),
            Finding(work, "peak GB", found["peak GB"], "<= 1.2"),
        ]
    CONSOLE.print(drawn)
    keep("wide", findings)


if __name__ == "__main__":
    main()
