"""Sums, norms, means and maxima over channels, written out in a forward: cut, and compared with a reference by hand."""

from collections.abc import Callable, Mapping
from functools import partial

import pytest
import torch
from halving import assert_alike, halved
from networks import conditioned
from torch import Tensor, nn
from torch.nn import functional

from pfa_gate.compress.prune import compress
from pfa_gate.graph import inputs_of, silent, trace

Left = Callable[[Tensor], Tensor]  # the channels over which a statistic is taken
Body = Callable[[Tensor, int, Left], Tensor]


class Between(nn.Module):
    """A layer before each body, which has no weights, and two layers after them; channels are axis 1 or the last."""

    def __init__(self, bodies: Mapping[str, Body], axis: int) -> None:
        super().__init__()
        self.bodies, self.axis = dict(bodies), axis
        self.layers = nn.ModuleDict({name: nn.Conv2d(8, 8, 1) if axis == 1 else nn.Linear(8, 8) for name in bodies})
        self.reader = nn.Conv2d(8, 6, 1) if axis == 1 else nn.Linear(8, 6)
        self.head = nn.Linear(6, 2)
        self.left: dict[str, Left] = dict.fromkeys(bodies, lambda x: x)

    def forward(self, x: Tensor) -> Tensor:
        for name, layer in self.layers.items():
            x = self.bodies[name](layer(x), self.axis, self.left[name])
        return self.head(self.reader(x).relu().mean((2, 3) if self.axis == 1 else (1, 2)))  # type: ignore[no-any-return]


def example(axis: int) -> Tensor:
    return torch.randn(2, 8, 4, 5) if axis == 1 else torch.randn(2, 4, 5, 8)


def root_of_squares(x: Tensor, axis: int, _left: Left) -> Tensor:
    return x / (x.pow(2).sum(axis, keepdim=True).sqrt() + 1e-6)


def own_norm(x: Tensor, axis: int, _left: Left) -> Tensor:
    return x / x.norm(dim=axis, keepdim=True)


def absolute_sum(x: Tensor, axis: int, _left: Left) -> Tensor:
    return x / (1 + x.relu().abs().sum(dim=axis).unsqueeze(axis))


def unit(x: Tensor, axis: int, _left: Left) -> Tensor:
    return functional.normalize(x.tanh(), dim=axis)


def linear_norm(x: Tensor, axis: int, _left: Left) -> Tensor:
    return x / (torch.linalg.norm(x, dim=axis, keepdim=True) + torch.linalg.vector_norm(x, 1, axis, keepdim=True))


def similar(x: Tensor, axis: int, _left: Left) -> Tensor:
    return x * functional.cosine_similarity(x, x.relu(), dim=axis).unsqueeze(axis)


EXACT = {
    "squares": root_of_squares,
    "norm": own_norm,
    "sum": absolute_sum,
    "normalize": unit,
    "norms": linear_norm,
    "cosine": similar,
}


@pytest.mark.parametrize("axis", [1, -1])
def test_a_sum_over_channels_loses_nothing_with_a_silent_one(axis: int) -> None:
    cut = halved(Between(EXACT, axis), example(axis))
    assert cut.keep.keys() == {*(f"layers.{name}" for name in EXACT), "reader"}
    assert (cut.groups.normalised, cut.result.form) == ((), "module")
    assert_alike(cut.result.model, cut.silenced(), example(axis))


def layer_norm(x: Tensor, axis: int, left: Left) -> Tensor:
    mean = left(x).mean(axis, keepdim=True)
    variance = (left(x) - mean).pow(2).mean(axis, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt()


def by_variance(x: Tensor, axis: int, left: Left) -> Tensor:
    variance = left(x).var(axis, keepdim=True, unbiased=False)
    return (x - left(x).mean(axis, keepdim=True)) * torch.rsqrt(variance + 1e-5)


def by_both(x: Tensor, axis: int, left: Left) -> Tensor:
    variance, mean = torch.var_mean(left(x), dim=axis, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5)


def by_deviation(x: Tensor, axis: int, left: Left) -> Tensor:
    mean = left(x).mean(dim=axis, keepdim=True).expand_as(x)
    return (x - mean) / (left(x).std(dim=axis, keepdim=True) + 1e-5)


def by_sum(x: Tensor, axis: int, left: Left) -> Tensor:
    x = x - left(x).mean(axis, keepdim=True)
    return x / (1 + (left(x) * left(x)).sum(axis, keepdim=True)).sqrt()


def of_sigmoids(x: Tensor, axis: int, left: Left) -> Tensor:
    x = x.sigmoid()
    return x / left(x).sum(axis, keepdim=True)


def spatial_attention(x: Tensor, axis: int, left: Left) -> Tensor:
    both = torch.cat([left(x).mean(axis, keepdim=True), left(x).amax(axis, keepdim=True)], axis)
    return x * both.prod(axis, keepdim=True).sigmoid()


def largest_and_smallest(x: Tensor, axis: int, left: Left) -> Tensor:
    lowest, highest = torch.aminmax(left(x), dim=axis, keepdim=True)
    return x * (torch.max(left(x), axis)[0] - left(x).min(axis).values).unsqueeze(axis) / (highest - lowest + 1)


def over_everything(x: Tensor, axis: int, left: Left) -> Tensor:
    axes = (1, 2, 3)
    return (x - left(x).mean(axes, keepdim=True)) / (left(x).std(axes, keepdim=True) + 1)


NORMALISED = {
    "layer norm": layer_norm,
    "variance": by_variance,
    "variance and mean": by_both,
    "deviation": by_deviation,
    "sum of what is not silent": by_sum,
    "sum of sigmoids": of_sigmoids,
    "mean and maximum": spatial_attention,
    "largest and smallest": largest_and_smallest,
    "over space too": over_everything,
}
NAMED = (
    "mean mean_1 var mean_2 var_mean mean_3 std mean_4 sum_1 sum_2 mean_5 amax aminmax max_1 min_1 mean_6 std_1".split()
)


@pytest.mark.parametrize("axis", [1, -1])
def test_a_statistic_over_channels_is_taken_over_those_left(axis: int) -> None:
    """The reference takes it over the kept channels, by an index written here; all else in it is silenced by hand."""
    cut = halved(Between(NORMALISED, axis), example(axis))
    assert cut.keep.keys() == {*(f"layers.{name}" for name in NORMALISED), "reader"}
    assert list(cut.groups.normalised) == NAMED
    silenced = cut.silenced()
    for name in NORMALISED:
        kept = torch.from_numpy(cut.keep[f"layers.{name}"])
        silenced.left[name] = partial(torch.index_select, dim=axis, index=kept)
    assert_alike(cut.result.model, silenced, example(axis))


class Written(nn.Module):
    """Normalisations by hand whose scale and shift are set across the image by views; one is a norm, one is not."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 2, 1)
        self.scale, self.shift = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8))
        self.length = nn.Parameter(torch.ones(6))
        self.left: Left = lambda x: x

    def forward(self, x: Tensor) -> Tensor:
        x = self.scale[:, None, None] * layer_norm(self.first(x), 1, self.left) + self.shift.view(1, -1, 1, 1)
        x = functional.normalize(self.second(x.relu()), dim=1)
        return self.head((1 + self.length).unsqueeze(1).unsqueeze(2).expand_as(x) * x)  # type: ignore[no-any-return]


def test_a_scale_that_is_set_across_the_image_is_cut_in_its_module() -> None:
    cut = halved(Written(), torch.randn(2, 3, 4, 5))
    assert (cut.keep.keys(), cut.result.form) == ({"first", "second"}, "module")
    assert [len(cut.result.model.get_parameter(name)) for name in ("scale", "shift", "length")] == [4, 4, 3]
    silenced = cut.silenced()
    silenced.left = partial(torch.index_select, dim=1, index=torch.from_numpy(cut.keep["first"]))
    assert_alike(cut.result.model, silenced, torch.randn(2, 3, 4, 5))


def softmax(x: Tensor, axis: int, _left: Left) -> Tensor:
    return x.softmax(axis)


def place_of_largest(x: Tensor, axis: int, _left: Left) -> Tensor:
    return x * torch.max(x, axis, keepdim=True)[1]


@pytest.mark.parametrize("body", [softmax, place_of_largest])
def test_what_reads_the_places_of_channels_stays_whole(body: Body) -> None:
    groups = trace(conditioned(Between({"body": body}, 1)), example(1))
    assert groups.group("layers.body").frozen == "is reduced across channels"


class Answer(nn.Module):
    """A mean over channels that is the model's own answer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x).relu().mean(1)  # type: ignore[no-any-return]


def test_a_mean_that_is_the_answer_stays_whole() -> None:
    assert trace(conditioned(Answer()), torch.randn(2, 3)).group("first").frozen == "is reduced across channels"


def test_a_sum_called_silent_that_is_not_fails_the_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(silent._SILENT, "sigmoid", lambda _flow, _node: True)
    model = conditioned(Between({"body": of_sigmoids}, 1))
    groups = trace(model, example(1))
    assert groups.normalised == ()
    result = compress(model, groups, {"layers.body": [0, 2, 4, 6]}, inputs_of(example(1)))
    assert list(result.put_back) == ["layers.body"]
    assert result.put_back["layers.body"].startswith("off by")
