"""Networks of the literature, written small: plain, residual, dense and multi-branch convolutional networks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def unit(inputs: int, filters: int, size: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    convolution = nn.Conv2d(inputs, filters, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(filters), nn.ReLU())


class SimpleCNN(nn.Module):
    """The paper's small network: three convolutions and two dense layers."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, width, 3), nn.Conv2d(width, width, 3)
        self.conv3 = nn.Conv2d(width, 2 * width, 3)
        self.dense, self.head = nn.Linear(2 * width * 4, 2 * width), nn.Linear(2 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(self.conv1(x).relu(), 2)
        x = functional.max_pool2d(self.conv2(x).relu(), 2)
        x = functional.max_pool2d(self.conv3(x).relu(), 2)
        return self.head(functional.dropout(self.dense(x.flatten(1)).relu(), 0.5, self.training))


class VGG16(nn.Module):
    """VGG-16 for CIFAR as in the paper: thirteen convolutions with batch norm, two dense layers."""

    PLAN = (1, 1, 0, 2, 2, 0, 4, 4, 4, 0, 8, 8, 8, 0, 8, 8, 8, 0)

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for times in self.PLAN:
            if times:
                layers += [unit(inputs, times * width), nn.Dropout(0.3)]
                inputs = times * width
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(inputs, inputs), nn.BatchNorm1d(inputs), nn.ReLU(), nn.Dropout(), nn.Linear(inputs, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; the shortcut is padded with zeros (option A) or projected (option B)."""

    def __init__(self, inputs: int, filters: int, stride: int, option: str) -> None:
        super().__init__()
        self.first, self.second = unit(inputs, filters, stride=stride), unit(filters, filters)[:2]
        self.pad, self.stride = (filters - inputs) // 2, stride
        self.shortcut: nn.Module | None = None
        if option == "B" and (stride > 1 or inputs != filters):
            self.shortcut = unit(inputs, filters, 1, stride)[:2]

    def forward(self, x: Tensor) -> Tensor:
        short = x if self.shortcut is None else self.shortcut(x)
        if self.shortcut is None and self.stride > 1:
            short = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return (self.second(self.first(x)) + short).relu()


class ResNet(nn.Module):
    """Stages of basic blocks; `(9, 9, 9)` is the ResNet-56 of CIFAR, `(3, 4, 6, 3)` the ResNet-34 of ImageNet."""

    def __init__(self, depths: Sequence[int], width: int, option: str) -> None:
        super().__init__()
        self.stem = unit(3, width)
        blocks, inputs = [], width
        for stage, depth in enumerate(depths):
            for index in range(depth):
                stride = 2 if stage and not index else 1
                blocks.append(BasicBlock(inputs, width * 2**stage, stride, option))
                inputs = width * 2**stage
        self.blocks, self.head = nn.Sequential(*blocks), nn.Linear(inputs, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with a projection where the shape changes."""

    def __init__(self, inputs: int, middle: int, stride: int = 1) -> None:
        super().__init__()
        filters = 4 * middle
        self.body = nn.Sequential(
            unit(inputs, middle, 1), unit(middle, middle, 3, stride), unit(middle, filters, 1)[:2]
        )
        same = stride == 1 and inputs == filters
        self.shortcut: nn.Module = nn.Identity() if same else unit(inputs, filters, 1, stride)[:2]

    def forward(self, x: Tensor) -> Tensor:
        return (self.body(x) + self.shortcut(x)).relu()


class BottleneckResNet(nn.Module):
    """`(3, 4, 6, 3)` with width 64 is ResNet-50."""

    def __init__(self, depths: Sequence[int] = (3, 4, 6, 3), width: int = 64, classes: int = 1000) -> None:
        super().__init__()
        self.stem = nn.Sequential(unit(3, width, 7, 2), nn.MaxPool2d(3, 2, 1))
        blocks, inputs = [], width
        for stage, depth in enumerate(depths):
            for index in range(depth):
                blocks.append(Bottleneck(inputs, width * 2**stage, 2 if stage and not index else 1))
                inputs = 4 * width * 2**stage
        self.blocks, self.head = nn.Sequential(*blocks), nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class DenseLayer(nn.Module):
    """Pre-activated bottleneck whose output is set beside its input."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        new = self.conv2(self.norm2(self.conv1(self.norm1(x).relu())).relu())
        return torch.cat([x, new], 1)


class DenseNet(nn.Module):
    """Two dense blocks with a transition between them."""

    def __init__(self, growth: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.one = nn.Sequential(*(DenseLayer(16 + growth * index, growth) for index in range(4)))
        middle = 16 + 4 * growth
        self.transition = nn.Sequential(
            nn.BatchNorm2d(middle), nn.ReLU(), nn.Conv2d(middle, middle // 2, 1), nn.AvgPool2d(2)
        )
        self.two = nn.Sequential(*(DenseLayer(middle // 2 + growth * index, growth) for index in range(4)))
        last = middle // 2 + 4 * growth
        self.norm, self.head = nn.BatchNorm2d(last), nn.Linear(last, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.two(self.transition(self.one(self.stem(x))))
        return self.head(self.norm(x).relu().mean((2, 3)))


class InceptionBlock(nn.Module):
    """Four branches, one factorised into 1x7 and 7x1, one pooled."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.one = unit(inputs, width, 1)
        self.three = nn.Sequential(unit(inputs, width, 1), unit(width, 2 * width))
        self.reduce = unit(inputs, width, 1)
        self.wide = nn.Conv2d(width, width, (1, 7), padding=(0, 3))
        self.tall = nn.Conv2d(width, width, (7, 1), padding=(3, 0))
        self.pooled = unit(inputs, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.tall(self.wide(self.reduce(x)).relu()).relu()
        pooled = self.pooled(functional.avg_pool2d(x, 3, 1, 1))
        return torch.cat([self.one(x), self.three(x), seven, pooled], 1)


class Inception(nn.Module):
    """Stem, two blocks, head."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = unit(3, 16)
        self.one, self.two = InceptionBlock(16, width), InceptionBlock(5 * width, width)
        self.head = nn.Linear(5 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(self.one(self.stem(x)), 2)
        return self.head(self.two(x).mean((2, 3)))


class Fire(nn.Module):
    """Squeeze, then expand by two branches."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.one, self.three = nn.Conv2d(squeeze, expand, 1), nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).relu()
        return torch.cat([self.one(x).relu(), self.three(x).relu()], 1)


class SqueezeNet(nn.Module):
    """Fire modules; the classifier is a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, 2)
        self.fires = nn.Sequential(Fire(24, 8, 16), Fire(32, 8, 16), nn.MaxPool2d(2), Fire(32, 12, 24))
        self.head = nn.Conv2d(48, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.fires(self.stem(x).relu())).relu().mean((2, 3))


class UNet(nn.Module):
    """Two levels down, two up, with skips by concatenation; one class per pixel."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.down1, self.down2 = self._double(3, width), self._double(width, 2 * width)
        self.deep = self._double(2 * width, 4 * width)
        self.up2, self.join2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, 2), self._double(4 * width, 2 * width)
        self.up1, self.join1 = nn.ConvTranspose2d(2 * width, width, 2, 2), self._double(2 * width, width)
        self.head = nn.Conv2d(width, 4, 1)

    @staticmethod
    def _double(inputs: int, filters: int) -> nn.Sequential:
        return nn.Sequential(unit(inputs, filters), unit(filters, filters))

    def forward(self, x: Tensor) -> Tensor:
        one = self.down1(x)
        two = self.down2(functional.max_pool2d(one, 2))
        x = self.deep(functional.max_pool2d(two, 2))
        x = self.join2(torch.cat([two, self.up2(x)], 1))
        return self.head(self.join1(torch.cat([one, self.up1(x)], 1)))
