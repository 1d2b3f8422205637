"""Published work beside ours at the same ratios, in Markdown: `python tests/benchmarks/published_work.py --help`.

What others have published stands in published_work.yaml with its source. Our side is measured here, without labels and
without training: the trained ResNets and the clean CIFAR-10 subset of the shared folder, cut to the same share of the
MACs or by the same ratio in every layer. A table is one network at one work; what cannot be run here is listed as such.

    python tests/benchmarks/published_work.py modelopt grail --json build/published.json
    python tests/benchmarks/published_work.py --read build/published.json

torch-pruning runs itself where it is installed: its L1 pruner on the same weights, without training.
"""

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import yaml
from recovery import Bench, bench, count, outputs
from resnets import images, resnet

from pfa_gate.compress.prune import compress
from pfa_gate.compress.recover import CompensateSettings, compensate, recalibrate
from pfa_gate.compress.select import SELECTIONS, Evidence, keep_last
from pfa_gate.graph.cost import cost
from pfa_gate.model import Batch
from pfa_gate.recipe import Rule, recipe

PUBLISHED = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
DEPTHS = {"modelopt": (20,), "torch_pruning": (56,), "grail": (20, 56), "folding": (20,)}
SELECTED = ("l1", "reconstruction")


@dataclass(frozen=True)
class Measured:
    """Our side of a published row; shares and accuracies in percent."""

    work: str
    what: str
    network: str
    selection: str
    parameters: float
    macs: float
    full: float
    cut: float
    repaired: float | None
    compensated: float | None


def measured(work: str, depth: int, samples: int) -> Iterator[Measured]:
    """The ratios that a work has published, or the share of the MACs of its first row, by each selection."""
    held, rows = bench(depth, "project", samples), PUBLISHED[work]["rows"]
    if work == "modelopt":
        inner = [group for group in held.groups if group.name.endswith(".conv1")]
        same = tuple(group for group in inner if not group.name.startswith("layer1"))  # its search space
        yield from _measured(work, replace(held, groups=same), (depth, rows))
        held, rows = replace(held, groups=tuple(inner)), [{**rows[0], "what": "all inner convolutions"}]
    yield from _measured(work, held, (depth, rows))


def _measured(work: str, held: Bench, task: tuple[int, Sequence[Mapping[str, Any]]]) -> Iterator[Measured]:
    depth, rows = task
    sizes = {row["ratio"]: row for row in rows if "ratio" in row} or {0: rows[0]}
    for name in SELECTED:
        spectra = {group.name: held.spectra[group.name] for group in held.groups}
        orders = SELECTIONS[name](Evidence(held.program, held.groups, spectra, held.probe, 0))
        for row in sizes.values():
            counts = counted(held, row)
            what = row["what"] if "ratio" in row or work == "modelopt" else "PFA's counts, all layers"
            yield cut_and_compensated(held, (work, what, f"ResNet-{depth}", name), orders, counts)


def counted(held: Bench, row: Mapping[str, Any]) -> dict[str, int]:
    """Filters of each group: one share of every one, or by PFA at a share of the MACs."""
    widths = {group.name: group.width for group in held.groups}
    if "ratio" in row:
        return {name: max(1, math.ceil((1 - row["ratio"]) * width)) for name, width in widths.items()}
    whole = held.coupling.footprint(widths).macs
    spectra = {name: held.spectra[name] for name in widths}
    rule = Rule("macs", target=row["macs"] / 100 * whole)
    return recipe(spectra, lambda keep: float(held.coupling.footprint(keep).macs), rule).counts


def cut_and_compensated(held: Bench, names: tuple[str, str, str, str], orders: Any, counts: dict[str, int]) -> Measured:
    pixels, labels = images("test")
    example = pixels[:2]
    small = compress(held.model, held.coupling, keep_last(orders, counts).indices, ((example,), {}))
    repaired, _ = recalibrate(small.model, held.probe)
    better, _ = compensate(held.program, small.model, small.axis_indices, held.probe, CompensateSettings(0))

    def accuracy(model: torch.nn.Module) -> float:
        return 100 * float((outputs(model, pixels).argmax(1) == labels).double().mean())

    size, whole = cost(small.model, Batch((example,), {})), cost(held.model, Batch((example,), {}))
    return Measured(
        *names, 100 * count(small.model) / count(held.model), 100 * size.macs / whole.macs,
        accuracy(held.model), accuracy(small.model), accuracy(repaired), accuracy(better),
    )  # fmt: skip


def torch_pruning_itself(depth: int, share: float) -> Measured | None:
    """Its own L1 pruner over all layers in common, to a share of the MACs; None where it is not installed."""
    if find_spec("torch_pruning") is None:
        return None
    import torch_pruning  # noqa: PLC0415  not needed where it is not installed

    (pixels, labels), model = images("test"), resnet(depth)
    example, full = pixels[:1], resnet(depth)
    pruner = torch_pruning.pruner.MagnitudePruner(
        model, example, importance=torch_pruning.importance.MagnitudeImportance(p=1), global_pruning=True,
        pruning_ratio=1.0, iterative_steps=400, ignored_layers=[model.linear],
    )  # fmt: skip
    whole = cost(full, Batch((example,), {})).macs
    while cost(model, Batch((example,), {})).macs > share / 100 * whole:
        pruner.step()
    hits = (outputs(model.eval(), pixels).argmax(1) == labels).double()
    right = (outputs(full, pixels).argmax(1) == labels).double()
    return Measured(
        "torch_pruning", "its own L1 pruner, run here", f"ResNet-{depth}", "", 100 * count(model) / count(full),
        100 * cost(model, Batch((example,), {})).macs / whole, 100 * float(right.mean()), 100 * float(hits.mean()),
        None, None,
    )  # fmt: skip


HEADS = ("", "network", "parameters", "MACs", "full", "cut", "repaired", "data-free", "compensated", "trained")


def tables(found: list[Measured]) -> Iterator[str]:
    """Published rows and ours below each other, one table for each work, without the columns that nobody fills."""
    for work, entry in PUBLISHED.items():
        rows = [published(entry, row) for row in entry["rows"]] + [ours(row) for row in found if row.work == work]
        shown = [place for place in range(len(HEADS)) if place < 2 or any(row[place] for row in rows)]
        aside = f" Not run here: {entry['not_run']}." if "not_run" in entry else ""
        yield f"\n**{entry['work']}** ([source]({entry['source']}), read {entry['read']}).{aside}\n"
        yield line(HEADS, shown)
        yield line(["---"] * len(HEADS), shown)
        for row in rows:
            yield line(row, shown)


def published(entry: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    trained = f"{number(row['after'])} ({row['training']})" if "after" in row else ""
    middle = [number(row.get(key)) for key in ("parameters", "macs", "full", "before", "repaired", "free")]
    return [f"published: {row['what']}", f"{entry['network']}, {entry['data']}", *middle, "", trained]


def ours(row: Measured) -> list[str]:
    name = f"here: {row.what}" + (f", `{row.selection}`" if row.selection else "")
    values = [row.parameters, row.macs, row.full, row.cut, row.repaired, None, row.compensated]
    return [name, row.network, *map(number, values), ""]


def line(cells: Sequence[str], shown: Sequence[int]) -> str:
    return f"| {' | '.join(cells[place] for place in shown)} |"


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("works", nargs="*", default=list(DEPTHS), help=", ".join(DEPTHS))
    parser.add_argument("--samples", type=int, default=1500, help="of the probe")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--read", type=Path, nargs="+", default=[], help="files of --json; nothing is measured")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = [Measured(**row) for path in arguments.read for row in json.loads(path.read_text())]
    for work in () if arguments.read else arguments.works:
        own = torch_pruning_itself(56, 47.2) if work == "torch_pruning" else None
        found += [own] if own else []
        for depth in DEPTHS[work]:
            for row in measured(work, depth, arguments.samples):
                found.append(row)
                print(row, flush=True)
                if arguments.json:
                    arguments.json.write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n")
    print("\n".join(text for text in tables(found) if text))


if __name__ == "__main__":
    main()
