"""MobileNetV2 (Sandler et al. 2018) as it is built for CIFAR: strides of 1 at the start, random weights."""

import torch
from resnets import images
from torch import Tensor, nn

# Expansion, filters, blocks, stride of the first block.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def convolved(read: int, made: int, size: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(read, made, size, stride, size // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(made), nn.ReLU6(inplace=True)]


class Inverted(nn.Module):
    """A wide depthwise convolution between two of one pixel."""

    def __init__(self, read: int, made: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = read * expansion
        widened = convolved(read, wide, 1) if expansion > 1 else []
        self.body = nn.Sequential(*widened, *convolved(wide, wide, 3, stride, wide), *convolved(wide, made, 1)[:2])
        self.shortcut = stride == 1 and read == made

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.shortcut else self.body(x)


def untrained() -> nn.Module:
    """The network with random weights."""
    layers, read = convolved(3, 32, 3), 32
    for expansion, made, blocks, stride in STAGES:
        for block in range(blocks):
            layers.append(Inverted(read, made, 1 if block else stride, expansion))
            read = made
    return nn.Sequential(*layers, *convolved(read, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 10))


def mobilenet() -> nn.Module:
    """The network in eval mode, its batch norms at the statistics of a few training images."""
    torch.manual_seed(0)
    model = untrained().train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over all passes
    with torch.no_grad():
        for batch in images("train")[0][:64].split(32):
            model(batch)
    return model.eval()
