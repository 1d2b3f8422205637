"""Networks around one unusual block each: shuffles, splits, ghosts, mixing, recurrence, attention."""

import torch
from classics import unit
from torch import Tensor, nn
from torch.nn import functional


class Stacked(nn.Module):
    """Stem, blocks, mean over positions, head."""

    def __init__(self, stem: int, *blocks: nn.Module, last: int) -> None:
        super().__init__()
        self.stem, self.blocks, self.head = unit(3, stem), nn.Sequential(*blocks), nn.Linear(last, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def shuffled(x: Tensor, groups: int) -> Tensor:
    """Channel shuffle, with the widths of the input written into the reshapes."""
    batch, channels, height, width = x.shape
    x = x.view(batch, groups, channels // groups, height, width).transpose(1, 2).contiguous()
    return x.view(batch, channels, height, width)


class ShuffleUnitV1(nn.Module):
    """Grouped 1x1, shuffle, depthwise, grouped 1x1, sum."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.squeeze = unit(width, width // 2, 1, groups=groups)
        self.depth = unit(width // 2, width // 2, groups=width // 2)[:2]
        self.expand = unit(width // 2, width, 1, groups=groups)[:2]

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.expand(self.depth(shuffled(self.squeeze(x), self.groups)))).relu()


class ShuffleUnitV2(nn.Module):
    """Half the channels pass; the other half goes through 1x1, depthwise, 1x1; then a shuffle of both."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.branch = nn.Sequential(unit(half, half, 1), unit(half, half, groups=half)[:2], unit(half, half, 1))

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=1)
        return shuffled(torch.cat([left, self.branch(right)], 1), 2)


class ShuffleDownV2(nn.Module):
    """Both branches are convolved and subsampled; then a shuffle."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        half = width // 2
        self.left = nn.Sequential(unit(inputs, inputs, 3, 2, groups=inputs)[:2], unit(inputs, half, 1))
        self.right = nn.Sequential(unit(inputs, half, 1), unit(half, half, 3, 2, groups=half)[:2], unit(half, half, 1))

    def forward(self, x: Tensor) -> Tensor:
        return shuffled(torch.cat([self.left(x), self.right(x)], 1), 2)


class Res2Block(nn.Module):
    """Hierarchical splits inside a bottleneck: each split adds the result of the one before it."""

    def __init__(self, width: int, scales: int = 4) -> None:
        super().__init__()
        self.reduce, self.part = unit(width, width, 1), width // scales
        self.convolutions = nn.ModuleList(unit(self.part, self.part) for _ in range(scales - 1))
        self.expand = unit(width, width, 1)[:2]

    def forward(self, x: Tensor) -> Tensor:
        first, *rest = torch.split(self.reduce(x), self.part, 1)
        outputs, before = [first], None
        for convolution, part in zip(self.convolutions, rest, strict=True):
            before = convolution(part if before is None else part + before)
            outputs.append(before)
        return (x + self.expand(torch.cat(outputs, 1))).relu()


class DualPath(nn.Module):
    """DPN: part of the output is added to the residual path, the rest is set beside the dense path."""

    def __init__(self, inputs: int, residual: int, dense: int) -> None:
        super().__init__()
        self.residual = residual
        self.body = nn.Sequential(unit(inputs, 16, 1), unit(16, 16, groups=4), unit(16, residual + dense, 1)[:2])

    def forward(self, x: Tensor) -> Tensor:
        new = self.body(x)
        summed = x[:, : self.residual] + new[:, : self.residual]
        return torch.cat([summed, x[:, self.residual :], new[:, self.residual :]], 1).relu()


class CrossStage(nn.Module):
    """CSP: one half goes round the bottlenecks, both meet again in a transition."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.expand, half = unit(width, width, 1), width // 2
        self.body = nn.Sequential(unit(half, half, 1), unit(half, half))
        self.after, self.join = unit(half, half, 1), unit(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        around, through = self.expand(x).chunk(2, 1)
        return self.join(torch.cat([self.after(through + self.body(through)), around], 1))


class Ghost(nn.Module):
    """Half of the features are cheap depthwise copies of the other half."""

    def __init__(self, inputs: int, filters: int) -> None:
        super().__init__()
        self.primary, self.filters = unit(inputs, filters // 2, 1), filters
        self.cheap = unit(filters // 2, filters // 2, groups=filters // 2)

    def forward(self, x: Tensor) -> Tensor:
        primary = self.primary(x)
        return torch.cat([primary, self.cheap(primary)], 1)[:, : self.filters]


class SqueezeExcite(nn.Module):
    """An inverted bottleneck with a gate made of linear layers and the shape written into a view."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.expand, self.depth = unit(width, 3 * width, 1), unit(3 * width, 3 * width, groups=3 * width)
        self.down, self.up = nn.Linear(3 * width, width), nn.Linear(width, 3 * width)
        self.project = unit(3 * width, width, 1)[:2]

    def forward(self, x: Tensor) -> Tensor:
        inner = self.depth(self.expand(x))
        gate = self.up(self.down(inner.mean((2, 3))).relu()).sigmoid()
        return x + self.project(inner * gate.view(inner.shape[0], inner.shape[1], 1, 1))


class MixerBlock(nn.Module):
    """A perceptron over positions, then one over channels."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.positions = nn.Sequential(nn.Linear(tokens, 24), nn.GELU(), nn.Linear(24, tokens))
        self.channels = nn.Sequential(nn.Linear(width, 48), nn.GELU(), nn.Linear(48, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.positions(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))


class Mixer(nn.Module):
    """MLP-Mixer on 4x4 patches."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.blocks = nn.Sequential(MixerBlock(16, width), MixerBlock(16, width))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        return self.head(self.norm(self.blocks(x)).mean(1))


class Recurrent(nn.Module):
    """Embedding, a recurrent layer, and a perceptron on its last state."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.embedding, self.memory = nn.Embedding(64, 16), kind(16, 24, batch_first=True)
        self.hidden, self.head = nn.Linear(24, 64), nn.Linear(64, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.memory(self.embedding(tokens))
        return self.head(self.hidden(states[:, -1]).relu())


class Encoder(nn.Module):
    """torch.nn's own transformer encoder, with learnt positions."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embedding, self.positions = nn.Embedding(64, width), nn.Parameter(torch.randn(1, 12, width))
        layer = nn.TransformerEncoderLayer(width, 4, 48, batch_first=True, norm_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(width, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.encoder(self.embedding(tokens) + self.positions).mean(1))


class Attention(nn.Module):
    """Multi-head attention with query, key and value in one linear, written with einsum; then a gated perceptron."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.part = heads, width // heads
        self.embedding, self.fused = nn.Linear(6, width), nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.gate, self.up, self.down = nn.Linear(width, 48), nn.Linear(width, 48), nn.Linear(48, width)
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x)
        batch, length, width = x.shape
        query, key, value = self.fused(x).reshape(batch, length, 3, self.heads, self.part).unbind(2)
        scores = torch.einsum("bqhd,bkhd->bhqk", query, key) * self.part**-0.5
        mixed = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), value).reshape(batch, length, width)
        x = x + self.out(mixed)
        x = x + self.down(functional.silu(self.gate(x)) * self.up(x))
        return self.head(x.mean(1))


class SuperResolution(nn.Module):
    """Convolutions, then a pixel shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 24, 3, padding=1), nn.PReLU(24), nn.Conv2d(24, 16, 3, padding=1))
        self.up, self.last = nn.Conv2d(16, 32, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.pixel_shuffle(self.up(self.body(x).relu()), 2)
        return self.last(x.relu())


class Autoencoder(nn.Module):
    """Instance and group norms, transposed convolutions, interpolation."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), nn.InstanceNorm2d(16, affine=True), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1)
        )
        self.norm, self.up = nn.GroupNorm(8, 32), nn.ConvTranspose2d(32, 16, 4, 2, 1)
        self.out = nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(functional.silu(self.norm(self.down(x))))
        return self.out(functional.interpolate(x, scale_factor=2.0, mode="bilinear"))


class WaveNet(nn.Module):
    """Dilated one-dimensional convolutions with gates and skips."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv1d(1, width, 1)
        self.filters = nn.ModuleList(nn.Conv1d(width, 2 * width, 2, dilation=2**index) for index in range(4))
        self.skips = nn.ModuleList(nn.Conv1d(width, 2 * width, 1) for _ in range(4))
        self.hidden, self.head = nn.Conv1d(width, 2 * width, 1), nn.Conv1d(2 * width, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x, total = self.stem(x), 0
        for index, (filters, skips) in enumerate(zip(self.filters, self.skips, strict=True)):
            signal, gate = filters(functional.pad(x, (2**index, 0))).chunk(2, 1)
            residual, skip = skips(signal.tanh() * gate.sigmoid()).chunk(2, 1)
            x, total = x + residual, total + skip
        return self.head(self.hidden(total.relu()).relu())
