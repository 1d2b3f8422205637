"""A plan of bits is made by what layers do with error feedback, as they will be stored, where that can be paid."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn

from pfa_gate.compress.quantize import weight_layers
from pfa_gate.graph import record_model, trace_program
from pfa_gate.model import Sampling, Subject, batches_of
from pfa_gate.model.device import CPU
from pfa_gate.pipeline import bit_sensitivity
from pfa_gate.pipeline.bit_sensitivity import BitSensitivity


def subject() -> tuple[Subject, nn.Module]:
    """Layers with a bias, with a batch norm behind them, and with neither, on inputs that are far from zero."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(4, 12, 3, bias=False), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 8, 3, groups=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(32, 16, bias=False), nn.ReLU(), nn.Linear(16, 5),
    ).eval()  # fmt: skip
    mix = torch.randn(4, 4)
    images = torch.einsum("nchw,cd->ndhw", torch.randn(400, 4, 6, 6) + 1, mix)
    probe = batches_of(images, "images", Sampling(batch_size=100))
    return cast("Subject", SimpleNamespace(probe=probe, device=CPU)), model


def sensitivity(given: Any, model: nn.Module, *, feedback: bool) -> BitSensitivity:
    program = record_model(model, (torch.randn(2, 4, 6, 6),), {})
    return BitSensitivity(given, model, program, feedback=feedback)


def test_with_error_feedback_every_layer_does_less_harm_and_the_model_is_left_as_it_was() -> None:
    given, model = subject()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fed, near = (sensitivity(given, model, feedback=each) for each in (True, False))
    assert (fed.feedback, near.feedback) == (True, False)
    layers, _ = weight_layers(model, trace_program(record_model(model, (torch.randn(2, 4, 6, 6),), {})))
    assert [layer.name for layer in layers] == ["0", "3", "6", "8"]
    for layer in layers:
        for width in (2, 4):
            assert fed.at(layer, width).square < 1.1 * near.at(layer, width).square, (layer.name, width)
    totals = [sum(each.at(layer, 3).square for layer in layers) for each in (fed, near)]
    assert totals[0] < 0.6 * totals[1]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_where_that_is_too_much_work_the_nearest_numbers_are_tried_in_all_layers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bit_sensitivity, "WORK", 1e4)
    given, model = subject()
    fed, near = (sensitivity(given, model, feedback=each) for each in (True, False))
    assert not fed.feedback
    layers, _ = weight_layers(model, trace_program(record_model(model, (torch.randn(2, 4, 6, 6),), {})))
    assert [fed.at(layer, 4) for layer in layers] == [near.at(layer, 4) for layer in layers]
