"""Weights of fewer than 8 bits: `python tests/benchmarks/bits.py [gate ...]`.

Runs the gates of resnets.bits.yaml. For each file: bits of a weight with its share of the scales; bytes of all that the
file's tensors hold, scales and floating norms with them, in percent of the full model's floating bytes; divergence from
the full model's answers and accuracy on the test images, by weights read back from the file; accuracy before the bits;
on the probe, how far the answers are from the compressed model's with the nearest numbers, and with error feedback.
CPU seconds are of the whole gate, on one thread.
"""

import argparse
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from resnets import images, resnet
from rich.console import Console
from rich.table import Table

from pfa_gate import load as load_model
from pfa_gate.config import load
from pfa_gate.pipeline.run import run
from pfa_gate.record import Record
from pfa_gate.report.few_bits import widths

CONFIG = Path(__file__).with_name("resnets.bits.yaml")


def row(gate: str, record: Record, folder: Path, seconds: float) -> list[str]:
    file, scores = record.quantized, record.scores
    if file is None or file.plan is None or scores is None:
        raise SystemExit(f"{gate} has no file of few bits: {record.unmeasured}")
    inputs, labels = images("test")
    with torch.no_grad():
        full, few = (model(inputs).double() for model in (resnet(20), load_model(folder, resnet(20))))
    apart = torch.nn.functional.kl_div(few.log_softmax(1), full.log_softmax(1), reduction="batchmean", log_target=True)
    right = float((few.argmax(1) == labels).double().mean())
    plan = file.plan
    fed = "" if plan.fed_back is None else f"{plan.fed_back:.4f}"
    return [
        gate, widths(plan), f"{plan.bits_each:.2f}", f"{100 * file.bytes / record.model.bytes:.2f}",
        f"{float(apart):.4f}", f"{100 * right:.2f}", f"{100 * (scores.compressed or 0.0):.2f}",
        f"{plan.nearest:.4f}", fed, f"{seconds:.0f}",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gates", nargs="*", default=list(load(CONFIG).gates))
    torch.set_num_threads(1)
    drawn = Table("gate", "widths", "bits each", "bytes, %", "divergence", "accuracy, %", "before, %", "nearest",
                  "fed back", "CPU s")  # fmt: skip
    for gate in parser.parse_args().gates:
        started = time.process_time()
        with TemporaryDirectory() as folder:
            record = run(CONFIG, gate, output=folder).record
            told = row(gate, record, Path(folder, gate), time.process_time() - started)
        drawn.add_row(*told)
        print(*told, sep="  ", file=sys.stderr, flush=True)
    Console(width=160).print(drawn)


if __name__ == "__main__":
    main()
