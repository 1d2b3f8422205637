"""What selection and compensation cost: `python tests/benchmarks/passes.py --help`.

Time in bare forward passes over the same probe images, and memory beyond that of the forward passes, for probes of
several sizes, each in a process of its own on one thread. Seconds are CPU time. Prints a table.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from recovery import bench
from rich.console import Console
from rich.table import Table

from pfa_gate.compress.prune import compress
from pfa_gate.compress.recover.compensate import compensate
from pfa_gate.compress.select import SELECTIONS, Evidence, keep_last
from pfa_gate.graph import inputs_of
from pfa_gate.recipe import keep_energy

THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def timed(task: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    made = task()
    return time.process_time() - started, made


def peak() -> float:
    """Peak resident memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(depth: int, energy: float, samples: int) -> dict[str, float]:
    torch.set_num_threads(1)
    held = bench(depth, "inner", samples)

    def forward() -> None:
        with torch.no_grad():
            for batch in held.probe:
                held.model(*inputs_of(batch)[0])

    passes = [timed(forward)[0] for _ in range(3)]
    before = peak()
    evidence = Evidence(held.program, held.groups, held.spectra, held.probe, 0)
    selecting, orders = timed(lambda: SELECTIONS["reconstruction"](evidence))
    keep = {group.name: keep_energy(held.spectra[group.name], energy) for group in held.groups}
    cut = compress(held.model, held.coupling, keep_last(orders, keep).indices, (inputs_of(held.probe[0])[0], {}))
    compensating, _ = timed(lambda: compensate(held.program, cut.model, cut.axis_indices, held.probe))
    passes += [timed(forward)[0] for _ in range(2)]
    once = statistics.median(passes)
    return {
        "samples": samples, "pass": once, "selecting": selecting, "compensating": compensating,
        "passes": (selecting + compensating) / once, "memory": peak() - before,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=56)
    parser.add_argument("--energy", type=float, default=0.90)
    parser.add_argument("--samples", type=int, nargs="+", default=[761, 1500, 3805])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.depth, arguments.energy, arguments.one)))
        return
    drawn = Table(title=f"ResNet-{arguments.depth} at energy {arguments.energy}: reconstruction and compensate")
    for head in ("images", "one pass", "selection", "compensate", "passes in all", "memory beyond"):
        drawn.add_column(head, justify="right")
    common = [sys.executable, __file__, "--depth", str(arguments.depth), "--energy", str(arguments.energy)]
    for samples in arguments.samples:
        child = subprocess.run(
            [*common, "--one", str(samples)], env=os.environ | THREADS, check=True, stdout=subprocess.PIPE, text=True
        )
        row = json.loads(child.stdout.splitlines()[-1])
        drawn.add_row(
            str(samples), f"{row['pass']:.1f} s", f"{row['selecting']:.1f} s", f"{row['compensating']:.1f} s",
            f"{row['passes']:.1f}", f"{row['memory']:.0f} MiB",
        )  # fmt: skip
    Console(width=100).print(drawn)


if __name__ == "__main__":
    main()
