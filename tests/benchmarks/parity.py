"""Answers that the runtime's optimised kernels flip, by how a file stores bytes: `python tests/benchmarks/parity.py`.

The trained CIFAR ResNets as ONNX files: floating against torch, and in eight bits against themselves without
optimisations, on all test images. Calibrated on 256 training images. The last column is of the kernels.
"""

import argparse
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnxruntime import quantization
from resnets import images, resnet, test
from rich.console import Console
from rich.table import Table
from torch import Tensor

from pfa_gate.artifacts.onnx_model import onnx_content
from pfa_gate.artifacts.program import program_of, trials
from pfa_gate.model import Batch
from pfa_gate.report.parity import machine_words
from pfa_gate.runtime.pair import Pair, RuntimeFile
from pfa_gate.runtime.parity import largest
from pfa_gate.runtime.quantize import quantize

CALIBRATED = 256
SIGNED, UNSIGNED = quantization.QuantType.QInt8, quantization.QuantType.QUInt8
TOOLS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "unsigned by signed": (UNSIGNED, SIGNED, {}),
    "unsigned by signed, reduce_range": (UNSIGNED, SIGNED, {"reduce_range": True}),
    "unsigned by unsigned": (UNSIGNED, UNSIGNED, {}),
    "signed symmetric by signed": (SIGNED, SIGNED, {"extra_options": {"ActivationSymmetric": True}}),
    "signed asymmetric by signed": (SIGNED, SIGNED, {"extra_options": {"ActivationSymmetric": False}}),
}


class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, pixels: Tensor) -> None:
        self._parts: Iterator[Tensor] = iter(pixels.split(64))

    def get_next(self) -> dict[str, Any] | None:
        part = next(self._parts, None)
        return None if part is None else {"x": np.asarray(part)}


def files(depth: int, folder: Path) -> Iterator[tuple[str, RuntimeFile]]:
    model, pixels = resnet(depth), images("train")[0][:CALIBRATED]
    inputs = ((pixels[:8],), {})
    export = program_of(model, inputs)
    content = onnx_content(export, model, trials(export, model, inputs))
    yield "floating, against torch", RuntimeFile("compressed", "model.onnx", content, model)
    feeds = [{"x": part.numpy()} for part in pixels.split(64)]
    for name, reduced in (("pfa_gate's, reduce_range", True), ("pfa_gate's, all 8 bits", False)):
        yield name, RuntimeFile("quantized", "model.int8.onnx", quantize(content, feeds, reduced=reduced).content, None)
    (folder / "full.onnx").write_bytes(content)
    for name, (activations, weights, more) in TOOLS.items():
        path = folder / "bytes.onnx"
        quantization.quantize_static(
            str(folder / "full.onnx"), str(path), Reader(pixels), per_channel=True, activation_type=activations,
            weight_type=weights, **more,
        )  # fmt: skip
        yield name, RuntimeFile("quantized", "bytes.onnx", path.read_bytes(), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, nargs="+", default=[20, 56])
    logging.disable(logging.WARNING)
    table = Table(
        "network", "activations by weights", "flips", "largest gap, of the spread", "accuracy, plain", "optimised"
    )
    pixels, labels = test()
    machine = ""
    for depth in parser.parse_args().depth:
        with tempfile.TemporaryDirectory() as folder:
            for name, file in files(depth, Path(folder)):
                pair = Pair(file, 1)
                found = pair.update(Batch((part,), {}) for part in pixels.split(128))
                machine = machine_words(pair.machine)
                plain, optimised = (100 * float(np.mean(each == labels.numpy())) for each in found.answers or ())
                gap = largest(found.relative)
                table.add_row(f"ResNet-{depth}", name, str(len(found.flipped)), f"{gap:.2g}", f"{plain:.1f}",
                              f"{optimised:.1f}")  # fmt: skip
    Console(width=120).print(table)
    print(f"{len(labels)} test images; {machine}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
