"""Files for any size: what may change beside the batch is found by trying, named, and true of both files."""

from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from pfa_gate.artifacts.onnx_model import write_onnx
from pfa_gate.artifacts.program import program_of, resized_trial, trials, write_program
from pfa_gate.artifacts.sizes import FIXED, free_sizes
from pfa_gate.graph.size_flow import size_flow
from pfa_gate.model.batch import Inputs


class UNet(nn.Module):
    """What is halved and doubled again meets what was kept: both sizes must be even."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.low = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.up, self.head = nn.ConvTranspose2d(8, 4, 2, 2), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        kept = self.down(x).relu()
        low = self.low(functional.max_pool2d(kept, 2)).relu()
        return {"mask": self.head(torch.cat([kept, self.up(low)], 1))}


class Style(nn.Module):
    """Instance norms, reflected borders and nearest neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.last = nn.Conv2d(3, 6, 3, 2), nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.instance_norm(self.body(functional.pad(x, (1, 1, 1, 1), "reflect"))).relu()
        made: Tensor = self.last(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        return made


class Centre(nn.Module):
    """Runs at any size, and does something else at each: the middle row, counted from the size."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.body(x)[:, :, x.shape[2] // 2]
        return made


def text() -> nn.Module:
    config = DistilBertConfig(
        vocab_size=40, dim=16, n_layers=1, n_heads=2, hidden_dim=24, max_position_embeddings=48, num_labels=3
    )
    return DistilBertForSequenceClassification(config)


def images() -> Inputs:
    return (torch.randn(2, 3, 16, 16),), {}


def words() -> Inputs:
    return (), {"input_ids": torch.randint(0, 40, (2, 8)), "attention_mask": torch.ones(2, 8, dtype=torch.long)}


LENGTH = ("batch", "length")
CASES = {
    "U-Net": (UNet, images, {"x": ("batch", 3, "height", "width")}, ["mask"]),
    "style": (Style, images, {"x": ("batch", 3, "height", "width")}, ["output"]),
    "text": (text, words, {"input_ids": LENGTH, "attention_mask": LENGTH}, ["logits"]),
    "fixed": (
        lambda: nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(392, 2)),
        images,
        {"input": ("batch", 3, 16, 16)},
        ["output"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_both_files_take_every_size_that_the_model_takes(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    build, example, sizes, outputs = CASES[name]
    model, inputs = build().eval(), example()
    free = free_sizes(model, inputs)
    export = program_of(model, inputs, free)
    assert export.sizes == sizes
    tried = [*trials(export, model, inputs), *resized_trial(export, inputs, free)]
    assert len(tried) == (2 if name == "fixed" else 3)
    write_program(export, tmp_path / "model.pt2", model, tried)  # both compare what the file gives with the model
    write_onnx(export, tmp_path / "model.onnx", model, tried)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    assert {each.name: tuple(each.shape) for each in session.get_inputs()} == sizes
    assert [each.name for each in session.get_outputs()] == outputs


def test_a_program_recorded_at_one_size_takes_others_only_where_its_numbers_do_not_depend_on_them() -> None:
    inputs = images()
    for model, free in ((Style(), {(0, 2): 32, (0, 3): 32}), (Centre(), {(0, 3): 32})):
        assert free_sizes(model, inputs, size_flow(model, inputs).holds).sizes == free


class Small(nn.Conv2d):
    """Takes squares alone, and none above 16."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] > 16 or x.shape[2] != x.shape[3]:
            raise ValueError("too large, or no square")
        return super().forward(x)


def test_what_the_model_does_not_run_at_is_not_offered() -> None:
    assert free_sizes(Small(3, 2, 1), images()).sizes == {(0, 2): 8, (0, 3): 8}
    assert free_sizes(nn.Linear(16, 2), ((torch.zeros(2, 16),), {})) == FIXED
