"""A gate on a GPU beside the same gate on the CPU: `python tests/benchmarks/gpu.py [--times 3]`; needs a CUDA device.

ResNet-56 on 3,805 probe and 761 evaluation images of the shared folder, compensated and distilled in 100 steps; and a
ResNet-50 with drawn weights on 2,304 drawn images of 96 x 96 pixels. Each runs once to warm up, then in turns on either
device. Seconds of the clock, medians; the floor is the bare forward passes over the same batches on the GPU.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from floor import Clock, written
from rich.table import Table
from surroundings import CONSOLE, Finding, described, keep

from pfa_gate.config import load
from pfa_gate.model import load as load_subject
from pfa_gate.model.device import exact_arithmetic, model_on
from pfa_gate.pipeline.run import Run, run
from pfa_gate.record import Record

CONFIG = """
version: 1
gates:
  net:
    model: {{factory: {factory}, device: {device}}}
    probe: {{data: {probe}, batch_size: 128}}
    recipe: {{strategy: energy, energy: 0.9}}
    {more}
    budgets: {{layers: [{{match: "*", kl: 1.0}}], compressed: {{parameters: 100%}}}}
"""
SMALL = {
    "factory": "resnets.py:resnet, arguments: {depth: 56}",
    "probe": "resnets.py:probe",
    "more": "evaluation: {data: resnets.py:test}\n    recovery: [compensate, {distill: {steps: 100}}]",
}
LARGE = {"factory": "large.py:net", "probe": "large.py:images", "more": ""}
NET = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "zoo")]!r}
import torch
from classics import BottleneckResNet
from networks import conditioned

def net():
    return conditioned(BottleneckResNet()).eval()

def images():
    return torch.randn(2304, 3, 96, 96, generator=torch.Generator().manual_seed(0))
"""
NUMBERS = ("kl_ratio", "peak_correlation", "mean_correlation")


class WallClock(Clock):
    """Seconds of the clock in each stage; the device has done its work before the clock is read."""

    def now(self) -> float:
        torch.cuda.synchronize()
        return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--networks", nargs="+", choices=["resnet56", "resnet50"], default=["resnet56", "resnet50"])
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("There is no CUDA device: nothing was measured.")
    CONSOLE.print(f"{described()}; {torch.cuda.get_device_name()}")
    findings = list[Finding]()
    for name in arguments.networks:
        findings += compared(name, SMALL if name == "resnet56" else LARGE, arguments.times)
    keep("gpu", findings)


def compared(name: str, parts: dict[str, str], times: int) -> Iterable[Finding]:
    with tempfile.TemporaryDirectory() as place:
        configs = {}
        for device in ("cuda", "cpu"):
            folder = Path(place) / device
            folder.mkdir()
            (folder / "large.py").write_text(NET)
            configs[device] = written(folder, CONFIG.format(**parts, device=device))
        once(configs["cuda"])
        found = [(once(configs["cuda"]), once(configs["cpu"])) for _ in range(times)]
        floor = median(bare(configs["cuda"]) for _ in range(times + 1))
    there, here = ([each[side][1] for each in found] for side in (0, 1))
    records = [(cuda[0].record, cpu[0].record) for cuda, cpu in found]
    CONSOLE.print(table(name, here, there))
    probing = median(each["probing"] for each in there)
    gap = max(apart(*pair) for pair in records)
    CONSOLE.print(f"bare passes over the probe {floor:.3f} s; KL ratios and correlations differ by at most {gap:.1e}")
    yield Finding(f"{name} on a GPU", "probing / bare forward passes", probing / floor)
    yield Finding(f"{name} on a GPU", "whole gate, CPU / GPU", median(map(total, here)) / median(map(total, there)))
    yield Finding(f"{name} on a GPU", "largest difference from the CPU's numbers", gap, "<= 1e-4")


def once(config: Path) -> tuple[Run, dict[str, float]]:
    clock = WallClock()
    clock.seconds.clear()
    started = clock.now()
    gate = run(config, progress=clock)
    return gate, clock.seconds | {"whole": clock.now() - started}


def total(stages: dict[str, float]) -> float:
    return stages["whole"]


def bare(config: Path) -> float:
    """Seconds of the full model over the probe, the batches moved as they come."""
    subject = load_subject(load(config), "net")
    model = model_on(subject.model, subject.device)
    clock = WallClock()
    with torch.inference_mode(), exact_arithmetic(subject.device):
        for _ in range(2):  # the first pass warms up
            started = clock.now()
            for batch in subject.probe:
                moved = batch.to(subject.device)
                model(*moved.args, **moved.kwargs)
            taken = clock.now() - started
    return taken


def apart(there: Record, here: Record) -> float:
    """The largest difference of a layer's numbers."""
    pairs: list[tuple[Any, Any]] = [
        (getattr(one, name), getattr(two, name))
        for one, two in zip(there.layers, here.layers, strict=True)
        for name in NUMBERS
    ]
    return max(abs(one - two) for one, two in pairs if one is not None and two is not None)


def table(name: str, here: list[dict[str, float]], there: list[dict[str, float]]) -> Table:
    drawn = Table("stage", "CPU s", "GPU s", "CPU / GPU", title=f"{name}: medians of {len(here)}")
    for stage in here[0]:
        one, two = (median(each[stage] for each in side) for side in (here, there))
        drawn.add_row(stage, f"{one:.3f}", f"{two:.3f}", f"{one / two:.1f}" if two > 1e-4 else "")
    return drawn


if __name__ == "__main__":
    main()
