"""A model recorded while it runs: its program computes what it computes, at every batch, and holds what it holds."""

import gc
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pytest
import torch
from networks import NETWORKS, network
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import _pytree as pytree

from pfa_gate.graph import inputs_of, record_model
from pfa_gate.graph.editing import as_module
from pfa_gate.graph.program import operator_name
from pfa_gate.graph.record import record
from pfa_gate.model.copies import copied


def names(model: nn.Module, *args: Any, **kwargs: Any) -> list[str]:
    """The operators of a model's program."""
    return [node.name for node in record_model(model, args, kwargs).nodes if node.op != "output"]


def same(one: Any, other: Any) -> bool:
    leaves = zip(pytree.tree_leaves(one), pytree.tree_leaves(other), strict=True)
    return all(torch.equal(first, second) for first, second in leaves)


def drawn(inputs: Any, samples: int) -> Any:
    """So many samples, drawn from those of the example."""

    def chosen(leaf: Any) -> Any:
        return leaf[torch.randint(len(leaf), (samples,))] if isinstance(leaf, Tensor) and leaf.ndim else leaf

    return pytree.tree_map(chosen, inputs)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_program_computes_what_its_model_does_bit_for_bit_at_other_batches(name: str) -> None:
    model, example = network(name)
    args, kwargs = inputs_of(example)
    program = record_model(model, args, kwargs)
    for samples in (1, 2, 5):
        other = drawn((args, kwargs), samples)
        with torch.no_grad():
            assert same(program.run(*other), model(*other[0], **other[1]))
            assert same(as_module(program)(*other[0], **other[1]), model(*other[0], **other[1]))


class Called(nn.Module):
    """A forward that a test writes."""

    def __init__(self, call: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.call = call
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(self, *args, **kwargs)


def test_operators_are_recorded_whole_and_in_place() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        x = functional.batch_norm(functional.conv2d(x, self.weight), torch.zeros(3), torch.ones(3)).relu_()
        return functional.scaled_dot_product_attention(x, x, x).flatten(1)

    found = names(Called(forward, weight=nn.Parameter(torch.randn(3, 2, 1, 1))), torch.randn(2, 2, 4, 4))
    assert found == ["conv2d", "batch_norm", "relu_", "scaled_dot_product_attention", "flatten"]


INTEGERS: dict[str, Callable[[Tensor], Tensor]] = {
    "the batch": lambda x: x.reshape(x.shape[0], -1),
    "a product": lambda x: x.reshape(x.shape[0] * x.shape[1], -1),
    "a product and a number": lambda x: torch.cat([x, x[:1]]).reshape(x.shape[0] * 4 + 4, -1),
    "one less": lambda x: x[: x.shape[0] - 1],
    "in a list": lambda x: x.expand(3, x.shape[0], *x.shape[1:]).sum(0),
    "by keyword": lambda x: x + torch.full(size=(x.shape[0], 1, 1), fill_value=2.0),
}


@pytest.mark.parametrize("way", INTEGERS)
def test_integers_follow_the_batch(way: str) -> None:
    model = Called(lambda _, x: INTEGERS[way](x))
    program = record_model(model, (torch.randn(2, 4, 3),), {})
    for samples in (2, 3, 7):
        x = torch.randn(samples, 4, 3)
        assert torch.equal(program.run((x,), {}), model(x))
    assert program.dynamic


def test_a_forward_that_takes_groups_of_frames_is_recorded_at_twice_as_many() -> None:
    model = Called(lambda _, x: x.view(x.shape[0] // 4, 4, -1).mean(1))
    program = record_model(model, (torch.randn(4, 3),), {})
    assert program.dynamic
    assert program.run((torch.randn(12, 3),), {}).shape == (3, 3)


def test_a_forward_that_takes_one_batch_alone_is_recorded_for_it() -> None:
    program = record_model(Called(lambda _, x: x.view(4, 6) * 2), (torch.randn(2, 4, 3),), {})
    assert not program.dynamic
    assert program.batch == 2


def test_a_single_sample_is_shown_twice() -> None:
    assert record_model(nn.Linear(3, 2), (torch.randn(1, 3),), {}).batch == 2


# --- held tensors


def test_tensors_are_named_by_their_memory_whatever_object_of_python_holds_them() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        x = functional.linear(x.data, self.tied) + self.weight.data.sum()
        return x @ self.first.weight.T * self.scale + self.tables[0]

    model = Called(forward, first=nn.Linear(3, 3), weight=nn.Parameter(torch.randn(3)))
    model.tied = model.first.weight
    model.scale = 2.0
    model.tables = [torch.randn(3)]  # in no state dict
    program = record_model(model, (torch.randn(2, 3),), {})
    sources = [source for node in program.nodes for source in node.all_input_nodes]
    read = [program.aliases[source].name for source in sources if source in program.aliases]
    assert read == ["tied", "folded:sum_1", "tied", "tables.0"]
    assert "tables.0" not in program.state


def test_a_part_of_a_weight_that_is_an_attribute_stays_a_part_of_it() -> None:
    model = Called(
        lambda self, x: functional.linear(x, self.part) + self.weight.sum(), weight=nn.Parameter(torch.randn(4, 3))
    )
    model.part = model.weight.data[1:3]
    program = record_model(model, (torch.randn(2, 3),), {})
    assert program.lifted == frozenset()
    assert program.stored is None
    assert [alias.parts for alias in program.aliases.values() if alias.parts] == [{0: (1, 2)}]
    x = torch.randn(5, 3)
    assert torch.equal(program.run((x,), {}), model(x))


def test_a_table_kept_under_the_name_of_one_of_torchs_methods_gets_another_name() -> None:
    model = Called(lambda self, x: x + self.cache["cpu"])
    model.cache = {"cpu": torch.ones(3)}  # as LeViT keeps its biases, by device
    program = record_model(model, (torch.randn(2, 3),), {})
    assert program.lifted == {"lifted_tensor_0"}
    assert torch.equal(as_module(program)(torch.zeros(1, 3)), torch.ones(1, 3))


def test_a_constant_that_the_forward_makes_is_held_and_one_that_varies_is_refused() -> None:
    program = record_model(Called(lambda _, x: x * torch.tensor([1.0, 2.0])), (torch.randn(2, 2),), {})
    assert [name for name in program.tensors if not name.startswith("folded")] == ["lifted_tensor_0"]
    assert torch.equal(program.run((torch.ones(1, 2),), {}), torch.tensor([[1.0, 2.0]]))


def test_a_table_that_the_first_pass_fills_is_a_constant() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        if self.table is None:
            self.table = torch.arange(x.shape[1]).float().cos()
        return x * self.table

    model = Called(forward)
    model.table = None
    program = record_model(model, (torch.randn(2, 3),), {})
    assert model.table is None
    assert torch.equal(program.run((torch.ones(1, 3),), {}), torch.arange(3).cos()[None])


def test_what_a_program_writes_into_is_not_the_model() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        self.seen.add_(1)
        self.memory = self.memory * 0.5 + x.mean(0)
        return x + self.memory * self.seen

    model = Called(forward, seen=torch.zeros(1), memory=torch.ones(3))
    before = {name: (id(tensor), tensor.clone()) for name, tensor in model.named_buffers()}
    program = record_model(model, (torch.ones(2, 3),), {})
    first = program.run((torch.ones(2, 3),), {})
    assert torch.equal(first, program.run((torch.ones(2, 3),), {}))
    assert all(id(t) == before[n][0] and torch.equal(t, before[n][1]) for n, t in model.named_buffers())
    again = copied(as_module(program))
    answers = [again(torch.ones(2, 3)), again(torch.ones(2, 3))]
    assert torch.equal(answers[0], first)
    assert torch.equal(answers[1], (model(torch.ones(2, 3)), model(torch.ones(2, 3)))[1]), "a graph remembers too"


# --- owners


def test_each_operator_knows_the_module_that_ran() -> None:
    net = nn.Sequential(OrderedDict(stem=nn.Linear(3, 4), block=nn.Sequential(nn.Linear(4, 4), nn.ReLU())))
    net.block.register_forward_pre_hook(lambda _module, inputs: inputs[0].tanh())
    program = record_model(net, (torch.randn(2, 3),), {})
    owners = [(node.name, node.meta["owner"]) for node in program.nodes if node.op != "output"]
    assert owners == [("linear", "stem"), ("tanh", "block"), ("linear_1", "block.0"), ("relu", "block.1")]


# --- inputs and outputs


@dataclass
class Sample:
    image: Tensor
    weight: float = 2.0


@dataclass
class Answer:
    logits: Tensor
    parts: dict[str, Tensor]


def test_inputs_and_outputs_may_be_tuples_mappings_and_dataclasses() -> None:
    def forward(_: Any, sample: Sample, more: dict[str, Any], *, scale: Tensor) -> Answer:
        total = sample.image * sample.weight + more["pair"][0] - more["pair"][1]
        return Answer(total * scale, {"total": total})

    pair = (torch.randn(2, 3), torch.randn(2, 3))
    args, kwargs = (Sample(torch.randn(2, 3)), {"pair": pair}), {"scale": torch.randn(2, 1)}
    model = Called(forward)
    program = record_model(model, args, kwargs)
    for answer in (program.run(args, kwargs), as_module(program)(*args, **kwargs)):
        assert isinstance(answer, Answer)
        assert same((answer.logits, answer.parts), (model(*args, **kwargs).logits, model(*args, **kwargs).parts))


def test_an_output_of_the_transformers_library_keeps_its_type() -> None:
    outputs = pytest.importorskip("transformers.modeling_outputs")
    model = Called(lambda self, x: outputs.ImageClassifierOutput(logits=self.head(x)), head=nn.Linear(3, 2))
    answer = record_model(model, (torch.randn(2, 3),), {}).run((torch.zeros(1, 3),), {})
    assert isinstance(answer, outputs.ImageClassifierOutput)
    assert answer.loss is None


def test_keyword_inputs_may_come_in_another_order() -> None:
    model = Called(lambda _, a, b: a - b)
    a, b = torch.randn(2, 3), torch.randn(2, 3)
    assert torch.equal(record_model(model, (), {"a": a, "b": b}).run((), {"b": b, "a": a}), a - b)


# --- precision, randomness


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_recorded_as_they_are(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU()).to(dtype)
    x = torch.randn(2, 3, dtype=dtype)
    assert torch.equal(record_model(model, (x,), {}).run((x,), {}), model(x))


def test_autocast_is_recorded_as_its_casts_and_weights_stay_the_models() -> None:
    def forward(self: Any, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.second(self.first(x).relu())

    model = Called(forward, first=nn.Linear(3, 4), second=nn.Linear(4, 2))
    program = record_model(model, (torch.randn(2, 3),), {})
    assert program.stored is None, "a cast is no computation of a weight"
    x = torch.randn(5, 3)
    with torch.no_grad():
        assert torch.equal(program.run((x,), {}), model(x))


@pytest.mark.parametrize("cast", [Tensor.float, lambda x: x.to(torch.float32), lambda x: x.to(dtype=torch.float32)])
def test_a_cast_that_changes_nothing_is_no_operator_but_holds_a_double_copy_to_single(cast: Any) -> None:
    program = record_model(Called(lambda _, x: cast(x).relu()), (torch.randn(2, 3),), {})
    assert [node.name for node in program.nodes] == ["relu", "output"]
    assert program.single_precision
    assert not record_model(nn.ReLU(), (torch.randn(2, 3),), {}).single_precision


def test_a_table_that_is_cached_for_one_batch_is_a_constant_of_that_batch() -> None:
    """As MaskFormer caches where its places are: in a cache of one entry, by the whole shape."""

    @lru_cache(maxsize=1)
    def table(samples: int) -> Tensor:
        return torch.arange(3.0).cos().repeat(samples, 1)

    model = Called(lambda _, x: (x * table(x.shape[0]))[: x.shape[0] - 1])
    program = record_model(model, (torch.zeros(2, 3),), {})
    assert not program.dynamic
    assert [node.name for node in program.nodes] == ["mul", "slice_1", "output"]
    assert torch.equal(program.run((torch.ones(2, 3),), {}), torch.arange(3.0).cos()[None])


def test_what_is_detached_in_place_is_what_it_was() -> None:
    """An exported program refuses to detach a view in place."""
    model = Called(lambda _, x: (x[:, 0].detach_() * 2).sigmoid_())
    assert names(model, torch.randn(2, 3)) == ["select", "mul", "sigmoid_"]


def test_numbers_are_drawn_anew_and_the_generator_is_given_back() -> None:
    model = Called(lambda _, x: x + torch.randn_like(x))
    torch.manual_seed(0)
    state = torch.get_rng_state()
    program = record_model(model, (torch.zeros(2, 3),), {})
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(program.run((torch.zeros(2, 3),), {}), program.run((torch.zeros(2, 3),), {}))


# --- memory


class Watching(nn.Module):
    """Counts how many of its activations are alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(12))
        self.alive: list[weakref.ref[Tensor]] = []
        self.most = 0

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
            self.alive.append(weakref.ref(x))
            self.most = max(self.most, sum(each() is not None for each in self.alive))
        return x


def test_a_recording_keeps_no_activation_alive() -> None:
    model = Watching().eval()
    recording = record(model, ((torch.randn(2, 8),), {}))
    assert len(recording.operations) == 12
    assert model.most <= 2
    gc.collect()
    assert sum(each() is not None for each in model.alive) == 0


def test_neither_input_nor_model_is_written_into() -> None:
    model, x = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2)), torch.randn(2, 3)
    before = x.clone()
    record_model(model, (x,), {})
    assert torch.equal(x, before)


def test_tables_that_code_caches_for_good_are_no_tensors_of_inference_mode() -> None:
    cache: dict[int, Tensor] = {}

    def forward(self: Any, x: Tensor) -> Tensor:
        return self.layer(x) * cache.setdefault(x.shape[1], torch.arange(x.shape[1]).float())

    record_model(Called(forward, layer=nn.Linear(3, 3)), (torch.randn(2, 3),), {})
    assert [table.is_inference() for table in cache.values()] == [False]


@pytest.fixture(autouse=True)
def in_eval() -> Iterator[None]:
    """No gradients are asked for in these tests."""
    with torch.no_grad():
        yield


def test_reads_of_shapes_are_no_reads_of_values() -> None:
    model = Called(lambda _, x: x * len(x.shape) if x.is_floating_point() and x.numel() > 1 else x)
    assert next(operator_name(node) for node in record_model(model, (torch.randn(2, 3),), {}).nodes) == "mul"
