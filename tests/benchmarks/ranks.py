"""What a second rank buys: `python tests/benchmarks/ranks.py`, on two cores with nothing else to do.

ResNet-56 on the shared CIFAR images. Rank 0 measures its probe and scores two models, the full one and one with half
of the filters of each block: alone and with rank 1 in turns, so that both see the same machine; each rank has one
thread. The time alone over the time of both, medians; wanted 1.7. CPU is that of rank 0, which has as many batches as
rank 1 or one more: where other work shares the cores, two processes are given more of them than one, and only the CPU
is fair.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from resnets import SHARED, images
from rich.table import Table
from surroundings import CONSOLE, Finding, described, keep

from pfa_gate.compress.prune import compress
from pfa_gate.config import load
from pfa_gate.distributed.collect_shard import load_and_trace
from pfa_gate.distributed.ranks import RankBackend, run_as_worker
from pfa_gate.model.evaluation import Score
from pfa_gate.pipeline.job import LOCAL, MeasurementBackend, ProbePass, Stages
from pfa_gate.torchrun import seat_in
from pfa_gate.torchrun.calls import join

HERE = Path(__file__).parent
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
CONFIG = """
version: 1
gates:
  resnet:
    model: {factory: "resnets.py:resnet", arguments: {depth: DEPTH}}
    probe: {data: probe.npz, samples: SAMPLES}
    evaluation: {data: test.npz}
    budgets: {model: {parameters: 1 M}}
"""
# Seconds on the wall tell only where both cores are free.
WANTED = {"CPU": ">= 1.7", "wall": ""}
Seconds = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=56)
    parser.add_argument("--samples", type=int, default=3805)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one(arguments.one, arguments.pairs)
        return
    with tempfile.TemporaryDirectory() as place:
        prepare(Path(place), arguments.depth, arguments.samples)
        ranks = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", __file__]
        child = subprocess.run(
            [*ranks, "--one", place, "--pairs", str(arguments.pairs)],
            env=os.environ | ONE_THREAD | {"PFA_GATE_SHARED": str(SHARED)},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    found = json.loads(child.stdout.splitlines()[-1])
    keep("ranks", show(found, f"ResNet-{arguments.depth}, {arguments.samples:,} probe images"))


def prepare(folder: Path, depth: int, samples: int) -> None:
    for name, part in (("probe", "train"), ("test", "test")):
        pixels, labels = images(part)
        np.savez(folder / f"{name}.npz", images=pixels.numpy(), labels=labels.numpy())
    shutil.copy(HERE / "resnets.py", folder)
    (folder / "pfa.yaml").write_text(CONFIG.replace("DEPTH", str(depth)).replace("SAMPLES", str(samples)))


def one(folder: Path, pairs: int) -> None:
    """What each of the two ranks does; rank 0 prints the seconds."""
    seat = seat_in(os.environ)
    assert seat is not None
    ranks = join(seat, lambda words: None)
    if seat.rank:
        run_as_worker(ranks, folder)
        ranks.leave()
        return
    clocks: Seconds = {}
    document = load(folder / "pfa.yaml", folder)
    first = load_and_trace(document, "resnet", Stages(document, "resnet"))
    smaller = halved(first)
    for _ in range(pairs + 1):
        alone = measured(LOCAL, first, smaller, Clock("alone", clocks))
        ranks.call("measure", config="pfa.yaml", gate="resnet")
        work = load_and_trace(document, "resnet", Stages(document, "resnet"))  # while rank 1 does the same, as in a run
        both = measured(RankBackend(ranks), work, smaller, Clock("both", clocks))
        for mine, ours in zip(alone, both, strict=True):
            assert mine.outcomes is not None
            assert (mine.outcomes == ours.outcomes).all()
    ranks.end(0)
    # The first round pays for what torch imports and tunes on its first use.
    print(json.dumps({name: seconds[1:] for name, seconds in clocks.items()}))


@dataclass(frozen=True)
class Clock:
    """Where the seconds of one way to measure are kept."""

    who: str
    seconds: Seconds

    def timed(self, stage: str, task: Callable[[], Any]) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        made = task()
        self.seconds.setdefault(f"{stage} {self.who}, CPU", []).append(time.process_time() - cpu)
        self.seconds.setdefault(f"{stage} {self.who}, wall", []).append(time.perf_counter() - wall)
        return made


def measured(hands: MeasurementBackend, work: ProbePass, smaller: torch.nn.Module, clock: Clock) -> list[Score]:
    subject = replace(work.subject, probe=replace(work.subject.probe))  # which has not been read yet

    def probe() -> Any:
        found = hands.moments(replace(work, subject=subject), subject.probe)
        return found, subject.probe.sha256  # which the record holds, however many ranks there are

    def scores() -> list[Score]:
        return [hands.score(subject, model) for model in (subject.model, smaller)]

    clock.timed("probe", probe)
    return clock.timed("scores", scores)


def halved(work: ProbePass) -> torch.nn.Module:
    assert work.traced is not None
    _, coupling = work.traced
    keep = {group.name: np.arange(group.width // 2) for group in coupling.free if len(group.layers) == 1}
    return compress(work.subject.model, coupling, keep, (work.subject.example.args, {})).model


def show(found: Seconds, title: str) -> list[Finding]:
    drawn = Table("what", "alone", "two ranks", "speed-up", title=title)
    findings = []
    for clock in ("CPU", "wall"):
        for name, stages in (("probe", ["probe"]), ("scores", ["scores"]), ("both", ["probe", "scores"])):
            alone, two = (total(found, stages, f"{who}, {clock}") for who in ("alone", "both"))
            ratio = median(one / other for one, other in zip(alone, two, strict=True))
            drawn.add_row(f"{name}, {clock}", f"{median(alone):.2f} s", f"{median(two):.2f} s", f"{ratio:.2f}")
            if name == "both":
                findings.append(Finding("two ranks", f"probe and scores, alone / two, {clock}", ratio, WANTED[clock]))
    CONSOLE.print(described())
    CONSOLE.print(drawn)
    return findings


def total(found: Seconds, stages: list[str], which: str) -> list[float]:
    return [sum(each) for each in zip(*(found[f"{stage} {which}"] for stage in stages), strict=True)]


if __name__ == "__main__":
    main()
