"""Networks whose weights are computed in each forward pass, and their twins, which hold these weights."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm


class Equalised(nn.Module):
    """A linear layer at an equalised learning rate."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(outputs, inputs)), nn.Parameter(torch.randn(outputs) * 10)
        self.scale = inputs**-0.5

    def computed(self) -> tuple[Tensor, Tensor]:
        return self.weight * self.scale, self.bias * 0.01

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, *self.computed())


class Adapted(Equalised):
    """A frozen weight and a low-rank one, merged."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.down, self.up = nn.Parameter(torch.randn(2, inputs)), nn.Parameter(torch.randn(outputs, 2))

    def computed(self) -> tuple[Tensor, Tensor]:
        return self.weight + self.up @ self.down, self.bias


class LowRank(nn.Module):
    """A weight that is the product of two."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.down, self.up = nn.Parameter(torch.randn(3, inputs)), nn.Parameter(torch.randn(outputs, 3))
        self.bias = nn.Parameter(torch.randn(outputs))

    def computed(self) -> tuple[Tensor, Tensor]:
        return self.up @ self.down, self.bias

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, *self.computed())


class Integers(nn.Module):
    """A weight of eight bits, with a scale for each filter."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        weight = torch.randn(outputs, inputs)
        scale = weight.abs().amax(1, keepdim=True) / 127
        self.register_buffer("packed", (weight / scale).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = nn.Parameter(torch.randn(outputs))

    def computed(self) -> tuple[Tensor, Tensor]:
        return self.packed.float() * self.scale, self.bias

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, *self.computed())


class Standardised(nn.Conv2d):
    """A convolution whose weight is standardised."""

    def computed(self) -> tuple[Tensor, Tensor | None]:
        mean, spread = self.weight.mean((1, 2, 3), keepdim=True), self.weight.std((1, 2, 3), keepdim=True)
        return (self.weight - mean) / (spread + 1e-5), self.bias

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, *self.computed())


def _plain(layer: Any) -> nn.Module:
    """The layer of torch that holds what this one computes."""
    weight, bias = (tensor.detach().clone() for tensor in layer.computed())
    plain: Any
    if weight.ndim == 2:
        plain = nn.Linear(weight.shape[1], weight.shape[0])
    else:
        plain = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2:])
    plain.weight, plain.bias = nn.Parameter(weight), nn.Parameter(bias)
    return plain


def _replaced(model: nn.Sequential) -> nn.Sequential:
    return nn.Sequential(*(_plain(layer) if hasattr(layer, "computed") else layer for layer in model))


def _removed(remove: Callable[[nn.Module], Any]) -> Callable[[nn.Sequential], nn.Sequential]:
    def twin(model: nn.Sequential) -> nn.Sequential:
        for layer in model:
            if not isinstance(layer, nn.ReLU | nn.Flatten):
                remove(layer)
        return model

    return twin


def _three(layer: Callable[[int, int], nn.Module]) -> Callable[[], nn.Sequential]:
    return lambda: nn.Sequential(layer(16, 12), nn.ReLU(), layer(12, 10), nn.ReLU(), layer(10, 4))


def _convolutions(layer: Callable[..., nn.Module]) -> Callable[[], nn.Sequential]:
    return lambda: nn.Sequential(layer(2, 8, 3), nn.ReLU(), layer(8, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 4))


def _pruned(inputs: int, outputs: int) -> nn.Module:
    return prune.random_unstructured(nn.Linear(inputs, outputs), "weight", 0.3)


def _normed(norm: Callable[[nn.Module], nn.Module]) -> Callable[[int, int], nn.Module]:
    return lambda inputs, outputs: norm(nn.Linear(inputs, outputs))


Twin = Callable[[nn.Sequential], nn.Sequential]
NETWORKS: dict[str, tuple[Callable[[], nn.Sequential], Twin, tuple[int, ...]]] = {
    "equalised": (_three(Equalised), _replaced, (16,)),
    "adapted": (_three(Adapted), _replaced, (16,)),
    "low_rank": (_three(LowRank), _replaced, (16,)),
    "integers": (_three(Integers), _replaced, (16,)),
    "standardised": (_convolutions(Standardised), _replaced, (2, 6, 6)),
    "pruned": (_three(_pruned), _removed(lambda layer: prune.remove(layer, "weight")), (16,)),
    "weight_norm": (
        _three(_normed(weight_norm)),
        _removed(nn.utils.remove_weight_norm),
        (16,),
    ),
    "weight_norm_parametrized": (
        _three(_normed(parametrizations.weight_norm)),
        _removed(lambda layer: parametrize.remove_parametrizations(layer, "weight")),
        (16,),
    ),
    "spectral_norm": (_three(_normed(spectral_norm)), _removed(nn.utils.remove_spectral_norm), (16,)),
    "orthogonal": (
        _three(_normed(parametrizations.orthogonal)),
        _removed(lambda layer: parametrize.remove_parametrizations(layer, "weight")),
        (16,),
    ),
}


def built(name: str) -> tuple[nn.Sequential, Tensor]:
    """A network whose weights are computed, and an example."""
    torch.manual_seed(0)
    build, _, shape = NETWORKS[name]
    model, example = build().eval(), torch.randn(3, *shape)
    with torch.no_grad():
        model(example)  # hooks compute their weights before the first pass
    return model, example


def twin(name: str) -> nn.Sequential:
    """The same network, its weights held by torch's own layers."""
    model, _ = built(name)
    return NETWORKS[name][1](model).eval()
