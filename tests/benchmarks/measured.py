"""Which counts keep the answers at equal size: `python tests/benchmarks/measured.py --help`.

The inner convolutions of a trained CIFAR ResNet, cut by `selection: reconstruction` to counts of different makes, at
three sizes, and compensated. Everything is fitted on 1,500 training images; judged on the 2,305 others, by the
divergence from the full model's answers. (The network itself was trained on all of them.)

- `uniform`: one share of every group,
- `reconstruction`: the size shared out by what the readers lose (`recipe.statistic: reconstruction`),
- `measured`: by the divergence of the answers when each group alone is cut and compensated
  (`recipe.statistic: measured`), which sees the 1,500 images alone: it refits on four fifths of them and compares
  answers on the rest.

Prints a table and, with --json, writes its rows; --read prints the table of what others have written.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from counts import divergence, logits
from recovery import Bench, bench
from resnets import images
from rich.console import Console
from rich.table import Table

from pfa_gate.compress.prune import compress
from pfa_gate.compress.recover.compensate import compensate
from pfa_gate.compress.select import Evidence, criterion, keep_last, reader_losses
from pfa_gate.model import Batches
from pfa_gate.pipeline.sensitivity import measured_losses
from pfa_gate.recipe import Rule, recipe_by_losses
from pfa_gate.study.recipes import Keep, RecipeSpace, uniform

SAMPLES = 1500
MAKES = ("uniform", "reconstruction", "measured")


@dataclass(frozen=True)
class Row:
    """One recipe: nats from the full model's answers after compensation; parameters left in percent."""

    depth: int
    size: float
    counts: str
    parameters: float
    divergence: float
    keep: list[int]


def evidence_of(held: Bench) -> Evidence:
    return Evidence(held.program, held.groups, held.spectra, Batches("probe", lambda: iter(held.probe)), 0)


def recipes(held: Bench, sizes: list[float], makes: list[str], selection: str) -> Iterator[tuple[float, str, Keep]]:
    widths = {group.name: group.width for group in held.groups}
    space = RecipeSpace(widths, lambda keep: float(held.coupling.footprint(keep).parameters))
    whole, evidence = space.footprint(widths), evidence_of(held)
    losses = {}
    if "reconstruction" in makes:
        losses["reconstruction"] = reader_losses(evidence)
    if "measured" in makes:
        begun = time.process_time()
        losses["measured"] = measured_losses(evidence, held.coupling, selection)
        print(f"measured: {time.process_time() - begun:.0f} s of CPU", flush=True)
    for size in sizes:
        rule = Rule("parameters", target=size * whole)
        for make in makes:
            if make == "uniform":
                yield size, make, uniform(space, size * whole)
            else:
                yield size, make, recipe_by_losses(losses[make], widths, space.footprint, rule).counts


def rows(depth: int, arguments: argparse.Namespace) -> Iterator[Row]:
    held = bench(depth, "inner", SAMPLES)
    pixels = images("train")[0][SAMPLES:]
    wanted = logits(held.model, pixels)
    orders = criterion(arguments.selection)(evidence_of(held))
    whole = held.coupling.footprint().parameters
    for size, name, keep in recipes(held, arguments.sizes, arguments.counts, arguments.selection):
        indices = keep_last(orders, dict(keep)).indices
        cut = compress(held.model, held.coupling, indices, ((pixels[:2],), {}))
        mended, _ = compensate(held.program, cut.model, cut.axis_indices, held.probe)
        left = 100 * held.coupling.footprint(dict(keep)).parameters / whole
        yield Row(depth, size, name, left, divergence(logits(mended, pixels), wanted), list(keep.values()))


def table(found: list[Row]) -> Table:
    drawn = Table(title="KL from the full model's answers, in nats, on 2,305 images that no recipe and no recovery saw")
    for head in ("model", "size", "counts", "parameters", "divergence", "of uniform", "filters kept"):
        drawn.add_column(head, justify="right")
    base = {(row.depth, row.size): row.divergence for row in found if row.counts == "uniform"}
    for row in found:
        share = f"{100 * row.divergence / base[row.depth, row.size]:.0f} %" if (row.depth, row.size) in base else ""
        drawn.add_row(
            f"ResNet-{row.depth}", f"{row.size:.0%}", row.counts, f"{row.parameters:.1f} %", f"{row.divergence:.4f}",
            share, " ".join(map(str, row.keep)),
        )  # fmt: skip
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", type=int, nargs="+", default=[20])
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.75, 0.6, 0.45], help="shares of the parameters")
    parser.add_argument("--counts", nargs="+", default=list(MAKES), choices=MAKES)
    parser.add_argument("--selection", default="reconstruction")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--read", type=Path, nargs="+", default=[], help="files of --json; nothing is measured")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = [Row(**row) for path in arguments.read for row in json.loads(path.read_text())]
    for depth in () if arguments.read else arguments.depths:
        for row in rows(depth, arguments):
            found.append(row)
            print(row, flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n")
    Console(width=150).print(table(found))


if __name__ == "__main__":
    main()
