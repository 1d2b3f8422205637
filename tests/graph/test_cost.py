"""Costs against formulas and against what is on disk."""

import inspect
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_model
from torch import Tensor, nn

from pfa_gate.errors import DataError
from pfa_gate.graph.cost import Cost, cost, latency_ratio, macs
from pfa_gate.model import Batch
from pfa_gate.model.user_frames import shown

BY_HAND = {
    "linear": (nn.Linear(7, 5), (3, 7), Cost(40, 160, 35)),
    "linear over positions": (nn.Linear(7, 5), (3, 4, 7), Cost(40, 160, 140)),
    "no bias": (nn.Linear(7, 5, bias=False), (3, 7), Cost(35, 140, 35)),
    "convolution": (nn.Conv2d(3, 8, 3, padding=1), (2, 3, 10, 10), Cost(224, 896, 100 * 8 * 27)),
    "strided": (nn.Conv2d(3, 8, 3, stride=2, padding=1), (2, 3, 10, 10), Cost(224, 896, 25 * 8 * 27)),
    "grouped": (nn.Conv2d(4, 8, 3, groups=4), (2, 4, 5, 5), Cost(80, 320, 9 * 8 * 9)),
    "one axis": (nn.Conv1d(2, 3, 5), (2, 2, 9), Cost(33, 132, 5 * 3 * 10)),
    "batch norm": (nn.BatchNorm2d(6), (2, 6, 4, 4), Cost(12, 4 * 24 + 8, 0)),
    "double": (nn.Linear(7, 5).double(), (3, 7), Cost(40, 320, 35)),
}


@pytest.mark.parametrize(("model", "shape", "expected"), BY_HAND.values(), ids=BY_HAND)
def test_by_hand(model: nn.Module, shape: tuple[int, ...], expected: Cost) -> None:
    images = torch.zeros(shape, dtype=next(model.parameters()).dtype)
    assert cost(model.eval(), Batch((images,), {})) == expected


class Tied(nn.Module):
    """Two layers with one weight, a frozen one, and buffers of both kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.second.bias.requires_grad_(False)
        self.register_buffer("kept", torch.zeros(10))
        self.register_buffer("left", torch.zeros(1000), persistent=False)
        self.register_buffer("empty", torch.zeros(0))

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))  # type: ignore[no-any-return]


def test_what_is_shared_counts_once_and_what_is_frozen_counts() -> None:
    assert cost(Tied(), Batch((torch.zeros(2, 6),), {})) == Cost(36 + 12, 4 * (36 + 12 + 10), 72)


def test_bytes_are_those_on_disk(tmp_path: Path) -> None:
    model = nn.Sequential(Tied(), nn.BatchNorm1d(6), nn.Linear(6, 3))
    save_model(model, tmp_path / "w.safetensors")
    stored = load_file(tmp_path / "w.safetensors").values()
    assert cost(model.eval(), Batch((torch.zeros(2, 6),), {})).bytes == sum(t.nbytes for t in stored)


@pytest.mark.parametrize("samples", [1, 2, 9])
def test_macs_are_those_of_one_sample(samples: int) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    assert cost(model, Batch((torch.zeros(samples, 1, 6, 6),), {})).macs == 16 * 4 * 9 + 64 * 3


class Keywords(nn.Module):
    """Takes its inputs by name alone, each by a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(2, 4), nn.Linear(3, 4, bias=False)

    def forward(self, *, left: Tensor, right: Tensor) -> Tensor:
        return self.left(left) + self.right(right)  # type: ignore[no-any-return]


def test_keyword_inputs_are_counted() -> None:
    example = Batch((), {"right": torch.zeros(5, 3), "left": torch.zeros(5, 2)})
    assert cost(Keywords(), example) == Cost(2 * 4 + 4 + 3 * 4, 4 * 24, 2 * 4 + 3 * 4)


def test_a_layer_that_torch_would_fuse_is_counted() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    # 5 tokens: queries, keys, values and output; two linears; scores and their product, over both heads.
    assert macs(layer, Batch((torch.zeros(2, 5, 8),), {})) == 5 * (4 * 8 * 8 + 2 * 8 * 16) + 2 * 5 * 5 * 8
    assert torch.backends.mha.get_fastpath_enabled()


class Queries(nn.Module):
    """Learnt queries, a view of a parameter by the time they enter a module, as in DETR and Perceiver."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(3, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        queries = self.queries.unsqueeze(0).expand(len(x), -1, -1)
        return self.attention(queries, x, x, need_weights=True)[0]  # type: ignore[no-any-return]


def test_a_view_of_a_parameter_may_enter_a_module() -> None:
    # Queries and output of 3 positions, keys and values of 5; then scores and their product, over both heads.
    by_hand = 2 * 3 * 8 * 8 + 2 * 5 * 8 * 8 + 2 * 3 * 5 * 8
    assert macs(Queries().eval(), Batch((torch.zeros(2, 5, 8),), {})) == by_hand


class Pair(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x.view(2, -1) @ x.view(2, -1).T).view(2, 2)


def test_a_model_that_takes_no_single_sample_is_counted_on_the_example() -> None:
    assert macs(Pair(), Batch((torch.zeros(2, 3),), {})) == 2 * 2 * 3 // 2


class Shy(nn.Module):
    """Does not run while anybody looks on."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.utils._python_dispatch._get_current_dispatch_mode_stack():
            raise RuntimeError("somebody looks on")
        return x


def test_what_a_counter_raises_is_a_sentence() -> None:
    with pytest.raises(DataError) as caught:
        macs(Shy(), Batch((torch.zeros(2, 3),), {}))
    assert str(caught.value).splitlines() == [
        "The multiply-accumulates of the model cannot be counted: it raised RuntimeError: somebody looks on "
        f"({shown(Path(__file__))}:{line_of(Shy.forward, 'raise')}).",
        "  Make the model run under torch.utils.flop_counter.FlopCounterMode, which counts its operators.",
    ]


def line_of(function: object, text: str) -> int:
    lines, first = inspect.getsourcelines(function)  # type: ignore[arg-type]
    return next(first + place for place, line in enumerate(lines) if text in line)


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout()).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    example = Batch((torch.ones(4, 3),), {})
    cost(model, example)
    latency_ratio(model, model, example, pairs=2)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module.training or module._forward_hooks for module in model.modules())


class Clock:
    """A clock that only the models below move on, each call by so much more."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slower = 1.0

    def read(self) -> float:
        return self.now


class Ticking(nn.Module):
    """Takes so many seconds of a clock."""

    def __init__(self, clock: Clock, seconds: float, growth: float = 1.0) -> None:
        super().__init__()
        self.clock, self.seconds, self.growth = clock, seconds, growth
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.clock.slower *= self.growth
        self.clock.now += self.seconds * self.clock.slower
        return x


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr("pfa_gate.graph.cost.perf_counter", found.read)
    return found


@pytest.mark.parametrize("seconds", [1e-5, 1e-2, 3.0])
@pytest.mark.parametrize("ratio", [0.25, 1.0, 4.0])
def test_latency_is_the_ratio_of_the_two_times(clock: Clock, seconds: float, ratio: float) -> None:
    full, compressed = Ticking(clock, seconds), Ticking(clock, seconds * ratio)
    assert latency_ratio(full, compressed, Batch((torch.zeros(2, 3),), {})) == pytest.approx(ratio)
    assert full.calls == compressed.calls


def test_a_machine_that_grows_slower_favours_neither(clock: Clock) -> None:
    full, compressed = Ticking(clock, 1.0, growth=1.1), Ticking(clock, 1.0, growth=1.1)
    ratio = latency_ratio(full, compressed, Batch((torch.zeros(2, 3),), {}), pairs=30)
    assert ratio == pytest.approx((1.1 + 1 / 1.1) / 2)


def test_short_calls_are_repeated_for_the_clock(clock: Clock) -> None:
    quick = Ticking(clock, 1e-6)
    latency_ratio(quick, Ticking(clock, 1e-6), Batch((torch.zeros(2, 3),), {}), pairs=2)
    assert quick.calls > 1000
