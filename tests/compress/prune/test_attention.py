"""Every head of torch's own attention is a filter, whatever its dress; compared with heads silenced by hand."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from networks import conditioned
from torch import Tensor, nn

from pfa_gate.compress.prune import compress
from pfa_gate.errors import SurgeryError
from pfa_gate.graph import Coupling, trace
from pfa_gate.graph.cost import stored

WIDTH, HEADS = 16, 4
SAMPLE = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(1))


class Attending(nn.Module):
    """An embedding, one attention and a head; a subclass says how the attention is called."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(6, WIDTH), nn.Linear(WIDTH, 3)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, **options)

    def attend(self, x: Tensor, sample: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]  # type: ignore[no-any-return]

    def forward(self, sample: Tensor) -> Tensor:
        x = self.embed(sample)
        return self.head(x + self.attend(x, sample))  # type: ignore[no-any-return]


class Weighing(Attending):
    """Weights of attention are asked for, averaged over the heads, and not used."""

    def attend(self, x: Tensor, sample: Tensor) -> Tensor:
        return self.attention(x, x, x)[0]  # type: ignore[no-any-return]


class TimeFirst(Attending):
    """Time on the first axis: batch and heads lie on one axis."""

    def attend(self, x: Tensor, sample: Tensor) -> Tensor:
        x = x.transpose(0, 1)
        return self.attention(x, x, x)[0].transpose(0, 1)  # type: ignore[no-any-return]


class Masked(Attending):
    """A mask of padding, spread over the heads, and one of the future; with and without weights."""

    def __init__(self, need_weights: bool) -> None:
        super().__init__(batch_first=True)
        self.need_weights = need_weights

    def attend(self, x: Tensor, sample: Tensor) -> Tensor:
        padding = (sample[:, :, 0] > 1).float() * -1e4
        future = torch.full((x.shape[1], x.shape[1]), -1e9).triu(1)
        options = {"key_padding_mask": padding, "attn_mask": future, "need_weights": self.need_weights}
        return self.attention(x, x, x, **options)[0]  # type: ignore[no-any-return]


DRESSES: dict[str, Callable[[], Attending]] = {
    "plain": lambda: Attending(batch_first=True),
    "weights": lambda: Weighing(batch_first=True),
    "time first": TimeFirst,
    "masked": lambda: Masked(need_weights=False),
    "masked, weights": lambda: Masked(need_weights=True),
    "no bias": lambda: Attending(batch_first=True, bias=False),
}


def heads_of(coupling: Coupling) -> str:
    """The group of heads."""
    (name,) = [group.name for group in coupling.free if group.width == HEADS]
    return name


def silence(attention: nn.MultiheadAttention, heads: list[int]) -> None:
    """Zeros in all rows that make these heads and in all columns that read them."""
    width = WIDTH // HEADS
    channels = torch.tensor([head * width + place for head in heads for place in range(width)])
    rows = torch.cat([channels, channels + WIDTH, channels + 2 * WIDTH])
    with torch.no_grad():
        attention.in_proj_weight[rows] = 0
        attention.out_proj.weight[:, channels] = 0
        if attention.in_proj_bias is not None:
            attention.in_proj_bias[rows] = 0


@pytest.mark.parametrize("dress", DRESSES)
def test_heads_go_one_by_one(dress: str) -> None:
    torch.manual_seed(0)
    model = conditioned(DRESSES[dress]())
    coupling = trace(model, SAMPLE)
    result = compress(model, coupling, {heads_of(coupling): [0, 2]}, ((SAMPLE,), {}))
    assert result.put_back == {}
    silent = copy.deepcopy(model)
    silence(silent.attention, [1, 3])  # type: ignore[arg-type]
    with torch.no_grad():
        torch.testing.assert_close(result.model(SAMPLE[:2]), silent(SAMPLE[:2]))
    assert stored(result.model).parameters == coupling.footprint({heads_of(coupling): 2}).parameters


@pytest.mark.parametrize("dress", DRESSES)
def test_torchs_own_attention_runs_at_half_its_width_and_heads(dress: str) -> None:
    torch.manual_seed(0)
    model = conditioned(DRESSES[dress]())
    coupling = trace(model, SAMPLE)
    halves = {group.name: np.arange(group.width)[::2] for group in coupling.free}
    result = compress(model, coupling, halves, ((SAMPLE,), {}))
    assert (result.put_back, result.form) == ({}, "module")
    attention: Any = result.model.attention
    assert (attention.embed_dim, attention.kdim, attention.vdim, attention.num_heads) == (8, 8, 8, 2)
    again = copy.deepcopy(result.model)
    again.load_state_dict(result.model.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(again(SAMPLE), result.model(SAMPLE))


class Repeated(nn.Module):
    """Attention written out, its heads side by side in one layer, its mask repeated for each of them."""

    def __init__(self, repeat: str) -> None:
        super().__init__()
        self.qkv, self.out, self.repeat = nn.Linear(6, 3 * WIDTH), nn.Linear(WIDTH, 3), repeat

    def forward(self, x: Tensor) -> Tensor:
        batch, time, _ = x.shape
        query, key, value = self.qkv(x).view(batch, time, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        mask = (x[:, :, 0] > 1)[:, None, None, :]
        mask = mask.expand(batch, HEADS, time, time) if self.repeat == "expand" else mask.repeat(1, HEADS, time, 1)
        scores = (query @ key.transpose(-1, -2)).masked_fill(mask, -1e9).softmax(-1)
        return self.out((scores @ value).transpose(1, 2).reshape(batch, time, WIDTH))  # type: ignore[no-any-return]


@pytest.mark.parametrize("repeat", ["expand", "repeat"])
def test_a_mask_spread_over_the_heads_goes_with_them(repeat: str) -> None:
    torch.manual_seed(0)
    model = conditioned(Repeated(repeat))
    coupling = trace(model, SAMPLE)
    result = compress(model, coupling, {heads_of(coupling): [1, 2, 3]}, ((SAMPLE,), {}))
    assert (result.put_back, result.form) == ({}, "graph")
    silent = copy.deepcopy(model)
    with torch.no_grad():
        silent.qkv.weight.view(3, HEADS, -1, 6)[:, 0] = 0  # type: ignore[operator]
        silent.qkv.bias.view(3, HEADS, -1)[:, 0] = 0  # type: ignore[operator]
        silent.out.weight[:, : WIDTH // HEADS] = 0  # type: ignore[index]
        torch.testing.assert_close(result.model(SAMPLE[:2]), silent(SAMPLE[:2]))


class Rotated(nn.Module):
    """Queries and keys turned by a table that is the same for all heads."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(6, 3 * WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        batch, time, _ = x.shape
        angles = torch.arange(time)[:, None] * torch.tensor([1.0, 0.1])
        table = angles.cos().repeat(1, 2)
        query, key, value = (each.transpose(1, 2) for each in self.qkv(x).view(batch, time, 3, HEADS, -1).unbind(2))
        query, key = (each * table + torch.cat([-each[..., 2:], each[..., :2]], -1) for each in (query, key))
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).reshape(batch, time, WIDTH))  # type: ignore[no-any-return]


def test_a_table_that_is_the_same_for_all_heads_keeps_none_of_them() -> None:
    coupling = trace(conditioned(Rotated()), SAMPLE)
    assert [(group.name, group.width) for group in coupling.free] == [("qkv", HEADS)]


class Shown(Attending):
    """The weights of attention, averaged over the heads, are shown."""

    def forward(self, x: Tensor) -> Any:
        x = self.embed(x)
        made, weights = self.attention(x, x, x)
        return self.head(x + made), weights


def test_heads_whose_weights_are_shown_stay_whole() -> None:
    coupling = trace(conditioned(Shown(batch_first=True)), SAMPLE)
    (heads,) = [group for group in coupling.groups if group.width == HEADS]
    assert heads.frozen == "is reduced across channels"


class Padded(nn.Module):
    """torch's own encoder on sequences that are padded; fused, it leaves what is padded empty."""

    def __init__(self, nested: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 24, batch_first=True)
        self.embed, self.head = nn.Linear(6, WIDTH), nn.Linear(WIDTH, 3)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=nested)

    def forward(self, x: Tensor) -> Tensor:
        padding = x[:, :, 0] == 0
        return self.head(self.encoder(self.embed(x), src_key_padding_mask=padding))  # type: ignore[no-any-return]


PADDED = torch.cat([SAMPLE, torch.zeros(3, 2, 6)], 1)
PADDED[0, 5] = 1.0


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_graph_does_not_stand_for_fused_layers_that_leave_padded_positions_empty() -> None:
    keep = {"embed": np.arange(WIDTH)[:12], "encoder.layers.0.self_attn.in_proj_weight": [0, 2]}
    model = conditioned(Padded(nested=True))
    with pytest.raises(SurgeryError) as raised:
        compress(model, trace(model, PADDED), keep, ((PADDED,), {}))
    assert str(raised.value) == (
        "torch fuses the layers of nn.TransformerEncoder, and then gives other values at padded positions.\n"
        "  Build it with enable_nested_tensor=False."
    )
    unfused = conditioned(Padded(nested=False))
    result = compress(unfused, trace(unfused, PADDED), keep, ((PADDED,), {}))
    assert (result.put_back, result.form) == ({}, "graph")
