"""What a pattern of zeros costs without training: `python tests/benchmarks/sparsity.py --help`.

All layers of a trained CIFAR ResNet that read as many channels as a group has; nothing is cut. Everything is fitted on
1,500 training images without labels; judged on the test images.

- `magnitude`: the largest weights of each group stay as they are, in every layer at once,
- `magnitude, corrected`: the same weights, layer after layer, each solved anew on what it reads by then,
- `blocks`: the weights that the others can best make up for, in blocks of 64 columns, solved anew,
- `surgeon`: the same over all columns of a layer, which is what `sparsify` does with layers of this size.

Prints a table and, with --json, writes its rows; --read prints the table of what others have written.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from counts import divergence, logits
from resnets import images, resnet
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from pfa_gate.compress.recover import CompensateSettings
from pfa_gate.compress.sparsify import Pattern, PatternPlan, correction, masks, sparsify
from pfa_gate.compress.sparsify.pattern import column_groups
from pfa_gate.graph import Program, record_model
from pfa_gate.graph.calls import calls, matrix_of, weight_of
from pfa_gate.model import Batch
from pfa_gate.model.copies import copied

SAMPLES = 1500
METHODS = ("magnitude", "magnitude, corrected", "blocks", "surgeon")


@dataclass(frozen=True)
class Row:
    """One pattern made in one way; shares in percent, the divergence of the answers in nats, seconds of CPU time."""

    depth: int
    pattern: str
    method: str
    zeros: float
    accuracy: float
    agreement: float
    divergence: float
    seconds: float


def by_size(model: nn.Module, program: Program, plan: PatternPlan) -> nn.Module:
    """The largest weights of each group, as they are."""
    found = copied(model)
    own = dict(found.named_parameters())
    for call in calls(program):
        if plan.wants(call.layer):
            (matrix,) = matrix_of(call, own[call.weight].detach())
            taps = call.geometry.taps if call.geometry else 1
            groups = column_groups(taps, len(matrix) // taps, plan.pattern.of)
            kept = matrix * masks.magnitude_mask(matrix, groups, plan.pattern.kept)
            with torch.no_grad():
                own[call.weight].copy_(weight_of(call, kept[None], tuple(own[call.weight].shape)))
    return found


def sparse(model: nn.Module, program: Program, plan: PatternPlan, method: str) -> nn.Module:
    if method == "magnitude":
        return by_size(model, program, plan)
    batches = [Batch((part,), {}) for part in torch.split(images("train")[0][:SAMPLES], 128)]
    made = partial(sparsify, model, program, batches, plan, CompensateSettings())
    if method == "magnitude, corrected":
        with mock.patch.object(
            correction, "surgeon_mask", lambda weights, _, *rest: masks.magnitude_mask(weights, *rest)
        ):
            return made().model
    with mock.patch.object(masks, "WORK", 0 if method == "blocks" else masks.WORK):
        return made().model


def rows(depth: int, arguments: argparse.Namespace) -> Iterator[Row]:
    model = resnet(depth)
    pixels, labels = images("test")
    program, wanted = record_model(model, (pixels[:2],), {}), logits(model, pixels)
    yield Row(depth, "", "full", **judged(model, wanted, (pixels, labels)), seconds=0.0)
    for pattern in arguments.patterns:
        plan = PatternPlan.of(program, Pattern.of_text(pattern))
        for method in arguments.methods:
            begun = time.process_time()
            found = sparse(model, program, plan, method)
            seconds = time.process_time() - begun
            yield Row(depth, pattern, method, **judged(found, wanted, (pixels, labels)), seconds=seconds)


def judged(model: nn.Module, wanted: Tensor, test: tuple[Tensor, Tensor]) -> dict[str, float]:
    pixels, labels = test
    answers, parameters = logits(model, pixels), list(model.parameters())
    zeros = sum(int((each == 0).sum()) for each in parameters) / sum(each.numel() for each in parameters)
    return {
        "zeros": 100 * zeros,
        "accuracy": 100 * float((answers.argmax(1) == labels).double().mean()),
        "agreement": 100 * float((answers.argmax(1) == wanted.argmax(1)).double().mean()),
        "divergence": divergence(answers, wanted),
    }


def table(found: list[Row]) -> Table:
    drawn = Table(title="761 test images, no training, no labels")
    for head in ("model", "pattern", "method", "zeros", "accuracy", "agreement", "divergence", "seconds of CPU"):
        drawn.add_column(head, justify="right")
    for row in found:
        drawn.add_row(
            f"ResNet-{row.depth}", row.pattern, row.method, f"{row.zeros:.1f} %", f"{row.accuracy:.1f}",
            f"{row.agreement:.1f} %", f"{row.divergence:.4f}", f"{row.seconds:.0f}",
        )  # fmt: skip
    return drawn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", type=int, nargs="+", default=[20])
    parser.add_argument("--patterns", nargs="+", default=["2:4"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
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
    Console(width=130).print(table(found))


if __name__ == "__main__":
    main()
