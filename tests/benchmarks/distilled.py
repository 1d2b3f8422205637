"""Distillation after compensation on the 3,805 unlabelled images: `python tests/benchmarks/distilled.py --help`.

The augmentation is this script's, as it would be a user's: flips, shifts, and every image mixed with another (the full
model says what a mixed image is). Seconds are CPU time of compensation and distillation, which others on the machine do
not lengthen much: at most 360 are wanted, three minutes of two cores. --choose judges on training images that are not
learnt from, which is what the recipe was chosen by. Prints a table and, with --json, writes its rows.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path

import torch
from counts import divergence, logits
from recovery import bench
from resnets import images
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from pfa_gate.compress.prune import compress
from pfa_gate.compress.recover import CompensateSettings, DistillSettings, compensate
from pfa_gate.compress.recover.distill import distill
from pfa_gate.compress.select import SELECTIONS, Evidence, keep_last
from pfa_gate.model import Batch
from pfa_gate.recipe import keep_energy

ALL, LEARNT = 3805, 3000


@dataclass(frozen=True)
class Row:
    """One cut of one model; accuracies in percent."""

    depth: int
    energy: float
    kept: float
    seed: int
    full: float
    compensated: float
    distilled: float
    error: float
    divergence: float
    steps: int
    seconds: float


def varied(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Flips, shifts by up to three pixels, and up to half of another image mixed in; channels last, for speed."""
    count = len(pixels)
    flipped = torch.rand(count, generator=generator) < 0.5
    pixels = torch.where(flipped[:, None, None, None], pixels.flip(3), pixels)
    padded = functional.pad(pixels, (3, 3, 3, 3))
    tops, lefts = torch.randint(7, (2, count), generator=generator).tolist()
    places = enumerate(zip(tops, lefts, strict=True))
    shifted = torch.stack([padded[index, :, top : top + 32, left : left + 32] for index, (top, left) in places])
    share = 0.5 * torch.rand(count, 1, 1, 1, generator=generator)
    mixed = (1 - share) * shifted + share * shifted[torch.randperm(count, generator=generator)]
    return mixed.contiguous(memory_format=torch.channels_last)


def row(depth: int, energy: float, seed: int, arguments: argparse.Namespace) -> Row:
    learnt = LEARNT if arguments.choose else ALL
    held = bench(depth, "inner", learnt)
    pixels, labels = (part[LEARNT:] for part in images("train")) if arguments.choose else images("test")
    keep = {group.name: keep_energy(held.spectra[group.name], energy) for group in held.groups}
    orders = SELECTIONS[arguments.selection](Evidence(held.program, held.groups, held.spectra, held.probe, seed))
    cut = compress(held.model, held.coupling, keep_last(orders, keep).indices, ((pixels[:2],), {}))
    started = time.process_time()
    mended, _ = compensate(held.program, cut.model, cut.axis_indices, held.probe, CompensateSettings(seed))
    course = DistillSettings(
        arguments.steps, arguments.rate, statistics=arguments.statistics, seed=seed, augment=varied
    )
    lessons = [Batch((part,), {}) for part in torch.cat([each.args[0] for each in held.probe]).split(arguments.batch)]
    taught = distill(held.model, mended, lessons, course).model
    seconds = time.process_time() - started
    wanted, before, after = (logits(model, pixels) for model in (held.model, mended, taught))
    full, compensated, distilled = (
        float((each.argmax(1) == labels).double().mean()) for each in (wanted, before, after)
    )
    return Row(
        depth, energy, 100 * sum(keep.values()) / sum(group.width for group in held.groups), seed, 100 * full,
        100 * compensated, 100 * distilled, 100 * sqrt(distilled * (1 - distilled) / len(labels)),
        divergence(after, wanted), course.steps, seconds,
    )  # fmt: skip


def table(found: list[Row]) -> Table:
    drawn = Table(title="Accuracy in %, one standard error behind it; KL from the full model's answers in nats")
    for head in ("model", "energy", "filters", "seed", "full", "compensated", "distilled", "KL", "steps", "CPU s"):
        drawn.add_column(head, justify="right")
    for each in found:
        drawn.add_row(
            f"ResNet-{each.depth}", f"{each.energy:.2f}", f"{each.kept:.0f} %", str(each.seed), f"{each.full:.1f}",
            f"{each.compensated:.1f}", f"{each.distilled:.1f} ± {each.error:.1f}", f"{each.divergence:.3f}",
            str(each.steps), f"{each.seconds:.0f}",
        )  # fmt: skip
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", type=int, nargs="+", default=[20])
    parser.add_argument("--energies", type=float, nargs="+", default=[0.90, 0.80])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--selection", default="l1")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=64, help="images in a step")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--statistics", choices=["fixed", "batch"], default="fixed")
    parser.add_argument("--choose", action="store_true", help="learn from 3,000 images, judge on the other 805")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--read", type=Path, nargs="+", default=[], help="files of --json; nothing is measured")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = [Row(**row) for path in arguments.read for row in json.loads(path.read_text())]
    for depth in () if arguments.read else arguments.depths:
        for energy in arguments.energies:
            for seed in arguments.seeds:
                found.append(row(depth, energy, seed, arguments))
                print(found[-1], flush=True)
                if arguments.json:
                    arguments.json.write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n")
    Console(width=110).print(table(found))


if __name__ == "__main__":
    main()
