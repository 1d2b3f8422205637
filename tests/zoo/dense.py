"""Networks that answer for every place of a picture or a volume: detectors, segmentation, depth, diffusion."""

import math

import torch
from classics import unit
from torch import Tensor, nn
from torch.nn import functional


class Backbone(nn.Module):
    """Three stages, whose maps all go on."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        stem, *_ = widths
        self.stem = unit(3, stem, stride=2)
        pairs = zip((stem, *widths), widths, strict=False)
        self.stages = nn.ModuleList(nn.Sequential(unit(a, b, stride=2), unit(b, b)) for a, b in pairs)

    def forward(self, x: Tensor) -> list[Tensor]:
        x, maps = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class FeaturePyramid(nn.Module):
    """Lateral convolutions, sums from the top down, smoothing, and one more level by a stride."""

    def __init__(self, inputs: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(each, width, 1) for each in inputs)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in inputs)
        self.further = nn.Conv2d(width, width, 3, 2, 1)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        levels = [lateral(each) for lateral, each in zip(self.lateral, maps, strict=True)]
        for place in range(len(levels) - 1, 0, -1):
            size = levels[place - 1].shape[-2:]
            levels[place - 1] = levels[place - 1] + functional.interpolate(levels[place], size=size, mode="nearest")
        levels = [smooth(each) for smooth, each in zip(self.smooth, levels, strict=True)]
        return [*levels, self.further(levels[-1])]


def _tower(width: int, normalised: bool) -> nn.Sequential:
    norm = [nn.GroupNorm(4, width)] if normalised else []
    return nn.Sequential(
        *(layer for _ in range(2) for layer in (nn.Conv2d(width, width, 3, padding=1), *norm, nn.ReLU()))
    )


class RetinaNet(nn.Module):
    """Anchors at every place of a pyramid; one head for all of its levels."""

    def __init__(self, classes: int = 4, anchors: int = 3) -> None:
        super().__init__()
        self.classes = classes
        self.backbone, self.pyramid = Backbone(8, 16, 24), FeaturePyramid((8, 16, 24), 16)
        self.classify = nn.Sequential(_tower(16, False), nn.Conv2d(16, anchors * classes, 3, padding=1))
        self.regress = nn.Sequential(_tower(16, False), nn.Conv2d(16, anchors * 4, 3, padding=1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        levels = self.pyramid(self.backbone(x))
        scores = [self._by_anchor(self.classify(level), self.classes) for level in levels]
        boxes = [self._by_anchor(self.regress(level), 4) for level in levels]
        return {"scores": torch.cat(scores, 1).sigmoid(), "boxes": torch.cat(boxes, 1)}

    @staticmethod
    def _by_anchor(x: Tensor, each: int) -> Tensor:
        batch, _, height, width = x.shape
        return x.view(batch, -1, each, height, width).permute(0, 3, 4, 1, 2).reshape(batch, -1, each)


class Scale(nn.Module):
    """One number that is learnt for each level."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class FCOS(nn.Module):
    """No anchors: at every place classes, distances to four sides, and how central it is."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.backbone, self.pyramid = Backbone(8, 16, 24), FeaturePyramid((8, 16, 24), 16)
        self.for_classes, self.for_boxes = _tower(16, True), _tower(16, True)
        self.classes, self.boxes = nn.Conv2d(16, classes, 3, padding=1), nn.Conv2d(16, 4, 3, padding=1)
        self.centre, self.scales = nn.Conv2d(16, 1, 3, padding=1), nn.ModuleList(Scale() for _ in range(4))

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        scores, boxes, centres = [], [], []
        for scale, level in zip(self.scales, self.pyramid(self.backbone(x)), strict=True):
            near = self.for_boxes(level)
            scores.append(self.classes(self.for_classes(level)))
            boxes.append(scale(self.boxes(near)).relu() * level.shape[-1])
            centres.append(self.centre(near))
        return scores, boxes, centres


class SSD(nn.Module):
    """Heads of their own on each map, the first of which is scaled to length one at every place."""

    def __init__(self, classes: int = 4, anchors: int = 2) -> None:
        super().__init__()
        self.backbone, self.weight = Backbone(8, 16, 24), nn.Parameter(torch.ones(8))
        self.classes = classes
        self.heads = nn.ModuleList(nn.Conv2d(each, anchors * (classes + 4), 3, padding=1) for each in (8, 16, 24))

    def forward(self, x: Tensor) -> Tensor:
        first, *others = self.backbone(x)
        first = functional.normalize(first, dim=1) * self.weight[None, :, None, None]
        made = [head(each) for head, each in zip(self.heads, [first, *others], strict=True)]
        return torch.cat([each.permute(0, 2, 3, 1).flatten(1) for each in made], 1).unflatten(1, (-1, self.classes + 4))


def _silu(inputs: int, filters: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, filters, size, stride, size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(filters), nn.SiLU())


class C2f(nn.Module):
    """YOLOv8: the expanded map is halved, and every bottleneck's result stands beside those before it."""

    def __init__(self, inputs: int, filters: int, times: int, shortcut: bool) -> None:
        super().__init__()
        half, self.shortcut = filters // 2, shortcut
        self.expand, self.join = _silu(inputs, filters, 1), _silu((2 + times) * half, filters, 1)
        self.blocks = nn.ModuleList(nn.Sequential(_silu(half, half), _silu(half, half)) for _ in range(times))

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.expand(x).chunk(2, 1))
        for block in self.blocks:
            new = block(parts[-1])
            parts.append(parts[-1] + new if self.shortcut else new)
        return self.join(torch.cat(parts, 1))


class SPPF(nn.Module):
    """Three poolings in a row, side by side."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduce, self.join = _silu(width, width // 2, 1), _silu(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.reduce(x)
        two = functional.max_pool2d(one, 5, 1, 2)
        three = functional.max_pool2d(two, 5, 1, 2)
        return self.join(torch.cat([one, two, three, functional.max_pool2d(three, 5, 1, 2)], 1))


class YOLO(nn.Module):
    """YOLOv8 in small: C2f, SPPF, a path up and a path down, boxes as the mean of a distribution of bins."""

    def __init__(self, classes: int = 4, bins: int = 4) -> None:
        super().__init__()
        self.classes, self.bins = classes, bins
        self.stem = nn.Sequential(_silu(3, 8, stride=2), _silu(8, 16, stride=2), C2f(16, 16, 1, True))
        self.deep = nn.Sequential(_silu(16, 32, stride=2), C2f(32, 32, 2, True), SPPF(32))
        self.up, self.down = C2f(48, 16, 1, False), _silu(16, 16, stride=2)
        self.again = C2f(48, 32, 1, False)
        self.boxes = nn.ModuleList(nn.Sequential(_silu(each, 16), nn.Conv2d(16, 4 * bins, 1)) for each in (16, 32))
        self.kinds = nn.ModuleList(nn.Sequential(_silu(each, 16), nn.Conv2d(16, classes, 1)) for each in (16, 32))
        self.register_buffer("places", torch.arange(bins, dtype=torch.float32).view(1, bins, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        near = self.stem(x)
        deep = self.deep(near)
        near = self.up(torch.cat([functional.interpolate(deep, scale_factor=2.0), near], 1))
        deep = self.again(torch.cat([self.down(near), deep], 1))
        found = []
        for level, boxes, kinds in zip((near, deep), self.boxes, self.kinds, strict=True):
            found.append(torch.cat([boxes(level), kinds(level)], 1).flatten(2))
        boxes, scores = torch.cat(found, 2).split((4 * self.bins, self.classes), 1)
        shares = boxes.view(boxes.shape[0], 4, self.bins, -1).transpose(2, 1).softmax(1)
        return torch.cat([functional.conv2d(shares, self.places).squeeze(1), scores.sigmoid()], 1)


class UNet3d(nn.Module):
    """A volume's U-Net: trilinear on one level, a transposed convolution on the other; instance norms."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.one, self.two, self.deep = self._double(2, width), self._double(width, 2 * width), self._double(16, 32)
        self.up2, self.join2 = nn.ConvTranspose3d(4 * width, 2 * width, 2, 2), self._double(4 * width, 2 * width)
        self.join1, self.head = self._double(3 * width, width), nn.Conv3d(width, 3, 1)

    @staticmethod
    def _double(inputs: int, filters: int) -> nn.Sequential:
        pairs = ((inputs, filters), (filters, filters))
        layers = (
            (nn.Conv3d(a, b, 3, padding=1), nn.InstanceNorm3d(b, affine=True), nn.LeakyReLU(0.1)) for a, b in pairs
        )
        return nn.Sequential(*(layer for each in layers for layer in each))

    def forward(self, x: Tensor) -> Tensor:
        one = self.one(x)
        two = self.two(functional.max_pool3d(one, 2))
        x = self.up2(self.deep(functional.max_pool3d(two, 2)))
        x = self.join2(torch.cat([two, x], 1))
        x = functional.interpolate(x, size=one.shape[2:], mode="trilinear", align_corners=False)
        return self.head(self.join1(torch.cat([one, x], 1)))


class Timed(nn.Module):
    """A residual block of a diffusion model: the time is added between its two convolutions."""

    def __init__(self, inputs: int, filters: int, time: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(4, inputs), nn.Conv2d(inputs, filters, 3, padding=1)
        self.time = nn.Linear(time, filters)
        self.norm2, self.conv2 = nn.GroupNorm(4, filters), nn.Conv2d(filters, filters, 3, padding=1)
        self.skip = nn.Conv2d(inputs, filters, 1) if inputs != filters else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        inner = self.conv1(functional.silu(self.norm1(x))) + self.time(functional.silu(time))[:, :, None, None]
        return self.skip(x) + self.conv2(functional.silu(self.norm2(inner)))


class SpatialAttention(nn.Module):
    """Attention over all places, with query, key and value in one 1x1 convolution."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.norm, self.heads = nn.GroupNorm(4, width), heads
        self.fused, self.out = nn.Conv2d(width, 3 * width, 1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        fused = self.fused(self.norm(x)).reshape(batch, 3, self.heads, channels // self.heads, height * width)
        query, key, value = fused.unbind(1)
        weights = (query.transpose(-1, -2) @ key * (channels // self.heads) ** -0.5).softmax(-1)
        mixed = (value @ weights.transpose(-1, -2)).reshape(batch, channels, height, width)
        return x + self.out(mixed)


class DiffusionUNet(nn.Module):
    """Noise and a time in, noise out: timed blocks, attention in the middle, skips by concatenation."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.width, time = width, 2 * width
        self.time = nn.Sequential(nn.Linear(width, time), nn.SiLU(), nn.Linear(time, time))
        self.stem, self.one = nn.Conv2d(3, width, 3, padding=1), Timed(width, width, time)
        self.down, self.two = nn.Conv2d(width, width, 3, 2, 1), Timed(width, 2 * width, time)
        self.middle, self.attention = Timed(2 * width, 2 * width, time), SpatialAttention(2 * width)
        self.three, self.up = Timed(4 * width, 2 * width, time), nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.four, self.norm = Timed(3 * width, width, time), nn.GroupNorm(4, width)
        self.head = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        time = self.time(self._waves(times))
        one = self.one(self.stem(x), time)
        two = self.two(self.down(one), time)
        x = self.three(torch.cat([self.attention(self.middle(two, time)), two], 1), time)
        x = self.up(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        x = self.four(torch.cat([x, one], 1), time)
        return self.head(functional.silu(self.norm(x)))

    def _waves(self, times: Tensor) -> Tensor:
        half = self.width // 2
        rates = torch.exp(torch.arange(half, device=times.device) * (-math.log(10_000) / half))
        angles = times[:, None].float() * rates
        return torch.cat([angles.sin(), angles.cos()], -1)


def noise_and_times() -> tuple[Tensor, Tensor]:
    """Two pictures of noise, and how far each is."""
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1)), torch.tensor([3, 41])


class PyramidPooling(nn.Module):
    """PSPNet: the map at four scales, resized and set beside itself; a dilated backbone before it."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        dilated = nn.Sequential(nn.Conv2d(16, width, 3, padding=2, dilation=2), nn.BatchNorm2d(width), nn.ReLU())
        self.features = nn.Sequential(unit(3, 16, stride=2), dilated)
        self.parts = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(n), unit(width, width // 4, 1)) for n in (1, 2, 4, 8)
        )
        self.join, self.head = nn.Sequential(unit(2 * width, 16), nn.Dropout2d(0.1)), nn.Conv2d(16, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        deep = self.features(x)
        size = deep.shape[-2:]
        parts = [functional.interpolate(part(deep), size, mode="bilinear") for part in self.parts]
        logits = self.head(self.join(torch.cat([deep, *parts], 1)))
        return functional.interpolate(logits, x.shape[-2:], mode="bilinear", align_corners=True)
