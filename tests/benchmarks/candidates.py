"""Models that other tools made, held against the full model: `python tests/benchmarks/candidates.py --help`.

A trained CIFAR ResNet-20, made smaller by three tools, each with 256 training images:

- torch-pruning: a part of all channels cut by their L1 norm along its dependency graph; no training after it,
- ONNX Runtime: the full model as model.onnx, quantized to eight bits (QDQ, signed, one scale a channel),
- torchao: the exported program, quantized to eight bits by its quantizer for x86.

Two steps, as the tools need not be installed where models are judged:

    python -m venv tools && tools/bin/pip install -e .[onnx] torch-pruning torchao
    tools/bin/python tests/benchmarks/candidates.py --make build/candidates
    python tests/benchmarks/candidates.py --judge build/candidates

`--judge` runs `pfa-gate compare` on the test images and prints its numbers as a table.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from resnets import images, resnet, test
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

CALIBRATED = 256
FILES = ("pruned.pt2", "int8.onnx", "torchao.pt2")


def full() -> nn.Module:
    """The ResNet-20, for a command."""
    return resnet(20)


def data() -> tuple[Tensor, Tensor]:
    """The test images, for a command."""
    return test()


def exported(model: nn.Module, pixels: Tensor, path: Path) -> None:
    batch = torch.export.Dim("batch", min=1, max=4096)
    torch.export.save(torch.export.export(model, (pixels[:8].clone(),), dynamic_shapes=({0: batch},)), path)


def pruned(path: Path, pixels: Tensor) -> None:
    import torch_pruning  # noqa: PLC0415  not where models are judged

    model = full()
    importance = torch_pruning.importance.MagnitudeImportance(p=1)
    pruner = torch_pruning.pruner.MagnitudePruner(
        model, pixels[:2], importance=importance, pruning_ratio=0.1, ignored_layers=[model.linear]
    )
    pruner.step()
    exported(model.eval(), pixels, path)


def int8(path: Path, pixels: Tensor) -> None:
    from onnxruntime import quantization  # noqa: PLC0415

    from pfa_gate.artifacts.onnx_model import onnx_content  # noqa: PLC0415
    from pfa_gate.artifacts.program import program_of, trials  # noqa: PLC0415

    model, inputs = full(), ((pixels[:8],), {})
    export = program_of(model, inputs)
    whole = path.with_name("full.onnx")
    whole.write_bytes(onnx_content(export, model, trials(export, model, inputs)))

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._parts = iter(pixels.split(64))

        def get_next(self) -> dict[str, Any] | None:
            part = next(self._parts, None)
            return None if part is None else {name: np.asarray(part)}

    import onnx  # noqa: PLC0415

    name = onnx.load(str(whole)).graph.input[0].name
    quantization.quantize_static(
        str(whole), str(path), Reader(), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
        activation_type=quantization.QuantType.QInt8, weight_type=quantization.QuantType.QInt8,
    )  # fmt: skip


def torchao(path: Path, pixels: Tensor) -> None:
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e  # noqa: PLC0415
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86  # noqa: PLC0415

    batch = torch.export.Dim("batch", min=1, max=4096)
    program = torch.export.export(full(), (pixels[:8].clone(),), dynamic_shapes=({0: batch},)).module()
    quantizer = x86.X86InductorQuantizer().set_global(x86.get_default_x86_inductor_quantization_config())
    prepared = prepare_pt2e(program, quantizer)
    with torch.no_grad():
        for part in pixels.split(64):
            prepared(part)
    exported(convert_pt2e(prepared), pixels, path)


def make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pixels = images("train")[0][:CALIBRATED]
    for name, tool in zip(FILES, (pruned, int8, torchao), strict=True):
        tool(folder / name, pixels)
        print(f"{folder / name}: {(folder / name).stat().st_size:,} bytes", flush=True)


def judge(folder: Path) -> None:
    from pfa_gate.config.comparison import ComparisonRequest  # noqa: PLC0415
    from pfa_gate.study.compare import compared  # noqa: PLC0415

    here = Path(__file__).name
    table = Table()
    for head in ("candidate", "parameters", "bytes", "MACs", "accuracy", "agreement", "divergence", "worst class"):
        table.add_column(head, justify="right")
    for name in [name for name in FILES if (folder / name).is_file()]:
        found = compared(ComparisonRequest(f"{here}:full", str(folder / name), f"{here}:data")).record
        part, scores, answers = found.compressed, found.scores, found.answers
        if part is None or scores is None or answers is None:
            raise SystemExit(f"{name} was not judged.")
        falls = [(each.full - each.compressed) / each.samples for each in answers.classes if each.samples >= 20]
        macs = "not counted" if part.macs is None else f"{100 * part.macs / found.model.macs:.1f} %"
        table.add_row(
            name, f"{100 * part.parameters / found.model.parameters:.1f} %",
            f"{100 * part.bytes / found.model.bytes:.1f} %", macs, f"{100 * (scores.compressed or 0):.1f}",
            f"{100 * answers.agreement.value:.1f} %" if answers.agreement else "",
            f"{answers.divergence.value:.4f}" if answers.divergence else "", f"-{100 * max(falls):.1f} pp",
        )  # fmt: skip
    Console(width=140).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--make", type=Path, metavar="DIR", help="write the candidates there")
    parser.add_argument("--judge", type=Path, metavar="DIR", help="judge those there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.make:
        make(arguments.make.absolute())
    if arguments.judge:
        folder = arguments.judge.absolute()
        sys.path.insert(0, str(Path(__file__).parent))
        import os  # noqa: PLC0415

        os.chdir(Path(__file__).parent)  # a factory is named from the current folder
        judge(folder)


if __name__ == "__main__":
    main()
