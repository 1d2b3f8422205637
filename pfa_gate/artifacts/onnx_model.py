"""model.onnx, where the extra `onnx` is installed: made from the exported program, checked in ONNX Runtime."""

import copy
import functools
import importlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node
from torch.utils import _pytree as pytree

from pfa_gate.artifacts.export import Export, ExportFailedError
from pfa_gate.artifacts.program import check, quiet, reason_of
from pfa_gate.graph.program import operator_name, writes
from pfa_gate.model.batch import Inputs


def write_onnx(export: Export, path: Path, model: nn.Module, tried: Sequence[Inputs]) -> None:
    """Write model.onnx; in ONNX Runtime it must equal `model` on the inputs `tried`.

    The program's graph may be changed, to another that computes the same: this form comes last.

    Raises:
        ExportFailedError: an operator has no ONNX form, or the runtime gives something else.
        OSError: the disk is full.
    """
    path.write_bytes(onnx_content(export, model, tried))


def onnx_content(export: Export, model: nn.Module, tried: Sequence[Inputs]) -> bytes:
    """What `write_onnx` writes.

    Raises:
        ExportFailedError: an operator has no ONNX form, or the runtime gives something else.
    """
    try:
        return _translated(_whole(export.program), export, model, tried)
    except ExportFailedError:  # the exporter's own way takes four times as long
        return _translated(export.program, export, model, tried)


def _translated(exported: ExportedProgram, export: Export, model: nn.Module, tried: Sequence[Inputs]) -> bytes:
    known: Any = _KNOWN if isinstance(exported, _Whole) else None
    try:
        with quiet(), _operators_kept():
            made: Any = torch.onnx.export(
                exported,
                (),
                dynamo=True,
                verbose=False,
                custom_translation_table=known,
                output_names=output_names(export),
            )
            content: bytes = _with_named_sizes(made.model_proto, export).SerializeToString()
            session = importlib.import_module("onnxruntime").InferenceSession(
                content, providers=["CPUExecutionProvider"]
            )
    except Exception as error:  # whatever the converter meets in a user's model
        raise ExportFailedError(reason_of(error)) from error
    for inputs in tried:
        check(lambda given: _run(session, export, given), model, inputs)
    return content


def output_names(export: Export) -> list[str]:
    """Names for what a program gives: a mapping's own keys; `output`, numbered where there are several."""
    structure = export.program.call_spec.out_spec
    paths = [
        path
        for path, leaf in pytree.tree_leaves_with_path(pytree.tree_unflatten([0] * structure.num_leaves, structure))
    ]
    words = ["_".join(re.sub(r"[^0-9A-Za-z_]", "", str(key)) for key in path) for path in paths]
    return [f"output_{word}" if word.isdecimal() else word or "output" for word in words]


def _with_named_sizes(proto: Any, export: Export) -> Any:
    """The model with `batch` and `height` in place of the exporter's own words, alone and in formulas."""
    word = re.compile("|".join(rf"\b{re.escape(symbol)}\b" for symbol in export.symbols) or r"(?!)")
    graph = proto.graph
    for value in (*graph.input, *graph.output, *graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = word.sub(lambda match: export.symbols[match[0]], size.dim_param)
    return proto


@contextmanager
def _operators_kept() -> Iterator[None]:
    """Let the exporter make its table of operators once in a process; it makes one for each model, in a second."""
    try:
        registry: Any = importlib.import_module("torch.onnx._internal.exporter._registration").ONNXRegistry
        original, made = vars(registry)["from_torchlib"], registry.from_torchlib
    except (ImportError, AttributeError, KeyError):  # a torch that keeps its table elsewhere
        yield
        return
    registry.from_torchlib = staticmethod(functools.partial(_operators, made))
    try:
        yield
    finally:
        registry.from_torchlib = original


_TABLES: dict[Any, Any] = {}


def _operators(made: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A copy of the table: the exporter adds the operators of one model to it."""
    key = args, tuple(kwargs.items())
    if key not in _TABLES:
        with _sources_unread():
            _TABLES[key] = made(*args, **kwargs)
    table = copy.copy(_TABLES[key])
    table.functions = {name: list(forms) for name, forms in table.functions.items()}
    return table


@contextmanager
def _sources_unread() -> Iterator[None]:
    """Spare the table the sources of its functions: it parses 500 of them for a domain, and uses their signatures."""
    kind: Any = getattr(importlib.import_module("onnxscript").values, "TracedOnnxFunction", None)
    original = vars(kind).get("function_ir") if kind else None
    if original is None:  # another version of onnxscript
        yield
        return
    kind.function_ir = property(lambda function: SimpleNamespace(domain=function.opset.domain))
    try:
        yield
    finally:
        kind.function_ir = original


class _Whole(ExportedProgram):
    """A program all of whose operators ONNX has: to take apart those that it has not, the exporter traces it anew."""

    def run_decompositions(
        self, decomp_table: Mapping[Any, Any] | None = None, decompose_custom_triton_ops: bool = False
    ) -> ExportedProgram:
        calls = [node for node in self.graph.nodes if node.op == "call_function"]
        apart = [str(node.target) for node in calls if writes(node) or node.target in (decomp_table or ())]
        if apart:
            raise NotImplementedError(f"{apart[0]} must be taken apart")
        return self


def _whole(exported: ExportedProgram) -> ExportedProgram:
    for node in exported.graph.nodes:
        if node.op == "call_function" and writes(node) and (_idle(node) or _alone(node.args[0], node)):
            node.target = _not_writing(node.target)
    whole = copy.copy(exported)
    whole.__class__ = _Whole
    return whole


def _not_writing(target: Any) -> Any:
    """The operator that makes a new value of what this one writes over: `relu` for `relu_`; itself if there is none."""
    packet = getattr(torch.ops.aten, target.overloadpacket.__name__.removesuffix("_"), None)
    return getattr(packet, target._overloadname, target) if target.namespace == "aten" else target


def _idle(node: Node) -> bool:
    return operator_name(node) == "dropout_" and node.args[2] is False


def _alone(source: Any, reader: Node) -> bool:
    """Whether a value is new and nobody else's, so that writing over it is the same as making another."""
    schema = getattr(source.target, "_schema", None) if isinstance(source, Node) else None
    if (
        schema is None or list(source.users) != [reader] or "dropout" in schema.name
    ):  # dropout may give what it is given
        return False
    return all(each.alias_info is None for each in schema.returns)


def _batch_norm(value: Any, weight: Any, bias: Any, *rest: Any) -> Any:
    mean, variance, training, _, epsilon, _ = rest
    if training:
        raise NotImplementedError("a batch norm takes its statistics from the batch")
    op: Any = importlib.import_module("onnxscript").opset18
    if weight is None or bias is None:
        shape, one, zero = op.Shape(mean), op.Constant(value_floats=[1.0]), op.Constant(value_floats=[0.0])
        weight = op.Expand(one, shape) if weight is None else weight
        bias = op.Expand(zero, shape) if bias is None else bias
    return op.BatchNormalization(value, weight, bias, mean, variance, epsilon=epsilon)


def _adaptive_avg_pool2d(value: Any, size: Sequence[int]) -> Any:
    if list(size) != [1, 1]:
        raise NotImplementedError("several cells are pooled")
    return importlib.import_module("onnxscript").opset18.GlobalAveragePool(value)


# What the exporter takes apart although ONNX has it as one operator.
_KNOWN = {
    torch.ops.aten.batch_norm.default: _batch_norm,
    torch.ops.aten.adaptive_avg_pool2d.default: _adaptive_avg_pool2d,
}


def _run(session: Any, export: Export, inputs: Inputs) -> list[Tensor]:
    """Floating outputs of the runtime, in the model's order."""
    tensors = [leaf for leaf in export.leaves(inputs) if isinstance(leaf, Tensor)]
    names = [each.name for each in session.get_inputs()]
    feed = {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
    outputs = (torch.from_numpy(value) for value in session.run(None, feed))
    return [value for value in outputs if value.is_floating_point()]
