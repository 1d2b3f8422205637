"""Responses are read where they should be, and equal what plain forward hooks would give."""

import numpy as np
import pytest
import torch
from networks import NETWORKS, conditioned, coupling, network
from torch import Tensor, nn

from pfa_gate.coupling import trace
from pfa_gate.errors import DataError, LayerNotCalledError, LayerPatternError
from pfa_gate.probe import chosen_layers, hooked_layers, pooled, respond, respond_by_hooks


@pytest.mark.parametrize("pooling", ["max", "mean"])
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "shared"])
def test_responses_of_layers_equal_those_of_hooks(name: str, pooling: str) -> None:
    model, example = network(name)
    batches = [torch.randn(size, *example.shape[1:]) for size in (5, 1, 3)]
    layers = coupling(name).layers
    read = list(respond(coupling(name).program, batches, [tap for layer in layers for tap in layer.taps], pooling))
    hooked = list(respond_by_hooks(model, batches, hooked_layers(model), pooling))
    for graph, hooks in zip(read, hooked, strict=True):
        for layer in layers:
            torch.testing.assert_close(graph[layer.taps[0].node], hooks[layer.name])


def test_a_sum_is_read_before_its_activation() -> None:
    model, example = network("residual")
    tap = coupling("residual").group("stem").taps[0]
    found = next(respond(coupling("residual").program, [example], [tap]))[tap.node]
    with torch.no_grad():
        x = model.norm(model.stem(example)).relu()
        x = x + model.norm2(model.conv2(model.norm1(model.conv1(x)).relu()))
    torch.testing.assert_close(found, x.amax((2, 3)))


def test_every_call_of_a_shared_layer_is_read() -> None:
    model, example = network("shared")
    layer = next(layer for layer in coupling("shared").layers if layer.name == "twice")
    assert len(layer.taps) == 2
    hooked = next(respond_by_hooks(model, [example], [each for each in hooked_layers(model) if each.name == "twice"]))
    assert hooked["twice"].shape == (4, 8)


def test_pooling_of_a_linear_over_tokens() -> None:
    output = torch.randn(3, 7, 5)
    assert torch.equal(pooled(output, axis=2), output.amax(1))
    assert torch.equal(pooled(output[:, 0], axis=1), output[:, 0])


@pytest.mark.parametrize("size", [4, 12])
def test_a_layer_that_has_the_batch_behind_the_tokens(size: int) -> None:
    """As torch's own attention puts it: samples are samples all the same, whatever the batch size."""
    model = conditioned(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True))
    data = torch.randn(12, 5, 8)
    found = trace(model, data[:2])
    (layer,) = [each for each in found.layers if "in_proj" in each.name]
    (tap,) = layer.taps
    answers = [taken[tap.node] for taken in respond(found.program, data.split(size), [tap])]
    attention = model.self_attn
    expected = (data @ attention.in_proj_weight.T + attention.in_proj_bias).amax(1)
    torch.testing.assert_close(torch.cat(answers), expected)


def test_a_batch_that_does_not_fit_is_named() -> None:
    program, layers = coupling("residual").program, coupling("residual").layers
    with pytest.raises(DataError, match=r"does not run on a batch of float32 \[2, 4, 8, 8\]"):
        list(respond(program, [torch.randn(2, 4, 8, 8)], layers[0].taps))


def names(model: nn.Module, example: Tensor, include: list[str], exclude: list[str]) -> list[str]:
    return [layer.name for layer in chosen_layers(model, trace(model, example).layers, include, exclude)]


def test_patterns_choose_layers() -> None:
    model, example = network("residual")
    assert names(model, example, ["conv*"], ["conv2"]) == ["conv1", "conv3"]
    with pytest.raises(LayerPatternError) as caught:
        names(model, example, ["nothing*"], [])
    assert str(caught.value) == (
        "The pattern 'nothing*' matches no layer.\n  The layers are: stem, conv1, conv2, shortcut, conv3, head."
    )


class Idle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


def test_a_layer_that_is_never_called_is_an_error_unless_excluded() -> None:
    model, example = conditioned(Idle()), torch.randn(2, 4)
    with pytest.raises(LayerNotCalledError, match="Layer 'idle' is never called"):
        names(model, example, ["*"], [])
    assert names(model, example, ["*"], ["idle"]) == ["used"]
    with pytest.raises(LayerNotCalledError, match="Layer 'idle' is never called"):
        list(respond_by_hooks(model, [example], hooked_layers(model)))
    assert not any(module._forward_hooks for module in model.modules())


def test_taps_give_numbers_in_the_order_of_the_filters() -> None:
    layer = coupling("grouped").layers[0]
    assert np.array_equal(layer.taps[0].filters, np.arange(16))
