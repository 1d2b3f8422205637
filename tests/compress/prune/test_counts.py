"""Counts that modules keep follow their tensors, and an attribute of another meaning is left alone."""

import numpy as np
import pytest
import torch
from networks import conditioned
from torch import Tensor, nn

from pfa_gate.compress.prune import PrunedModel, compress, fold_constants
from pfa_gate.graph import inputs_of, trace


def halved(model: nn.Module, example: Tensor) -> PrunedModel:
    groups = trace(model, example)
    keep = {group.name: np.arange(group.width)[::2] for group in groups.free}
    found = compress(model, groups, keep, inputs_of(example))
    assert found.put_back == {}
    return found


class Tokens(nn.Module):
    """As timm writes its transformers: num_features is the width of the answer, and no vector is the model's own."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.num_features = features
        self.cls_token = nn.Parameter(torch.randn(1, 1, 8))
        self.embed, self.head = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), self.embed(x)], dim=1)
        return self.head(x.relu().mean(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("features", [8, 4])
def test_a_num_features_of_another_meaning_is_left_alone(features: int) -> None:
    found = halved(conditioned(Tokens(features)), torch.randn(2, 5, 6))
    assert found.form == "module"
    assert found.model.num_features == features
    assert found.model.get_parameter("cls_token").shape == (1, 1, 4)


class Frozen(nn.Module):
    """A batch norm of another package, whose vectors are buffers."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.num_features = features
        for name, value in {"weight": 2.0, "bias": 0.5, "running_mean": 0.1, "running_var": 1.5}.items():
            self.register_buffer(name, torch.full((features,), value))

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(len(x), self.num_features, -1)
        return nn.functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias)


class Property(Frozen):
    """Its num_features is told by its tensors."""

    num_features = property(lambda self: len(self.weight), lambda self, value: None)


class Readout(nn.Linear):
    """A linear whose in_features is what its user calls so: one more than it reads."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.in_features = inputs + 1

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[..., : self.in_features - 1])


class Packed(nn.Linear):
    """A linear whose weight has an axis more."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.weight = nn.Parameter(self.weight.detach()[None])

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight[0], self.bias)


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).mean(2)


def behind_a_convolution(middle: nn.Module, width: int = 8) -> nn.Module:
    return conditioned(nn.Sequential(nn.Conv2d(3, 8, 3), middle, nn.ReLU(), Mean(), nn.Linear(width, 4)))


OWN = {
    "batch norm": (nn.BatchNorm2d(8), {"num_features": 4}),
    "instance norm": (nn.InstanceNorm2d(8, affine=True), {"num_features": 4}),
    "group norm": (nn.GroupNorm(4, 8), {"num_channels": 4, "num_groups": 4}),
    "group norm of channels": (nn.GroupNorm(8, 8), {"num_channels": 4, "num_groups": 4}),
    "slopes": (nn.PReLU(8), {"num_parameters": 4}),
    "depthwise": (nn.Conv2d(8, 16, 3, groups=8), {"in_channels": 4, "out_channels": 8, "groups": 4}),
    "transposed": (nn.ConvTranspose2d(8, 8, 3), {"in_channels": 4, "out_channels": 4}),
}


@pytest.mark.parametrize(("middle", "expected"), OWN.values(), ids=OWN)
def test_counts_of_torchs_own_modules_follow(middle: nn.Module, expected: dict[str, int]) -> None:
    width = 16 if isinstance(middle, nn.Conv2d) else 8
    model = conditioned(
        nn.Sequential(nn.Conv2d(3, 8, 3), middle, nn.ReLU(), nn.Flatten(2), Mean(), nn.Linear(width, 4))
    )
    found = halved(model, torch.randn(2, 3, 7, 7))
    assert found.form == "module"
    smaller = found.model.get_submodule("1")
    assert {name: getattr(smaller, name) for name in expected} == expected


class Alone(nn.Module):
    """A group norm that is called with the number of channels, of which each is a group."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(nn.functional.group_norm(self.first(x), 8).relu())  # type: ignore[no-any-return]


def test_a_group_for_each_channel_is_one_for_each_that_is_left() -> None:
    model, example = conditioned(Alone()), torch.randn(2, 3, 7, 7)
    found = halved(model, example)
    assert (found.form, found.axis_indices["head.weight"][1].tolist()) == ("graph", [0, 2, 4, 6])
    with torch.no_grad():
        normed = nn.functional.group_norm(model.first(example)[:, ::2], 4).relu()
        torch.testing.assert_close(
            found.model(example), model.head._conv_forward(normed, model.head.weight[:, ::2], model.head.bias)
        )


@pytest.mark.parametrize("norm", [nn.LayerNorm(8), nn.RMSNorm(8)], ids=["layer norm", "rms norm"])
def test_a_normalised_shape_follows(norm: nn.Module) -> None:
    found = halved(conditioned(nn.Sequential(nn.Linear(6, 8), norm, nn.Linear(8, 4))), torch.randn(2, 6))
    assert found.form == "module"
    assert found.model.get_submodule("1").normalized_shape == (4,)


@pytest.mark.parametrize("middle", [Frozen(8), Property(8)], ids=["attribute", "property"])
def test_a_normalisation_written_like_torchs_own_follows(middle: nn.Module) -> None:
    found = halved(behind_a_convolution(middle), torch.randn(2, 3, 7, 7))
    assert found.form == "module"
    assert found.model.get_submodule("1").num_features == 4


def test_a_linear_that_counts_otherwise_keeps_what_it_calls_so() -> None:
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), Readout(8, 6), nn.Linear(6, 2))
    found = halved(conditioned(model), torch.randn(3, 5))
    smaller = found.model.get_submodule("2")
    assert (found.form, smaller.in_features, smaller.out_features) == ("module", 9, 3)


def test_a_linear_whose_weight_has_another_shape_is_cut_where_it_is_stored() -> None:
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), Packed(8, 6), nn.Linear(6, 2))
    found = halved(conditioned(model), torch.randn(3, 5))
    assert found.form == "module"
    assert found.model.get_parameter("2.weight").shape == (1, 3, 4)


class Attentive(nn.Module):
    """A packed weight, which takes no bias, reads a filter that never changes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, bias=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        return self.head(self.attention(x, x, x)[0].mean(1))  # type: ignore[no-any-return]


def test_a_constant_that_only_attention_reads_is_not_folded() -> None:
    model = conditioned(Attentive())
    with torch.no_grad():
        model.get_submodule("stem").weight[3], model.get_submodule("stem").bias[3] = 0, 0.5  # type: ignore[index]
    example = torch.randn(2, 5, 6)
    assert fold_constants(model, trace(model, example), {"stem": [3]}, inputs_of(example)) is None
