"""The tables of the paper in form, on what can be run here: `python tests/benchmarks/paper_tables.py --help`.

Tables 1 to 4 of "Filter Distillation for Network Compression" (arXiv:1807.10585v4, appendix B) give parameters, FLOPs
and the change of accuracy for PFA-En at 0.99 to 0.80 and for PFA-KL, after training. Here every convolution of a
trained CIFAR ResNet is cut by its own recipe (`residual: pad`), and the change of accuracy is given before any
training, after `compensate`, and after `distill`: on 761 test images, fitted on 1,500 unlabelled training images.
Standard error 1 pp.

--domains gives the domain adaptation of the paper's section 4.3 as one table: PFA-KL on images of some classes alone.
The paper has 2 and 10 of the 100 classes of CIFAR-100; here they are 2 and 5 of the 10 of CIFAR-10.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from recovery import Bench, bench, outputs
from resnets import images
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from pfa_gate.analysis.covariance import accumulate
from pfa_gate.analysis.responses import respond
from pfa_gate.compress.prune import compress
from pfa_gate.compress.recover import DistillSettings, compensate, distill
from pfa_gate.compress.select import SELECTIONS, Evidence, keep_last
from pfa_gate.graph.cost import cost
from pfa_gate.model import Batch, Batches
from pfa_gate.pipeline.spectra import spectra
from pfa_gate.recipe import keep_energy, keep_kl

ENERGIES = ("0.99", "0.98", "0.97", "0.96", "0.95", "0.93", "0.90", "0.80")
RECIPES = (*ENERGIES, "kl")
# Recipe -> change of accuracy in pp, trainable variables in %, FLOPs in %; the accuracy of the full model under "full".
Published = dict[str, tuple[float, float, float]]
_NUMBERS = {
    "Table 1: VGG-16, CIFAR-10": (
        "92.07; 0.31 18.25 51.98; 0.35 12.70 42.27; 0.14 10.03 36.29; -0.01 8.33 31.67; -0.05 7.12 28.21; "
        "-0.27 5.45 22.56; -0.97 3.87 16.61; -3.97 1.38 6.10; 0.244 19.63 41.70"
    ),
    "Table 2: VGG-16, CIFAR-100": (
        "68.36; 1.68 43.15 70.97; 1.41 33.14 59.97; 1.21 27.13 52.13; 0.78 22.72 45.91; 0.50 19.29 40.31; "
        "-0.27 14.39 32.06; -2.37 9.66 23.16; -8.71 3.01 8.12; 1.40 41.91 55.29"
    ),
    "Table 3: ResNet-56, CIFAR-10": (
        "93.15; -0.20 72.60 80.69; -0.18 61.89 70.04; -0.80 54.10 61.85; -0.70 48.27 55.46; -1.01 43.36 49.51; "
        "-1.25 36.11 41.61; -1.81 27.42 28.08; -4.10 12.57 14.56; -0.65 59.97 61.57"
    ),
    "Table 4: ResNet-56, CIFAR-100": (
        "70.92; -1.86 90.28 89.46; -1.68 81.95 79.36; -2.33 74.92 71.54; -2.75 68.50 64.80; -3.50 62.76 59.20; "
        "-4.29 35.87 41.61; -5.16 27.24 29.18; -9.70 19.58 16.76; -2.97 74.00 65.60"
    ),
}
SEVERAL = (("bird", "horse"), ("plane", "ship"), ("cat", "dog"), ("car", "truck"))
NAMES = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DOMAINS = (
    *SEVERAL,
    ("plane", "bird", "deer", "frog", "ship"),
    ("car", "cat", "dog", "horse", "truck"),
    NAMES,
)


@dataclass(frozen=True)
class Row:
    """One recipe of one network; shares and accuracies in percent, None where that was not run."""

    depth: int
    recipe: str
    parameters: float
    flops: float
    full: float
    cut: float
    compensated: float
    distilled: float | None
    seconds: float


@dataclass(frozen=True)
class Domain:
    """PFA-KL on the images of some classes; accuracy on the test images of these, among these alone, in percent."""

    depth: int
    classes: list[str]
    samples: int
    parameters: float
    flops: float
    full: float
    compensated: float
    tested: int


def published(table: str) -> tuple[float, Published]:
    """The accuracy of the paper's full model, and each of its recipes."""
    full, *rows = _NUMBERS[table].split(";")
    values = [tuple(map(float, row.split())) for row in rows]
    return float(full), {name: (value[0], value[1], value[2]) for name, value in zip(RECIPES, values, strict=True)}


def cut_by(held: Bench, recipe: str, orders: object) -> tuple[nn.Module, nn.Module, Bench]:
    """The model cut and the same compensated."""
    rule = keep_kl if recipe == "kl" else lambda spectrum: keep_energy(spectrum, float(recipe))
    keep = {group.name: rule(held.spectra[group.name]) for group in held.groups}
    example = next(iter(held.probe)).args
    cut = compress(held.model, held.coupling, keep_last(orders, keep).indices, ((example[0][:2],), {}))  # type: ignore[arg-type]
    mended, _ = compensate(held.program, cut.model, cut.axis_indices, held.probe)
    return cut.model, mended, held


def orders_of(held: Bench, selection: str) -> object:
    probe = Batches("probe", lambda: iter(held.probe))
    return SELECTIONS[selection](Evidence(held.program, held.groups, held.spectra, probe, 0))


def rows(depth: int, arguments: argparse.Namespace) -> Iterator[Row]:
    held = bench(depth, "pad", arguments.samples)
    pixels, labels = images("test")
    example = Batch((pixels[:2],), {})
    whole, orders = cost(held.model, example), orders_of(held, arguments.selection)
    full = accuracy(outputs(held.model, pixels), labels)
    for recipe in arguments.recipes:
        begun = time.process_time()
        cut, mended, _ = cut_by(held, recipe, orders)
        small = cost(mended, example)
        row = Row(
            depth, recipe, 100 * small.parameters / whole.parameters, 100 * small.macs / whole.macs, full,
            accuracy(outputs(cut, pixels), labels), accuracy(outputs(mended, pixels), labels), None, 0.0,
        )  # fmt: skip
        if arguments.steps:
            few = [Batch((part,), {}) for part in torch.split(images("train")[0], 64)]
            taught = distill(held.model, mended, few, DistillSettings(arguments.steps)).model
            row = replace(row, distilled=accuracy(outputs(taught, pixels), labels))
        yield replace(row, seconds=time.process_time() - begun)


def domains(depth: int, arguments: argparse.Namespace) -> Iterator[Domain]:
    held = bench(depth, "pad", arguments.samples)
    pixels, labels = images("train")
    test, named = images("test")
    example = Batch((test[:2],), {})
    whole = cost(held.model, example)
    layers = [layer for layer in held.coupling.layers if any(layer.name in group.layers for group in held.groups)]
    taps = [tap for group in held.groups for tap in group.taps] + [tap for layer in layers for tap in layer.taps]
    for classes in DOMAINS:
        numbers = torch.tensor([NAMES.index(name) for name in classes])
        few = pixels[torch.isin(labels, numbers)][: arguments.domain_samples]
        parts = torch.split(few, 128)
        found = spectra(held.groups, layers, accumulate(respond(held.program, parts, taps), {})).groups
        own = replace(held, spectra=dict(found), probe=[Batch((part,), {}) for part in parts])
        _, mended, _ = cut_by(own, "kl", orders_of(own, arguments.selection))
        small, chosen = cost(mended, example), torch.isin(named, numbers)
        full, compensated = (
            accuracy(outputs(model, test[chosen])[:, numbers], torch.searchsorted(numbers, named[chosen]))
            for model in (held.model, mended)
        )
        shares = (100 * small.parameters / whole.parameters, 100 * small.macs / whole.macs)
        yield Domain(depth, list(classes), len(few), *shares, full, compensated, int(chosen.sum()))


def accuracy(answers: Tensor, labels: Tensor) -> float:
    return 100 * float((answers.argmax(1) == labels).double().mean())


def table(found: Sequence[Row]) -> Iterator[Table]:
    """The tables of the paper that can be had here beside its numbers, those that cannot, and what it does not have."""
    depths = {"Table 3: ResNet-56, CIFAR-10": 56}
    for name, depth in depths.items():
        yield _table(f"{name}; paper: arXiv:1807.10585v4", _of(found, depth), published(name))
    for depth in sorted({row.depth for row in found} - set(depths.values())):
        yield _table(f"ResNet-{depth}, CIFAR-10; not in the paper", _of(found, depth), None)
    yield _not_run([name for name in _NUMBERS if name not in depths])


def _of(found: Sequence[Row], depth: int) -> dict[str, Row]:
    return {row.recipe: row for row in found if row.depth == depth}


def _named(recipe: str) -> str:
    return "PFA-KL" if recipe == "kl" else f"PFA-En {recipe}"


def _not_run(names: Sequence[str]) -> Table:
    drawn = Table(title="Not run here: parameters, FLOPs and change of accuracy as published (arXiv:1807.10585v4)")
    drawn.add_column("recipe")
    for name in names:
        drawn.add_column(name, justify="right")
    drawn.add_row("full", *(f"{published(name)[0]:.2f}" for name in names))
    for recipe in RECIPES:
        values = [published(name)[1][recipe] for name in names]
        drawn.add_row(_named(recipe), *(f"{two:.1f} %, {three:.1f} %, {one:+.2f}" for one, two, three in values))
    return drawn


def _table(title: str, own: dict[str, Row], paper: tuple[float, Published] | None) -> Table:
    drawn = Table(title=title)
    heads = ("recipe", "parameters", "FLOPs", "cut", "compensate", "distill")
    for head in (*heads, *(("paper: parameters", "FLOPs", "after training") if paper else ())):
        drawn.add_column(head, justify="right")
    full = next((f"{row.full:.1f}" for row in own.values()), "not run")
    drawn.add_row("full", "100 %", "100 %", full, "", "", *(("100 %", "100 %", f"{paper[0]:.2f}") if paper else ()))
    for recipe in RECIPES:
        row, cells = own.get(recipe), ["not run", "", "", "", ""]
        if row is not None:
            scores = (row.cut, row.compensated, row.distilled)
            changes = [_change(None if after is None else after - row.full) for after in scores]
            cells = [f"{row.parameters:.1f} %", f"{row.flops:.1f} %", *changes]
        theirs = paper[1][recipe] if paper else None
        beside = (f"{theirs[1]:.1f} %", f"{theirs[2]:.1f} %", f"{theirs[0]:+.2f}") if theirs else ()
        drawn.add_row(_named(recipe), *cells, *beside)
    return drawn


def _change(value: float | None) -> str:
    return "not run" if value is None else f"{value:+.1f}"


def domain_table(found: Sequence[Domain]) -> Table:
    drawn = Table(title="PFA-KL on some classes alone, compensated on them; accuracy among these classes")
    for head in ("model", "classes", "samples", "parameters", "FLOPs", "test images", "full", "compensated"):
        drawn.add_column(head, justify="right")
    for row in found:
        drawn.add_row(
            f"ResNet-{row.depth}", ", ".join(row.classes) if len(row.classes) < len(NAMES) else "all 10",
            str(row.samples), f"{row.parameters:.1f} %", f"{row.flops:.1f} %", str(row.tested), f"{row.full:.1f}",
            f"{row.compensated:.1f}",
        )  # fmt: skip
    return drawn


def markdown(drawn: Table) -> str:
    """The same for docs/benchmarks.md."""
    heads = [str(column.header) for column in drawn.columns]
    lines = zip(*(map(str, column.cells) for column in drawn.columns), strict=True)
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join([f"**{drawn.title}**", "", *(f"| {' | '.join(row)} |" for row in rows), ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", type=int, nargs="*", default=[20, 56])
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=RECIPES)
    parser.add_argument("--selection", default="reconstruction")
    parser.add_argument("--samples", type=int, default=1500, help="of the probe")
    parser.add_argument("--steps", type=int, default=0, help="of distill, 64 images each; 0 for none")
    parser.add_argument("--domains", action="store_true", help="the table of domain adaptation instead")
    parser.add_argument("--domain-samples", type=int, default=700, help="at most, of each domain")
    parser.add_argument("--markdown", action="store_true", help="print the tables as docs/benchmarks.md has them")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--read", type=Path, nargs="+", default=[], help="files of --json; nothing is measured")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    kind = Domain if arguments.domains else Row
    found = [kind(**row) for path in arguments.read for row in json.loads(path.read_text())]
    for depth in () if arguments.read else arguments.depths:
        for row in (domains if arguments.domains else rows)(depth, arguments):
            found.append(row)
            print(row, flush=True)
            if arguments.json:
                arguments.json.write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n")
    drawn = [domain_table(found)] if arguments.domains else list(table(found))  # type: ignore[arg-type]
    for each in drawn:
        if arguments.markdown:
            print(markdown(each))
        else:
            Console(width=130).print(each)


if __name__ == "__main__":
    main()
