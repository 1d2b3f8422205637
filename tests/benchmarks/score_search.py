"""The search of `strategy: score` beside energies tried by hand: `python tests/benchmarks/score_search.py --help`.

Both score the trained CIFAR ResNets of the shared folder on the same half of the test images. Every trial is printed as
it is done; the table at the end has the smallest model of each way whose score keeps the limit.
"""

import argparse
import time
from pathlib import Path

import torch
from rich.table import Table
from surroundings import CONSOLE, described

from pfa_gate.config.document import parsed
from pfa_gate.model import load
from pfa_gate.model.device import exact_arithmetic
from pfa_gate.pipeline.job import GateJob, Stages
from pfa_gate.pipeline.measure_and_cut import measure, score_model, trace
from pfa_gate.pipeline.plan import MeasuredGraph, Planner
from pfa_gate.pipeline.recovery_steps import kept_for_compensation
from pfa_gate.pipeline.score_search import Search, searching
from pfa_gate.pipeline.smallest import narrow_down
from pfa_gate.record.search import SearchTrial

CONFIG = """
version: 1
gates:
  resnet:
    model: {{factory: resnets.py:resnet, arguments: {{depth: {depth}}}}}
    probe: {{data: resnets.py:probe, samples: 1500}}
    layers: {{include: ["{layers}"]}}
    recipe: {{strategy: score, score: {limit} pp}}
    evaluation: {{data: resnets.py:test}}
    budgets: {{model: {{parameters: 1 M}}}}
"""


class Told(Search):
    """A search that prints each trial."""

    def tried(self, plan):
        started = time.process_time()
        found = super().tried(plan)
        print(
            f"{found.energy:.4f} of the energy, {found.parameters:,} parameters: falls by {100 * found.drop:.2f} pp, "
            f"{'holds' if found.holds else 'does not hold'}; {time.process_time() - started:.0f} s of CPU",
            flush=True,
        )
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=20, choices=[20, 56])
    parser.add_argument("--limit", type=float, default=0.5, help="percentage points")
    parser.add_argument("--layers", default="*")
    parser.add_argument("--by-hand", type=int, default=20, help="energies from 0.80 in steps of 0.01")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    text = CONFIG.format(depth=arguments.depth, layers=arguments.layers, limit=arguments.limit)
    document = parsed(text, Path(__file__).with_name("pfa.yaml"))
    subject = load(document, "resnet")
    with exact_arithmetic(subject.device):
        job, _, _ = searching(GateJob(document.gate("resnet"), subject, Stages(document, "resnet")))
        traced = trace(job)
        measured = measure(job, traced)
        kept = kept_for_compensation(job, traced.graph.program)
        planner = Planner(job, MeasuredGraph(traced.graph, measured.spectra, measured.cost), measured.chosen, kept)
        full = score_model(job, subject.model, in_parts=True)
        ours, theirs = Told(job, planner, full), Told(job, planner, full)
        narrow_down(ours.attempt)
        for step in range(arguments.by_hand):
            wanted = job.config.recipe.model_copy(update={"strategy": "energy", "energy": 0.80 + step / 100})
            theirs.take(planner.plan(wanted))
    whole = measured.cost.parameters
    table = Table(title=f"ResNet-{arguments.depth}, {whole:,} parameters, {full.value:.2%} of {full.samples} images")
    for head in ("", "trials", "energy", "parameters left", "falls by"):
        table.add_column(head, justify="right")
    best = [search.trials[search.chosen()] for search in (ours, theirs)]
    for name, search, trial in zip(("strategy: score", "by hand"), (ours, theirs), best, strict=True):
        table.add_row(name, str(len(search.trials)), *cells(trial, whole))
    CONSOLE.print(table)
    print(f"parameters left, over those of the best by hand: {best[0].parameters / best[1].parameters:.3f}")
    CONSOLE.print(described())


def cells(trial: SearchTrial, whole: int) -> tuple[str, str, str]:
    return f"{trial.energy:.4f}", f"{trial.parameters:,} ({trial.parameters / whole:.1%})", f"{100 * trial.drop:.2f} pp"


if __name__ == "__main__":
    main()
