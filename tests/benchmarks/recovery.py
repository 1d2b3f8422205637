"""Accuracy after a cut and its recovery, no labels, no training: `python tests/benchmarks/recovery.py --help`.

The clean CIFAR-10 subset and the trained ResNets of the shared folder; counts of PFA-En, the same for every
selection. Spectra, selection and compensation see the same 1,500 training images (--samples), accuracy is that of the
test images. Prints a table and, with --json, writes its rows; --read prints the table of rows that several such runs
have written side by side.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from resnets import images, resnet
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from pfa_gate.analysis.covariance import accumulate
from pfa_gate.analysis.responses import respond
from pfa_gate.analysis.spectrum import Spectrum
from pfa_gate.compress.prune import compress
from pfa_gate.compress.recover import CompensateSettings, compensate
from pfa_gate.compress.select import SELECTIONS, Evidence, keep_last
from pfa_gate.graph import Coupling, Group, Program, record_model, trace_program
from pfa_gate.model import Batch
from pfa_gate.pipeline.spectra import spectra
from pfa_gate.recipe import keep_energy


@dataclass(frozen=True)
class Row:
    """One cut of one model; accuracies and agreement in percent, divergence from the full model's answers in nats."""

    depth: int
    layers: str
    energy: float
    kept: float
    parameters: float
    selection: str
    seed: int
    full: float
    cut: float
    compensated: float
    error: float
    agreement: float
    divergence: float
    selecting: float
    compensating: float


@dataclass(frozen=True)
class Bench:
    """A model with what its cuts need."""

    model: nn.Module
    program: Program
    coupling: Coupling
    groups: tuple[Group, ...]
    spectra: dict[str, Spectrum]
    probe: list[Batch]


def bench(depth: int, cut: str, samples: int) -> Bench:
    """The network, and the spectra and the probe of the first so many training images: nothing sees the others."""
    model = resnet(depth)
    pixels, labels = (part[:samples] for part in images("train"))
    program = record_model(model, (pixels[:2],), {})
    coupling = trace_program(program, "project" if cut == "inner" else cut)
    groups = tuple(g for g in coupling.free if cut != "inner" or all(name.endswith(".conv1") for name in g.layers))
    layers = [layer for layer in coupling.layers if any(layer.name in group.layers for group in groups)]
    taps = [tap for part in (*groups, *layers) for tap in part.taps]
    moments = accumulate(respond(program, pixels.split(128), taps), {})
    found = spectra(groups, layers, moments).groups
    probe = [Batch((part,), {}, named) for part, named in zip(pixels.split(128), labels.split(128), strict=True)]
    return Bench(model, program, coupling, groups, dict(found), probe)


def rows(arguments: argparse.Namespace) -> Iterator[Row]:
    for depth in arguments.depths:
        held = bench(depth, arguments.cut, arguments.samples)
        pixels, labels = images("test")
        full = outputs(held.model, pixels)
        for name in arguments.selections:
            for seed in range(arguments.seeds if name == "random" or arguments.redraw else 1):
                started = time.process_time()
                orders = SELECTIONS[name](Evidence(held.program, held.groups, held.spectra, held.probe, seed))
                selecting = time.process_time() - started
                for energy in arguments.energies:
                    measured = measure(held, orders, energy, (pixels, labels, full), seed)
                    yield Row(depth, arguments.cut, energy, selection=name, seed=seed, selecting=selecting, **measured)


def measure(
    held: Bench, orders: Any, energy: float, test: tuple[Tensor, Tensor, Tensor], seed: int
) -> dict[str, float]:
    pixels, labels, full = test
    keep = {group.name: keep_energy(held.spectra[group.name], energy) for group in held.groups}
    chosen = keep_last(orders, keep).indices
    cut = compress(held.model, held.coupling, chosen, ((pixels[:2],), {}))
    started = time.process_time()
    mended, _ = compensate(held.program, cut.model, cut.axis_indices, held.probe, CompensateSettings(seed))
    taken = time.process_time() - started
    shares, after = full.log_softmax(1), outputs(mended, pixels)
    gaps = (shares.exp() * (shares - after.log_softmax(1))).sum(1)
    full, after = full.argmax(1), after.argmax(1)
    hits = (after == labels).double()
    return {
        "kept": 100 * sum(keep.values()) / sum(group.width for group in held.groups),
        "parameters": 100 * count(cut.model) / count(held.model),
        "full": 100 * float((full == labels).double().mean()),
        "cut": 100 * float((outputs(cut.model, pixels).argmax(1) == labels).double().mean()),
        "compensated": 100 * float(hits.mean()),
        "error": 100 * sqrt(float(hits.var()) / len(hits)),
        "agreement": 100 * float((after == full).double().mean()),
        "divergence": float(gaps.mean()),
        "compensating": taken,
    }


def outputs(model: nn.Module, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(part).double() for part in pixels.split(128)])


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def table(found: Sequence[Row]) -> Table:
    """Seeds of one cut share a row: their mean, and behind it what one test of 761 images may be off by."""
    drawn = Table(title="Test accuracy in % after a cut; one standard error of 761 images behind it")
    for head in (
        "model", "layers", "energy", "filters", "parameters", "selection", "full", "cut", "compensated", "spread",
        "agrees", "divergence", "CPU s",
    ):  # fmt: skip
        drawn.add_column(head, justify="right")
    groups: dict[tuple[int, str, float, str], list[Row]] = defaultdict(list)
    for row in found:
        groups[row.depth, row.layers, row.energy, row.selection].append(row)
    for (depth, layers, energy, selection), rows in groups.items():
        first, after = rows[0], [row.compensated for row in rows]
        drawn.add_row(
            f"ResNet-{depth}", layers, f"{energy:.2f}", f"{first.kept:.0f} %", f"{first.parameters:.0f} %", selection,
            f"{first.full:.1f}", f"{mean(row.cut for row in rows):.1f}",
            f"{mean(after):.1f} ± {mean(row.error for row in rows):.1f}",
            f"{stdev(after):.1f} of {len(rows)}" if len(rows) > 1 else "",
            f"{mean(row.agreement for row in rows):.1f}",
            f"{mean(row.divergence for row in rows):.4f}",
            f"{mean(row.selecting for row in rows):.0f} + {mean(row.compensating for row in rows):.0f}",
        )  # fmt: skip
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 56])
    parser.add_argument("--energies", type=float, nargs="+", default=[0.95, 0.90, 0.80])
    parser.add_argument("--selections", nargs="+", default=["l1", "correlation", "reconstruction"])
    parser.add_argument("--cut", choices=["inner", "project", "pad"], default="inner", help="what is cut: see residual")
    parser.add_argument("--samples", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=3, help="of the selection random")
    parser.add_argument("--redraw", action="store_true", help="every selection with each seed, which draws the patches")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--read", type=Path, nargs="+", default=[], help="files of --json; nothing is measured")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = [Row(**row) for path in arguments.read for row in json.loads(path.read_text())]
    for row in () if arguments.read else rows(arguments):
        found.append(row)
        print(row, flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n")
    Console(width=150).print(table(found))


if __name__ == "__main__":
    main()
