"""Cut, compensated and stored in int8: `python tests/benchmarks/int8.py [gate ...]`.

Runs the gates of resnets.int8.yaml, and stores what each has cut a second time with all 8 bits of the weights in use.
For both files: bytes against the full model's, accuracy as ONNX Runtime optimises the file, answers that are not those
of the full model, and answers that are others without the optimisations (flips). Each file is made twice, from the
same samples, and its digests are compared.
"""

import argparse
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import torch
from resnets import images, resnet
from rich.console import Console
from rich.table import Table

from pfa_gate.config import load
from pfa_gate.model import load as load_subject
from pfa_gate.pipeline.run import run
from pfa_gate.record import Record
from pfa_gate.runtime.calibration import feeds_of
from pfa_gate.runtime.onnx_module import OnnxModel
from pfa_gate.runtime.onnx_size import onnx_stored
from pfa_gate.runtime.quantize import Int8Model, quantize
from pfa_gate.runtime.session import onnx_session

CONFIG = Path(__file__).with_name("resnets.int8.yaml")
SAMPLES = 256


@dataclass(frozen=True)
class Row:
    """A file: bits of a weight that are used, bytes in percent of the full model's, accuracy, and what became of it."""

    gate: str
    bits: str
    bytes: float
    accuracy: float
    changed: int
    flips: int
    same: bool


def answers(content: bytes, *, optimised: bool = True) -> torch.Tensor:
    model = OnnxModel(onnx_session(content, "the file", 1, optimised=optimised), "the file")
    given: torch.Tensor = model(images("test")[0]).argmax(1)
    return given


def again(floating: bytes, reduced: bool) -> Int8Model:
    """The int8 file anew, of the samples that the gate's own probe begins with."""
    probe = list(load_subject(load(CONFIG), "cut").probe)
    model = OnnxModel(onnx_session(floating, "the file"), "the file")
    return quantize(floating, list(feeds_of(model, probe, SAMPLES)), reduced=reduced)


def rows(gate: str, record: Record, folder: Path, full: torch.Tensor) -> Iterator[Row]:
    floating, labels = (folder / "model.onnx").read_bytes(), images("test")[1]
    whole = record.model.bytes
    yield Row(gate, "float", 100 * onnx_stored(onnx.load_from_string(floating)).bytes / whole,
              100 * float((answers(floating) == labels).float().mean()), int((answers(floating) != full).sum()),
              int((answers(floating) != answers(floating, optimised=False)).sum()), True)  # fmt: skip
    for reduced in (True, False):
        made = [again(floating, reduced).content for _ in range(2)]
        if reduced:
            made.append((folder / "model.int8.onnx").read_bytes())
        found, content = answers(made[0]), made[0]
        yield Row(
            gate,
            "7 of 8" if reduced else "8",
            100 * onnx_stored(onnx.load_from_string(content)).bytes / whole,
            100 * float((found == labels).float().mean()),
            int((found != full).sum()),
            int((found != answers(content, optimised=False)).sum()),
            len({hashlib.sha256(each).hexdigest() for each in made}) == 1,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gates", nargs="*", default=list(load(CONFIG).gates))
    drawn = Table("gate", "bits", "bytes, %", "accuracy, %", "changed", "flips", "same file", "parity, forecast")
    for gate in parser.parse_args().gates:
        with TemporaryDirectory() as folder:
            record = run(CONFIG, gate, output=folder).record
            full = full_answers(gate)
            for row in rows(gate, record, Path(folder, gate), full):
                told = [f"{row.bytes:.2f}", f"{row.accuracy:.2f}", str(row.changed), str(row.flips), str(row.same)]
                drawn.add_row(row.gate, row.bits, *told, verdict(record) if row.bits == "7 of 8" else "")
    Console(width=120).print(drawn)


def full_answers(gate: str) -> torch.Tensor:
    with torch.no_grad():
        given: torch.Tensor = resnet(56 if gate == "deeper" else 20)(images("test")[0]).argmax(1)
    return given


def verdict(record: Record) -> str:
    outcomes = {budget.id: budget.outcome for budget in record.budgets}
    file = record.quantized
    forecast = "" if file is None or file.forecast is None else f", {file.forecast} = {file.bytes}"
    return f"{outcomes.get('quantized.parity', '')}{forecast}"


if __name__ == "__main__":
    main()
