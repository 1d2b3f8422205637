"""What is in an ONNX file, as its protobuf says it."""

import importlib
from collections import Counter
from collections.abc import Iterable
from importlib.util import find_spec
from math import prod
from typing import Any

from pfa_gate.errors import ArtifactError
from pfa_gate.runtime.file_facts import FilePort, by_kind
from pfa_gate.runtime.onnx_tensors import bytes_of, nodes_of, stored_tensors, tensors_of
from pfa_gate.runtime.zero_counts import zeros_of_onnx

_STANDARD = ("", "ai.onnx")


def onnx_facts(content: bytes) -> dict[str, Any] | None:
    """Facts of an ONNX file; None where the content is none.

    Raises:
        ArtifactError: the package onnx is not installed.
    """
    if find_spec("onnx") is None:
        raise ArtifactError("An ONNX file is read with the package onnx.", remedy="Run pip install onnx.")
    onnx: Any = importlib.import_module("onnx")
    try:
        proto = onnx.load_from_string(content)
    except Exception:  # the reader refuses in exceptions of several libraries
        return None
    if not proto.opset_import or not (proto.graph.node or proto.graph.output):
        return None
    tensors = dict(tensors_of(proto.graph))
    parameters, size = stored_tensors(proto)
    sizes = [(_dtype(each.data_type), prod(each.dims), bytes_of(each)) for each in tensors.values()]
    given = [each for each in proto.graph.input if each.name not in tensors]
    return {
        "form": "onnx",
        "producer": f"{proto.producer_name} {proto.producer_version}".strip(),
        "opset": {each.domain or "ai.onnx": each.version for each in proto.opset_import},
        "inputs": tuple(map(_port, given)),
        "outputs": tuple(map(_port, proto.graph.output)),
        "operators": dict(_ordered(nodes_of(proto))),
        "parameters": parameters,
        "bytes": size,
        "stored": by_kind(sizes),
        "beside": tuple(sorted({each.value for tensor in tensors.values() for each in tensor.external_data
                                if each.key == "location"})),
        "zeros": zeros_of_onnx(proto),
    }  # fmt: skip


def _ordered(nodes: Iterable[Any]) -> list[tuple[str, int]]:
    names = Counter(each.op_type if each.domain in _STANDARD else f"{each.domain}.{each.op_type}" for each in nodes)
    return sorted(names.items(), key=lambda each: (-each[1], each[0]))


def _port(value: Any) -> FilePort:
    if not value.type.HasField("tensor_type"):
        return FilePort(value.name, str(value.type.WhichOneof("value") or "unknown").removesuffix("_type"), None)
    kind = value.type.tensor_type
    shape = None
    if kind.HasField("shape"):
        shape = tuple(
            each.dim_value if each.HasField("dim_value") else each.dim_param or "?" for each in kind.shape.dim
        )
    return FilePort(value.name, _dtype(kind.elem_type), shape)


def _dtype(number: int) -> str:
    names: Any = importlib.import_module("onnx").TensorProto.DataType
    try:
        word = str(names.Name(number))
    except ValueError:
        return "unknown"
    return {"FLOAT": "float32", "DOUBLE": "float64", "UNDEFINED": "unknown"}.get(word, word.lower())
