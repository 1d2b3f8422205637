"""Live activations along a program: equal to what torch's allocator gives out, byte by byte, and what counts as one."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch._C._profiler import _EventType
from torch.profiler import ProfilerActivity, profile

from pfa_gate.errors import DataError
from pfa_gate.graph import record_model
from pfa_gate.graph.editing import as_module
from pfa_gate.graph.live_memory import LiveMemory, live_memory
from pfa_gate.model import Batch

sys.path.insert(0, str(Path(__file__).parents[1] / "zoo"))

from blocks import Encoder
from classics import ResNet, UNet


class Block(NamedTuple):
    """Memory that torch's allocator gave out, and the operators in which it did so and took it back."""

    bytes: int
    start: int
    end: float
    inside: object
    until: object


class Returning(nn.Module):
    """A model that gives back its input too: whoever calls a model in Python holds its input to the end."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.model(x), x


def given_out(call: Callable[[], Any]) -> list[Block]:
    """Every block that torch's CPU allocator gave out during a call, as its own profiler tells."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as told:
        result = call()
    del result
    events = sorted(_events(told.profiler.kineto_results.experimental_event_tree()), key=lambda each: each[0])
    blocks, current = [], {}
    for time, place, size, operator in events:
        if size > 0:
            current[place] = (size, time, operator)
        elif place in current:
            bytes_, start, inside = current.pop(place)
            blocks.append(Block(bytes_, start, time, inside, operator))
    return [*blocks, *(Block(size, start, float("inf"), inside, None) for size, start, inside in current.values())]


def _events(events: Any, operator: object = None) -> Iterator[tuple[int, int, int, object]]:
    for event in events:
        if event.tag == _EventType.Allocation:
            yield event.start_time_ns, event.extra_fields.ptr, event.extra_fields.alloc_size, operator
        yield from _events(event.children, operator or (event if event.tag == _EventType.TorchOp else None))


def highest(blocks: list[Block]) -> int:
    changes = sorted([(each.start, each.bytes) for each in blocks] + [(each.end, -each.bytes) for each in blocks])
    live = most = 0
    for _, size in changes:
        live += size
        most = max(most, live)
    return most


def outlasting(blocks: list[Block]) -> list[Block]:
    """Without what an operator takes and gives back before it ends: its workspace, which is the runtime's affair."""
    return [each for each in blocks if each.inside is not None and each.inside is not each.until]


MODELS = {
    "ResNet-20": (lambda: ResNet((3, 3, 3), 16, "A"), lambda: torch.randn(1, 3, 32, 32)),
    "U-Net": (UNet, lambda: torch.randn(1, 3, 64, 64)),
    "transformer": (Encoder, lambda: torch.randint(64, (1, 12))),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_peak_is_that_of_torchs_allocator_where_values_are_freed_after_their_last_reader(name: str) -> None:
    build, draw = MODELS[name]
    model, x = Returning(build()).eval(), draw()
    found = live_memory(model, Batch((x,), {}))
    program = record_model(model, (torch.cat([x, x]),), {})

    def call() -> Any:
        with torch.inference_mode():
            return program.run((x.clone(),), {})

    call()  # what is made once for good
    blocks = given_out(call)
    assert found.bytes == highest(outlasting(blocks))
    assert found.bytes == sum(each.bytes for each in found.alive)
    assert found.bytes <= highest(blocks)


@pytest.fixture
def no_fused_layers() -> Iterator[None]:
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(before)


@pytest.mark.usefixtures("no_fused_layers")
@pytest.mark.parametrize("name", MODELS)
def test_python_holds_more_for_longer_and_never_less(name: str) -> None:
    build, draw = MODELS[name]
    model, x = build().eval(), draw()
    found = live_memory(model, Batch((x,), {}))

    def call() -> Any:
        with torch.inference_mode():
            return model(x.clone())

    call()
    held = highest(outlasting(given_out(call)))
    # The variables of forward passes that have not returned, and the input, which the caller holds.
    assert found.bytes <= held <= 2 * found.bytes + 2 * x.nbytes


def follow(forward: Callable[..., Any], *inputs: Tensor) -> LiveMemory:
    class Written(nn.Module):
        def forward(self, *given: Tensor) -> Any:
            return forward(*given)

    return live_memory(Written(), Batch(inputs, {}))


def steps(found: LiveMemory) -> list[tuple[str, int]]:
    return [(each.operator, each.bytes) for each in found.steps]


ROW = torch.zeros(1, 25)  # 100 bytes


def test_an_operator_in_place_reuses_and_a_copy_does_not() -> None:
    assert steps(follow(lambda x: (x + 1).relu(), ROW)) == [("add", 200), ("relu", 200)]
    assert steps(follow(lambda x: (x + 1).relu_(), ROW)) == [("add", 200), ("relu_", 100)]


def test_views_share_their_storage_and_a_reshape_that_copies_does_not() -> None:
    seen = follow(lambda x: x.view(5, 5)[1:].unsqueeze(0) * 2, ROW)
    assert steps(seen) == [("mul", 180)]  # of the input all, though a part is read
    copied = follow(lambda x: x.view(5, 5).t().reshape(25) * 2, ROW)
    assert steps(copied) == [("reshape", 200), ("mul", 200)]


def test_a_view_keeps_its_storage_until_the_view_is_read_for_the_last_time() -> None:
    def forward(x: Tensor) -> Tensor:
        part, y = (x + 1)[:, :5], x * 2
        return y.exp() + part.sum()

    found = follow(forward, ROW)
    assert steps(found) == [("add", 200), ("mul", 300), ("exp", 300), ("sum", 204), ("add", 204)]


def test_an_input_is_live_until_its_last_reader_and_an_output_to_the_end() -> None:
    early = follow(lambda x, y: ((x + 1).exp(), y), ROW, ROW.clone())
    assert steps(early) == [("add", 300), ("exp", 300)]  # y is an output
    late = follow(lambda x, y: (x + 1).exp() * y, ROW, ROW.clone())
    assert steps(late) == [("add", 300), ("exp", 300), ("mul", 300)]
    first = follow(lambda x: ((y := x + 1), y.exp().exp().exp()), ROW)
    assert steps(first) == [("add", 200), ("exp", 200), ("exp", 300), ("exp", 300)]


def test_what_nothing_reads_is_live_while_it_is_made() -> None:
    assert steps(follow(lambda x: (x.exp(), x + 1)[1], ROW)) == [("exp", 200), ("add", 200)]
    pooled = follow(lambda x: torch.max(x, 1)[0], ROW)
    assert steps(pooled) == [("max", 100 + 4 + 8)]  # the indices too


def test_weights_and_what_follows_from_them_alone_are_apart_and_what_each_pass_makes_is_not() -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(25, 25))
    found = live_memory(layer, Batch((ROW,), {}))
    assert steps(found) == [("linear", 200)]
    mask = follow(lambda x: x * torch.ones(25).cumsum(0), ROW)
    assert steps(mask) == [("ones", 200), ("cumsum", 300), ("mul", 300)]
    padded = follow(lambda x: torch.zeros(1, 50).index_copy_(1, torch.arange(25), x).exp(), ROW)
    assert steps(padded) == [("zeros", 300), ("arange", 500), ("index_copy_", 500), ("exp", 400)]

    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(5, 25)
            self.register_buffer("places", torch.arange(1))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.table(self.places)

    assert steps(live_memory(Positions(), Batch((ROW,), {}))) == [("embedding", 200), ("add", 300)]


def test_what_is_spread_over_the_samples_is_made_in_each_pass() -> None:
    class Latents(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.latents, self.norm = nn.Parameter(torch.zeros(25)), nn.LayerNorm(25)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.norm(self.latents.expand(len(x), -1))

    # Of one batch size it cannot be told from what is computed from weights alone.
    assert steps(live_memory(Latents(), Batch((torch.zeros(1, 25),), {}))) == [("add", 200)]
    assert steps(live_memory(Latents(), Batch((torch.zeros(2, 25),), {}))) == [("layer_norm", 200), ("add", 300)]


def test_bytes_moved_are_read_and_written_ones_and_views_move_none() -> None:
    assert follow(lambda x: x.view(5, 5).t(), ROW).moved == 0
    assert follow(lambda x: x + 1, ROW).moved == 200
    assert follow(lambda x: x * x, ROW).moved == 200  # it is one tensor
    assert follow(lambda x: x.clone().relu_(), ROW).moved == 400
    assert follow(lambda x: x[:, :5] * 2, ROW).moved == 40
    assert follow(lambda x: x[:, :1].expand(1, 25) * 2, ROW).moved == 104  # one element is read
    assert live_memory(nn.Linear(25, 25), Batch((ROW,), {})).moved == 200  # weights are counted apart


def test_one_sample_is_followed_or_all_where_the_model_takes_no_single_one() -> None:
    assert live_memory(nn.ReLU(), Batch((torch.zeros(8, 25),), {})).bytes == 200

    class Pairs(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(4, -1) * 2

    found = live_memory(Pairs(), Batch((torch.zeros(4, 25),), {}))
    assert (found.bytes, found.samples) == (800, 4)

    class Never(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("no")

    with pytest.raises(DataError, match=r"The memory of the activations cannot be followed: the model raised ValueErr"):
        live_memory(Never(), Batch((ROW,), {}))


def test_a_model_without_operators_holds_its_inputs() -> None:
    found = live_memory(nn.Flatten(), Batch((ROW,), {}))
    assert (found.bytes, found.steps, found.peak) == (100, (), None)


def test_a_graph_knows_of_which_layer_its_operators_were() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)).eval()
    x = torch.randn(2, 3, 4, 4)
    graph = as_module(record_model(net, (x,), {}))
    as_written = live_memory(net, Batch((x,), {}))
    assert [step.layer for step in as_written.steps] == ["0", "1", "3"]
    assert live_memory(graph, Batch((x,), {})) == as_written


def test_the_model_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.BatchNorm1d(25), nn.Dropout()).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    x, state = torch.randn(4, 25), torch.get_rng_state()
    live_memory(net, Batch((x,), {}))
    assert net.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(net.state_dict()[name], tensor) for name, tensor in before.items())
    assert not torch.nn.modules.module._global_forward_hooks
