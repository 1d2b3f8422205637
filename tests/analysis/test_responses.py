"""Responses are read where they should be, and equal what plain forward hooks would give."""

import numpy as np
import pytest
import torch
from networks import NETWORKS, conditioned, coupling, network
from torch import Tensor, nn
from torch.fx import Node

from pfa_gate.analysis.responses import (
    PooledMaps,
    ResponseReader,
    SampledPositions,
    chosen_layers,
    hooked_layers,
    pooled,
    respond,
    respond_by_hooks,
    with_unread_explained,
)
from pfa_gate.errors import DataError, LayerNotCalledError, LayerPatternError
from pfa_gate.graph import Tap, trace
from pfa_gate.model import batch_of


@pytest.mark.parametrize("reading", [PooledMaps("max"), PooledMaps("mean"), SampledPositions(3, seed=5)])
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "shared"])
def test_responses_of_layers_equal_those_of_hooks(name: str, reading: ResponseReader) -> None:
    model, example = network(name)
    batches = [torch.randn(size, *example.shape[1:]) for size in (5, 1, 3)]
    layers = coupling(name).layers
    read = list(respond(coupling(name).program, batches, [tap for layer in layers for tap in layer.taps], reading))
    hooked = list(respond_by_hooks(model, batches, hooked_layers(model), reading))
    for graph, hooks in zip(read, hooked, strict=True):
        for layer in layers:
            torch.testing.assert_close(graph[layer.taps[0].node], hooks[layer.name])


def positions_by_hand(outputs: np.ndarray, axis: int, wanted: SampledPositions) -> np.ndarray:
    """Sample by sample: as many different positions of its map as are wanted, or all."""
    found = []
    for number, output in enumerate(np.moveaxis(outputs, axis, -1)):
        places = output.reshape(-1, output.shape[-1])
        draw = np.random.default_rng((wanted.seed, number))
        few = len(places) > wanted.positions
        found.append(
            places[draw.choice(len(places), wanted.positions, replace=False, shuffle=False)] if few else places
        )
    return np.stack(found)


def samples_first(output: Tensor, axis: int) -> tuple[np.ndarray, int]:
    """Of 13 samples, which torch's own attention has behind the tokens, or flattened with them."""
    if len(output) == 6 * 13:
        output, axis = output.unflatten(0, (6, 13)), axis + 1
    batch = output.shape.index(13)
    return output.movedim(batch, 0).numpy(), axis + (axis < batch)


@pytest.mark.parametrize("size", [13, 5, 1])
@pytest.mark.parametrize("name", ["residual", "sequence", "volume", "attention"])
def test_drawn_positions_are_those_of_numpy_whatever_the_batch_size(name: str, size: int) -> None:
    """Convolutions, tokens and sums alike."""
    _, example = network(name)
    data = torch.randn(13, *example.shape[1:], generator=torch.Generator().manual_seed(1))
    found, wanted = coupling(name), SampledPositions(4, seed=9)
    taps = {tap.node: tap.axis for part in (*found.layers, *found.free) for tap in part.taps}
    outputs: dict[str, Tensor] = {}

    def keep(node: Node, value: Tensor) -> None:
        if node.name in taps:
            outputs[node.name] = value

    with torch.inference_mode():
        found.program.run((data,), {}, keep)
    stream = list(respond(found.program, data.split(size), [Tap(*each, np.arange(0)) for each in taps.items()], wanted))
    assert len(stream) == -(-13 // size)
    for node, axis in taps.items():
        read = torch.cat([each[node] for each in stream])
        by_hand = positions_by_hand(*samples_first(outputs[node], axis), wanted)
        np.testing.assert_allclose(read, by_hand, rtol=1e-5, atol=1e-5)


def test_every_position_is_drawn_as_often() -> None:
    """Of 7 positions 3 are drawn, all different; over 4,000 maps each comes about 1,714 times (sd 31)."""
    numbers = torch.arange(7.0).repeat(4000, 1, 1)
    found = SampledPositions(3, seed=2)(numbers, 1, range(4000))[:, :, 0]
    assert all(len(set(each)) == 3 for each in found.tolist())
    assert np.abs(np.bincount(found.flatten().int()) - 4000 * 3 / 7).max() < 130
    assert not torch.equal(found, SampledPositions(3, seed=3)(numbers, 1, range(4000))[:, :, 0])


def test_several_maps_of_one_sample_stay_together() -> None:
    """As windows and flattened tokens do: each is pooled, and positions are drawn from all of them."""
    maps, samples = torch.randn(6, 5, 3, 3), range(10, 12)
    assert torch.equal(PooledMaps("max")(maps, 1, samples), maps.amax((2, 3)).reshape(2, 3, 5))
    of_each = maps.reshape(2, 3, 5, 9).transpose(1, 2).reshape(2, 5, 27)
    assert torch.equal(SampledPositions(4)(maps, 1, samples), SampledPositions(4)(of_each, 1, samples))
    assert SampledPositions(4)(maps, 1, range(4)).shape == (6, 4, 5)
    assert PooledMaps("max")(maps, 1, range(4)).shape == (6, 5)


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
    assert hooked["twice"].shape == (2, 2, 8)


@pytest.mark.parametrize("places", [(2, 2), (3, 3), (4, 4), (5, 5), (3, 7), (31,), (32,), (7, 7), (2, 3, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
def test_maps_of_any_size_are_pooled_as_numpy_does(places: tuple[int, ...], dtype: torch.dtype) -> None:
    output = (torch.randn(5, 6, *places, generator=torch.Generator().manual_seed(0)) * 50).to(dtype)
    wanted = output.double().numpy().reshape(5, 6, -1).max(2)
    assert np.array_equal(pooled(output, axis=1).double().numpy(), wanted)
    turned = output.transpose(0, 1).contiguous().transpose(0, 1)
    assert np.array_equal(pooled(turned, axis=1).double().numpy(), wanted)


@pytest.mark.parametrize("filters", [1, 6, 32, 48])
@pytest.mark.parametrize("places", [(1, 1), (2, 2), (3, 5), (16, 16)])
def test_maps_with_the_filters_of_a_place_side_by_side_are_pooled_alike(filters: int, places: tuple[int, int]) -> None:
    output = torch.randn(5, filters, *places, generator=torch.Generator().manual_seed(0))
    beside = output.contiguous(memory_format=torch.channels_last)
    assert torch.equal(pooled(beside, axis=1), output.amax((2, 3)))
    torch.testing.assert_close(pooled(beside, axis=1, pooling="mean"), output.mean((2, 3)))


def test_a_map_with_a_value_that_is_no_number_has_no_maximum() -> None:
    output = torch.zeros(3, 2, 4, 4)
    output[1, 0, 2, 3] = torch.nan
    assert pooled(output, axis=1).isnan().nonzero().tolist() == [[1, 0]]


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
    with pytest.raises(DataError) as caught:
        list(respond(program, [torch.randn(2, 3, 8, 8, dtype=torch.float64)], layers[0].taps))
    assert caught.value.remedy == "Make the probe give what the model's forward takes."


class Places(nn.Module):
    """Reads sequences of any length, by a table of places."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(9, 4))
        self.mixed = nn.Linear(4, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(torch.relu(self.mixed(tokens + self.table[: tokens.shape[1]])))


def test_batches_of_several_lengths_are_told_what_to_do() -> None:
    """The model takes them all; what is exported has the length of the first batch."""
    found = trace(Places(), torch.randn(2, 5, 4))
    batches = [torch.randn(8, 5, 4), torch.randn(8, 7, 4)]
    with pytest.raises(DataError) as caught:
        list(respond(found.program, batches, found.layers[0].taps))
    assert caught.value.fact.startswith("The model does not run on a batch of float32 [8, 7, 4]: ")
    assert caught.value.remedy == (
        "Pad or crop all samples to one size: the model is followed at that of the first batch, [N, 5, 4]."
    )


def names(model: nn.Module, example: Tensor, include: list[str], exclude: list[str]) -> list[str]:
    return [layer.name for layer in chosen_layers(model, trace(model, example).layers, include, exclude, example)]


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
        self.used, self.idle, self.lazy = nn.Linear(4, 3), nn.Linear(4, 3), nn.Conv2d(1, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


def test_layers_that_are_never_called_are_an_error_unless_excluded() -> None:
    model, example = conditioned(Idle()), torch.randn(2, 4)
    with pytest.raises(LayerNotCalledError) as caught:
        names(model, example, ["*"], [])
    assert str(caught.value) == (
        "2 layers are never called in the forward pass: 'idle', 'lazy'.\n"
        "  Remove them from the model, or exclude them: layers: {exclude: [idle, lazy]}."
    )
    with pytest.raises(LayerNotCalledError) as caught:
        names(model, example, ["*"], ["lazy"])
    assert str(caught.value) == (
        "Layer 'idle' is never called in the forward pass.\n"
        "  Remove it from the model, or exclude it: layers: {exclude: [idle]}."
    )
    assert names(model, example, ["*"], ["idle", "lazy"]) == ["used"]


class Unfollowed(nn.Module):
    """Layers that are used, though nothing that they make of the input is followed to an output."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.spare, self.constant = nn.Linear(4, 3), nn.Linear(4, 3), nn.Linear(2, 3)
        self.left, self.lazy = nn.Linear(3, 3), nn.Linear(4, 3)
        self.register_buffer("places", torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        self.spare(x)
        x = self.used(x) + self.constant(self.places)
        return torch.linalg.multi_dot([self.left.weight, x.T, torch.eye(len(x))]).T


def test_a_layer_that_is_used_and_not_followed_is_not_said_to_be_never_called() -> None:
    model, example = conditioned(Unfollowed()), torch.randn(2, 4)
    layers = chosen_layers(model, trace(model, example).layers, ["*"], ["lazy"], example)
    assert {layer.name: layer.frozen for layer in layers if not layer.taps} == {
        "spare": "it is called, but nothing that it makes of the input is followed to an output",
        "constant": "it is called, but nothing that it makes of the input is followed to an output",
        "left": "its weights are read without calling it, in a way that is not followed",
    }
    assert [layer.name for layer in layers] == ["used", "spare", "constant", "left"]
    with pytest.raises(LayerNotCalledError, match="Layer 'lazy' is never called"):
        chosen_layers(model, trace(model, example).layers, ["*"], [], example)


class Experts(nn.Module):
    """Which expert is called hangs on the data; attention never calls its out_proj; a linear gives a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high, self.idle = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.pair, self.odd = Paired(4, 3), Odd(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.high(x) if float(x.mean()) > 0 else self.low(x)
        x = self.attention(x, x, x)[0]
        return self.pair(x)[0].mean(1) + self.odd(x)


class Paired(nn.Linear):
    def forward(self, x: Tensor) -> tuple[None, Tensor]:  # type: ignore[override]
        return super().forward(x), None  # type: ignore[return-value]


class Odd(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).mean()


def read_by_hooks(model: nn.Module, batches: list[Tensor], exclude: list[str]) -> dict[str, tuple[int, str | None]]:
    """For each layer how many samples were read, and why none was."""
    given = [batch_of(each) for each in batches]
    layers = chosen_layers(model, hooked_layers(model), ["*"], exclude, given[0])
    counts: dict[str, int] = {}
    for responses in respond_by_hooks(model, given, layers):
        for name, rows in responses.items():
            counts[name] = counts.get(name, 0) + len(rows)
    found = with_unread_explained(model, given, layers, set(counts))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    return {layer.name: (counts.get(layer.name, 0), None if layer.taps else layer.frozen) for layer in found}


def test_what_hooks_cannot_read_is_not_measured_and_says_why() -> None:
    model, high = conditioned(Experts()), torch.rand(3, 6, 4)
    assert read_by_hooks(model, [high, -high, high], ["idle"]) == {
        "low": (3, None),
        "high": (6, None),
        "attention.out_proj": (
            0,
            "'attention', of type MultiheadAttention, reads its weights without calling it, and a model that cannot be "
            "followed is read at calls alone",
        ),
        "pair": (9, None),
        "odd": (0, "it is called, but gives no tensor of 5 channels for each sample"),
    }


def test_layers_that_no_batch_calls_are_named_together_after_the_pass() -> None:
    model, high = conditioned(Experts()), torch.rand(3, 6, 4)
    with pytest.raises(LayerNotCalledError) as caught:
        read_by_hooks(model, [high, high], [])
    assert caught.value.fact == "2 layers are never called in the forward pass: 'low', 'idle'."
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_batch_that_the_model_refuses_under_hooks_is_named() -> None:
    model = conditioned(Experts())
    with pytest.raises(DataError, match=r"^The model does not take float32 \[3, 6, 5\]: it raised RuntimeError"):
        read_by_hooks(model, [torch.rand(3, 6, 5)], ["idle"])


class Shy(Experts):
    """Does not run while a mode of torch looks on."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.utils._python_dispatch._get_current_dispatch_mode_stack():
            raise RuntimeError("somebody looks on")
        return super().forward(x)


def test_where_nobody_can_look_on_no_layer_is_said_to_be_never_called() -> None:
    found = read_by_hooks(conditioned(Shy()), [torch.rand(3, 6, 4)], [])
    assert found["idle"] == (0, "whether the forward pass uses it cannot be known")
    assert found["high"] == (3, None)


def test_taps_give_numbers_in_the_order_of_the_filters() -> None:
    layer = coupling("grouped").layers[0]
    assert np.array_equal(layer.taps[0].filters, np.arange(16))
