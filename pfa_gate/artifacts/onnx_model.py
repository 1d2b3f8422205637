"""model.onnx, where the extra `onnx` is installed: made from the exported program, checked in ONNX Runtime."""

import importlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export._tree_utils import reorder_kwargs
from torch.utils import _pytree as pytree

from pfa_gate.artifacts.program import ExportFailedError, check, quiet, reason_of
from pfa_gate.coupling import Program
from pfa_gate.surgery.proof import Inputs

_EXTRA = ("onnx", "onnxscript", "onnxruntime")


def installed() -> bool:
    """Whether the extra `onnx` is there."""
    return all(find_spec(name) is not None for name in _EXTRA)


def write_onnx(program: Program, path: Path, model: nn.Module, tried: Sequence[Inputs]) -> None:
    """Write model.onnx; in ONNX Runtime it must equal `model` on the inputs `tried`.

    Raises:
        ExportFailedError: an operator has no ONNX form, or the runtime gives something else.
        OSError: the disk is full.
    """
    try:
        with quiet():
            made: Any = torch.onnx.export(program.exported, (), dynamo=True, verbose=False)
            content = made.model_proto.SerializeToString()
            session = importlib.import_module("onnxruntime").InferenceSession(
                content, providers=["CPUExecutionProvider"]
            )
    except Exception as error:  # whatever the converter meets in a user's model
        raise ExportFailedError(reason_of(error)) from error
    for inputs in tried:
        check(lambda given: _run(session, program, given), model, inputs)
    path.write_bytes(content)


def _run(session: Any, program: Program, inputs: Inputs) -> list[Tensor]:
    """Floating outputs of the runtime, in the model's order."""
    args, kwargs = inputs
    spec = program.exported.call_spec.in_spec
    ordered = reorder_kwargs(kwargs, spec) if spec is not None else kwargs
    tensors = [leaf for leaf in pytree.tree_leaves((args, ordered)) if isinstance(leaf, Tensor)]
    names = [each.name for each in session.get_inputs()]
    feed = {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
    outputs = (torch.from_numpy(value) for value in session.run(None, feed))
    return [value for value in outputs if value.is_floating_point()]
