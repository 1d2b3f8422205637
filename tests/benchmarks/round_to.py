"""What counts in multiples save and cost: `python tests/benchmarks/round_to.py --help`.

A trained CIFAR ResNet, cut at equal targets of MACs to counts as they come and to those of `round_to: auto`, by the
selection `reconstruction`, and compensated. Everything is fitted on 1,500 training images; the divergence from the full
model's answers is that on the 2,305 others. Times are those of the files in ONNX Runtime, on one thread, by CPU time,
against the full model's file. Prints a table.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from counts import divergence, logits
from measured import evidence_of
from recovery import bench
from resnets import images
from rich.console import Console
from rich.table import Table

from pfa_gate.compress.prune import compress
from pfa_gate.compress.recover.compensate import compensate
from pfa_gate.compress.select import criterion, keep_last, reader_losses
from pfa_gate.model import Batch
from pfa_gate.pipeline.latency import as_file
from pfa_gate.recipe import Rule, recipe, recipe_by_losses
from pfa_gate.redundancy import RoundTo
from pfa_gate.runtime.cpu_time import CpuTimes, cpu_times

SAMPLES = 1500
BATCHES = (1, 64)
ROUND_TO: dict[str, RoundTo] = {"1": 1, "4": 4, "8": 8, "auto": "auto"}


@dataclass(frozen=True)
class Row:
    """A recipe: share of the MACs, nats from the full model's answers, and times of the file by samples of a call."""

    depth: int
    target: float
    statistic: str
    round_to: str
    macs: float
    divergence: float
    times: tuple[CpuTimes, ...]
    keep: list[int]


def rows(depth: int, arguments: argparse.Namespace) -> Iterator[Row]:
    held = bench(depth, arguments.cut, SAMPLES)
    evidence = evidence_of(held)
    orders = criterion("reconstruction")(evidence)
    losses = reader_losses(evidence) if "reconstruction" in arguments.statistics else {}
    widths = {group.name: group.width for group in held.groups}
    pixels, example = images("train")[0][SAMPLES:], Batch((images("test")[0][:2],), {})
    wanted, full = logits(held.model, pixels), as_file(held.model, example)
    whole = held.coupling.footprint().macs

    def size(keep: dict[str, int]) -> float:
        return float(held.coupling.footprint(keep).macs)

    for target in arguments.macs:
        for statistic in arguments.statistics:
            for word in arguments.round_to:
                rule = Rule("macs", None, target * whole, ROUND_TO[word])
                found = recipe(held.spectra, size, rule)
                if statistic == "reconstruction":
                    found = recipe_by_losses(losses, widths, size, rule)
                indices = keep_last(orders, found.counts).indices
                cut = compress(held.model, held.coupling, indices, (example.args, {}))
                mended, _ = compensate(held.program, cut.model, cut.axis_indices, held.probe)
                small, calls = as_file(mended, example), [Batch((images("test")[0][:n],), {}) for n in BATCHES]
                times = tuple(cpu_times(full.prepared(call), small.prepared(call), longest=20) for call in calls)
                apart = divergence(logits(mended, pixels), wanted)
                keep = list(found.counts.values())
                yield Row(depth, target, statistic, word, size(found.counts) / whole, apart, times, keep)


def table(found: list[Row]) -> Table:
    drawn = Table(title="Time of the file against the full model's, and KL from its answers on 2,305 unseen images")
    calls = [f"time, {size} a call" for size in BATCHES]
    for head in ("model", "target", "statistic", "round_to", "MACs", *calls, "divergence", "of odd", "filters kept"):
        drawn.add_column(head, justify="right")
    odd = {(row.depth, row.target, row.statistic): row.divergence for row in found if row.round_to == "1"}
    for row in found:
        base = odd.get((row.depth, row.target, row.statistic))
        drawn.add_row(
            f"ResNet-{row.depth}", f"{row.target:.0%}", row.statistic, row.round_to, f"{100 * row.macs:.1f} %",
            *(f"{each.ratio:.3f} ±{each.error:.3f}" for each in row.times), f"{row.divergence:.4f}",
            "" if base is None else f"{100 * row.divergence / base:.0f} %", " ".join(map(str, row.keep)),
        )  # fmt: skip
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", type=int, nargs="+", default=[20])
    parser.add_argument("--macs", type=float, nargs="+", default=[0.64], help="targets, as shares of the full MACs")
    parser.add_argument("--round-to", nargs="+", default=["1", "auto"], choices=ROUND_TO)
    parser.add_argument("--statistics", nargs="+", default=["energy"], choices=["energy", "reconstruction"])
    parser.add_argument("--cut", default="inner", choices=["inner", "project", "pad"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: list[Row] = []
    for depth in arguments.depths:
        for row in rows(depth, arguments):
            found.append(row)
            print(row, flush=True)
    Console(width=170).print(table(found))


if __name__ == "__main__":
    main()
