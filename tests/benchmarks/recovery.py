"""Accuracy after a cut and its recovery, no labels, no training: `python tests/benchmarks/recovery.py --help`.

The clean CIFAR-10 subset and the trained ResNets of the shared folder; counts of PFA-En, the same for every
selection. Prints a table and, with --json, writes its rows.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import torch
from resnets import images, resnet
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from pfa_gate.coupling import Coupling, Group, Program, export_model, trace_program
from pfa_gate.covariance import accumulate
from pfa_gate.gate.measure import spectra
from pfa_gate.loading import Batch
from pfa_gate.probe import respond
from pfa_gate.recipe import keep_energy
from pfa_gate.recovery import compensate
from pfa_gate.selection import SELECTIONS, Evidence, keep_last
from pfa_gate.spectrum import Spectrum
from pfa_gate.surgery import compress


@dataclass(frozen=True)
class Row:
    """One cut of one model; accuracies and agreement with the full model in percent."""

    depth: int
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
    model = resnet(depth)
    pixels, labels = images("train")
    program = export_model(model, (pixels[:2],), {})
    coupling = trace_program(program, "project" if cut == "inner" else cut)
    groups = tuple(g for g in coupling.free if cut != "inner" or all(name.endswith(".conv1") for name in g.layers))
    layers = [layer for layer in coupling.layers if any(layer.name in group.layers for group in groups)]
    taps = [tap for part in (*groups, *layers) for tap in part.taps]
    moments = accumulate(respond(program, pixels.split(128), taps), {})
    found = spectra(groups, layers, moments).groups
    probe = [
        Batch((part,), {}, named)
        for part, named in zip(pixels[:samples].split(128), labels[:samples].split(128), strict=True)
    ]
    return Bench(model, program, coupling, groups, dict(found), probe)


def rows(arguments: argparse.Namespace) -> Iterator[Row]:
    for depth in arguments.depths:
        held = bench(depth, arguments.cut, arguments.samples)
        pixels, labels = images("test")
        full = answers(held.model, pixels)
        for name in arguments.selections:
            for seed in range(arguments.seeds if name == "random" else 1):
                started = time.process_time()
                orders = SELECTIONS[name](Evidence(held.program, held.groups, held.spectra, held.probe, seed))
                selecting = time.process_time() - started
                for energy in arguments.energies:
                    measured = measure(held, orders, energy, (pixels, labels, full), seed)
                    yield Row(depth, energy, selection=name, seed=seed, selecting=selecting, **measured)


def measure(
    held: Bench, orders: Any, energy: float, test: tuple[Tensor, Tensor, Tensor], seed: int
) -> dict[str, float]:
    pixels, labels, full = test
    keep = {group.name: keep_energy(held.spectra[group.name], energy) for group in held.groups}
    chosen = keep_last(orders, keep).kept
    cut = compress(held.model, held.coupling, chosen, ((pixels[:2],), {}))
    started = time.process_time()
    mended, _ = compensate(held.program, cut.model, cut.kept, held.probe, seed)
    taken = time.process_time() - started
    after = answers(mended, pixels)
    hits = (after == labels).double()
    return {
        "kept": 100 * sum(keep.values()) / sum(group.width for group in held.groups),
        "parameters": 100 * count(cut.model) / count(held.model),
        "full": 100 * float((full == labels).double().mean()),
        "cut": 100 * float((answers(cut.model, pixels) == labels).double().mean()),
        "compensated": 100 * float(hits.mean()),
        "error": 100 * sqrt(float(hits.var()) / len(hits)),
        "agreement": 100 * float((after == full).double().mean()),
        "compensating": taken,
    }


def answers(model: nn.Module, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(part).argmax(1) for part in pixels.split(128)])


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def table(found: list[Row]) -> Table:
    drawn = Table(title="Test accuracy in % after a cut; one standard error of 761 images behind it")
    for head in (
        "model",
        "energy",
        "filters",
        "parameters",
        "selection",
        "full",
        "cut",
        "compensated",
        "agrees",
        "CPU s",
    ):
        drawn.add_column(head, justify="right")
    for row in found:
        after = f"{row.compensated:.1f} ± {row.error:.1f}"
        drawn.add_row(
            f"ResNet-{row.depth}", f"{row.energy:.2f}", f"{row.kept:.0f} %", f"{row.parameters:.0f} %",
            row.selection, f"{row.full:.1f}", f"{row.cut:.1f}", after, f"{row.agreement:.1f}",
            f"{row.selecting:.0f} + {row.compensating:.0f}",
        )  # fmt: skip
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 56])
    parser.add_argument("--energies", type=float, nargs="+", default=[0.95, 0.90, 0.80])
    parser.add_argument("--selections", nargs="+", default=["l1", "correlation", "reconstruction"])
    parser.add_argument("--cut", choices=["inner", "project", "pad"], default="inner", help="what is cut: see residual")
    parser.add_argument("--samples", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=3, help="of whatever is random")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = []
    for row in rows(arguments):
        found.append(row)
        print(row, flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n")
    Console(width=130).print(table(found))


if __name__ == "__main__":
    main()
