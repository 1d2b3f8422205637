"""Which counts serve best at equal parameters, and why: `python tests/benchmarks/counts.py --help`.

The inner convolutions of a trained CIFAR ResNet, cut by L1 norm to counts of different makes, before and after
compensation. Spectra and compensation see 1,500 training images; judged on the 2,305 others, by the divergence from the
full model's answers: it tells recipes apart that accuracy on 761 images cannot. (The network itself was trained on all
of them.) Beside PFA, uniform and random counts stand

- `standardised`: PFA-En on responses of unit variance, which leaves correlation and takes scale away,
- `as read`: PFA-En on what the reader reads, position by position behind batch norm and rectifier, not on the maxima,
- `reconstruction`: a size shared out by what the readers lose (recipe.statistic).

Prints a table and, with --json, writes its rows; --sizes and --counts share the work out among processes, and --read
prints the table of what they have written.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch
from recovery import Bench, bench
from resnets import images
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from pfa_gate.analysis.spectrum import Spectrum, analyse
from pfa_gate.compress.prune import compress
from pfa_gate.compress.recover.compensate import compensate
from pfa_gate.compress.select import SELECTIONS, Evidence, keep_last, reader_losses
from pfa_gate.compress.select.reconstruction import Losses
from pfa_gate.recipe import Rule, keep_energy, keep_kl, recipe, recipe_by_losses
from pfa_gate.study.recipes import Keep, RecipeSpace, random, uniform

SAMPLES, POSITIONS = 1500, 16
MAKES = ("PFA", "uniform", "standardised", "as read", "reconstruction", "random")
Taken = Callable[[tuple[Tensor, ...], Tensor], Tensor]


@dataclass(frozen=True)
class Row:
    """One recipe: nats from the full model's answers after the cut and after compensation; shares in percent."""

    depth: int
    size: str
    counts: str
    parameters: float
    cut: float
    compensated: float
    agreement: float
    keep: list[int]


class Rivals:
    """Recipes at the size of another, from statistics that are taken once, when they are asked for."""

    def __init__(self, held: Bench, draws: int) -> None:
        widths = {group.name: group.width for group in held.groups}
        self.space = RecipeSpace(widths, lambda keep: float(held.coupling.footprint(keep).parameters))
        self._held, self._draws = held, draws

    def recipes(self, own: Keep, makes: Sequence[str]) -> Iterator[tuple[str, Keep]]:
        size, target = self.space.footprint, self.space.footprint(own)
        rule = Rule("parameters", target=target)
        for make in makes:
            if make == "PFA":
                yield make, own
            elif make == "uniform":
                yield make, uniform(self.space, target)
            elif make == "reconstruction":
                yield make, recipe_by_losses(self._losses, self.space.widths, size, rule).counts
            elif make == "random":
                yield from ((f"random {draw}", random(self.space, target, 0, draw)) for draw in range(self._draws))
            else:
                yield make, recipe(self._standardised if make == "standardised" else self._as_read, size, rule).counts

    @cached_property
    def _standardised(self) -> dict[str, Spectrum]:
        return {name: each.standardised for name, each in self._held.spectra.items()}

    @cached_property
    def _as_read(self) -> dict[str, Spectrum]:
        return {name: analyse(rows) for name, rows in seen(self._held, "conv2", lambda x, _: drawn(x[0])).items()}

    @cached_property
    def _losses(self) -> dict[str, Losses]:
        held = self._held
        return reader_losses(Evidence(held.program, held.groups, held.spectra, held.probe, 0))


def seen(held: Bench, layer: str, taken: Taken) -> dict[str, Tensor]:
    """By group, what is taken at a convolution of its block, all batches together."""
    rows: dict[str, list[Tensor]] = {group.name: [] for group in held.groups}

    def hook(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda _, inputs, output: rows[name].append(taken(inputs, output))

    places = {name: held.model.get_submodule(f"{name.removesuffix('.conv1')}.{layer}") for name in rows}
    hooks = [module.register_forward_hook(hook(name)) for name, module in places.items()]
    with torch.no_grad():
        for batch in held.probe:
            held.model(*batch.args)
    for each in hooks:
        each.remove()
    return {name: torch.cat(parts) for name, parts in rows.items()}


def drawn(value: Tensor) -> Tensor:
    """Some positions of each image, [n P, C]."""
    flat = value.flatten(2).transpose(1, 2)
    places = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(0))[:POSITIONS]
    return flat[:, places].flatten(0, 1)


def logits(model: nn.Module, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        return functional.log_softmax(torch.cat([model(part) for part in pixels.split(256)]), 1)


def divergence(found: Tensor, wanted: Tensor) -> float:
    return float(functional.kl_div(found, wanted, reduction="batchmean", log_target=True))


def own_counts(spectra: Mapping[str, Spectrum], size: str) -> Keep:
    return {name: keep_kl(each) if size == "kl" else keep_energy(each, float(size)) for name, each in spectra.items()}


def rows(depth: int, arguments: argparse.Namespace) -> Iterator[Row]:
    held = bench(depth, "inner", SAMPLES)
    rivals = Rivals(held, arguments.draws)
    pixels = images("train")[0][SAMPLES:]
    wanted = logits(held.model, pixels)
    orders = SELECTIONS["l1"](Evidence(held.program, held.groups, held.spectra, held.probe, 0))
    whole = rivals.space.footprint(rivals.space.widths)
    for size in arguments.sizes:
        for name, keep in rivals.recipes(own_counts(held.spectra, size), arguments.counts):
            cut = compress(held.model, held.coupling, keep_last(orders, dict(keep)).indices, ((pixels[:2],), {}))
            mended, _ = compensate(held.program, cut.model, cut.axis_indices, held.probe)
            before, after = logits(cut.model, pixels), logits(mended, pixels)
            same = float((after.argmax(1) == wanted.argmax(1)).double().mean())
            yield Row(
                depth, size, name, 100 * rivals.space.footprint(keep) / whole, divergence(before, wanted),
                divergence(after, wanted), 100 * same, list(keep.values()),
            )  # fmt: skip


def table(found: list[Row]) -> Table:
    drawn = Table(title="KL from the full model's answers, in nats, on 2,305 images that no recipe and no recovery saw")
    for head in ("model", "size of", "counts", "parameters", "cut", "compensated", "same answer", "filters kept"):
        drawn.add_column(head, justify="right")
    for row in found:
        drawn.add_row(
            f"ResNet-{row.depth}", row.size, row.counts, f"{row.parameters:.1f} %", f"{row.cut:.3f}",
            f"{row.compensated:.4f}", f"{row.agreement:.1f} %", " ".join(map(str, row.keep)),
        )  # fmt: skip
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", type=int, nargs="+", default=[20])
    parser.add_argument("--sizes", nargs="+", default=["kl", "0.90", "0.80"], help="kl, or an energy of PFA-En")
    parser.add_argument("--counts", nargs="+", default=list(MAKES), choices=MAKES)
    parser.add_argument("--draws", type=int, default=3, help="random recipes")
    parser.add_argument("--threads", type=int, default=2)
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
