"""A file beside the model that it must equal, whatever that model says of itself."""

import io

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from pfa_gate.model import Batch
from pfa_gate.runtime.pair import Pair, RuntimeFile


class Doubling(nn.Module):
    """Counts as false where it is asked, as a container without parts does."""

    def __len__(self) -> int:
        return 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


def scaled(factor: float) -> bytes:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in ("x", "output")]
    stored = helper.make_tensor("factor", TensorProto.FLOAT, [1], [factor])
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "factor"], ["output"])], "net", ports[:1], ports[1:], [stored]
    )
    held = io.BytesIO()
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), held)
    return held.getvalue()


@pytest.mark.parametrize(("factor", "gap"), [(2.0, 0.0), (1.0, 3.0)])
def test_the_model_itself_is_the_reference(factor: float, gap: float) -> None:
    pair = Pair(RuntimeFile("compressed", "model.onnx", scaled(factor), Doubling()))
    assert float(pair.update([Batch((torch.tensor([[1.0, 3.0, 2.0]]),), {})]).gaps.max()) == gap
