"""The probe pass over bare forward passes on the same batches: `python tests/benchmarks/probe.py --help`.

ResNet-56 and a MobileNetV2 for CIFAR on images of the shared folder. The bare model runs on each batch right before the
probe pass does, so both see the same machine; reading, fingerprint, pooling and all sums count for the probe pass. Both
keep freed memory, as a gate does. Seconds are of CPU, or by the clock with --clock.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import torch
from floor import GATES, written
from rich.table import Table
from surroundings import CONSOLE, Finding, described, keep

from pfa_gate.config import load
from pfa_gate.model import Batch
from pfa_gate.model import load as load_subject
from pfa_gate.model.global_state import freed_memory_kept
from pfa_gate.pipeline.job import GateJob, ProbePass, Stages
from pfa_gate.pipeline.measure_and_cut import choose_layers, trace

NETWORKS = {"ResNet-56": "weights", "MobileNetV2": "mobilenet"}
WANTED = "<= 1.1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 128, 512], help="samples in a batch")
    parser.add_argument("--samples", type=int, default=3805)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    CONSOLE.print(described())
    now = time.perf_counter if arguments.clock else time.process_time
    drawn = Table("network", "batch", "bare passes", "probe pass", "probe / bare")
    findings = []
    for network in arguments.networks:
        for size in arguments.batches:
            with freed_memory_kept():
                probe_pass = prepared(network, size, arguments.samples)
                found = [timed(probe_pass, now) for _ in range(arguments.times)]
            ratio = median(probe / bare for bare, probe in found)
            bare, probe = (median(each) for each in zip(*found, strict=True))
            drawn.add_row(network, str(size), f"{bare:.2f} s", f"{probe:.2f} s", f"{ratio:.3f}")
            findings.append(Finding(f"{network}, batches of {size}", "probe pass / bare passes", ratio, WANTED))
    CONSOLE.print(drawn)
    keep("probe", findings)


def prepared(network: str, size: int, samples: int) -> ProbePass:
    """A gate that is loaded and traced."""
    probe = f"probe: {{batch_size: {size}, samples: {samples}, "
    with tempfile.TemporaryDirectory() as place:
        document = load(written(Path(place), GATES[NETWORKS[network]].replace("probe: {", probe)))
        subject = load_subject(document, "net")
        job = GateJob(document.gate("net"), subject, Stages(document, "net"))
        traced = trace(job)
        for _ in subject.probe:  # read once, while the file is there
            break
        return ProbePass(job.config, subject, choose_layers(job, traced), traced.graph)


def timed(probe_pass: ProbePass, now: Callable[[], float]) -> tuple[float, float]:
    """Seconds of the bare passes, and of the probe pass."""
    bare = 0.0

    def batches() -> Iterator[Batch]:
        nonlocal bare
        for batch in probe_pass.subject.probe.first_pass():
            start = now()
            with torch.inference_mode():
                probe_pass.subject.model(*batch.args, **batch.kwargs)
            bare += now() - start
            yield batch

    start = now()
    probe_pass.moments(batches())
    return bare, now() - start - bare


if __name__ == "__main__":
    main()
