"""A deep copy is that of the standard library, whatever a module holds."""

import copy
from collections import OrderedDict
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from pfa_gate.model.copies import deep_copy


class Twice(nn.Module):
    """One part under two names, tied weights, and attributes that point at parts."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4)
        self.again, self.last.weight = self.first, self.first.weight
        self.order, self.config = [self.last, self.first], SimpleNamespace(head=self.last, sizes={"width": [4]})
        self.seen: set[str] = set()
        self.table = self.alias = OrderedDict(weight=self.first.weight)
        self.register_buffer("mask", torch.ones(4), persistent=False)
        self.first.register_forward_hook(lambda *_: None)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.again(self.order[0](self.first(x))) * self.mask
        return made


class CopiesItself(nn.Linear):
    """A layer that says itself what its copy is."""

    def __deepcopy__(self, memo: dict[int, object]) -> "CopiesItself":
        twin = CopiesItself(4, 4)
        twin.load_state_dict(self.state_dict())
        return twin


MODELS: dict[str, Callable[[], nn.Module]] = {
    "layers": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Softmax(1), nn.GELU()),
    "recurrent": lambda: nn.LSTM(4, 4, 2, bidirectional=True),
    "attention": lambda: nn.TransformerEncoderLayer(4, 2),
    "shared": Twice,
    "own": lambda: nn.Sequential(CopiesItself(4, 4), nn.ReLU()),
    "parametrized": lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4))),
    "graph": lambda: nn.Sequential(torch.fx.symbolic_trace(nn.Sequential(nn.Linear(4, 4), nn.ReLU()))),
}


def test_a_copy_of_a_graph_stores_what_the_graph_stores() -> None:
    graph = torch.fx.symbolic_trace(Twice())
    graph.register_buffer("mask", torch.ones(4), persistent=False)
    twin = deep_copy(graph, {})
    assert twin.state_dict().keys() == graph.state_dict().keys()
    assert twin.mask is not graph.mask
    assert torch.equal(twin(torch.ones(1, 4)), graph(torch.ones(1, 4)))


@pytest.mark.parametrize("name", MODELS)
def test_a_copy_holds_what_the_model_holds_and_shares_none_of_it(name: str) -> None:
    model = MODELS[name]()
    twin, reference = deep_copy(model, {}), copy.deepcopy(model)
    parts = list(zip(model.modules(), twin.modules(), reference.modules(), strict=True))
    assert [type(made).__name__ for _, made, _ in parts] == [type(expected).__name__ for _, _, expected in parts]
    assert [list(vars(made)) for _, made, _ in parts] == [list(vars(expected)) for _, _, expected in parts]
    assert all(made is not own and vars(made).keys() == vars(own).keys() for own, made, _ in parts)
    tensors = [list(each.state_dict(keep_vars=True).values()) for each in (model, twin, reference)]
    for own, made, expected in zip(*tensors, strict=True):
        assert type(made) is type(expected)
        assert torch.equal(made, expected)
        assert made.data_ptr() != own.data_ptr()
    tables = [
        value for part in model.modules() for value in vars(part).values() if isinstance(value, dict | list | set)
    ]
    copies = {id(value) for part in twin.modules() for value in vars(part).values()}
    assert copies.isdisjoint(id(table) for table in tables)


def test_what_is_one_thing_in_a_model_is_one_thing_in_its_copy() -> None:
    model = Twice()
    twin = deep_copy(model, {})
    assert twin.again is twin.first
    assert twin.order == [twin.last, twin.first]
    assert twin.config.head is twin.last
    assert twin.last.weight is twin.first.weight is twin.table["weight"]
    assert twin.alias is twin.table
    assert twin.config.sizes is not model.config.sizes
    assert len(twin.first._forward_hooks) == 1
    inputs = torch.randn(2, 4)
    assert torch.equal(twin(inputs), model(inputs))


def test_a_copy_takes_the_tensors_that_are_given_in_their_stead_wherever_they_stand() -> None:
    model, halved = Twice(), nn.Parameter(torch.zeros(4, 4))
    twin = deep_copy(model, {id(model.first.weight): halved})
    assert twin.first.weight is twin.last.weight is twin.table["weight"] is halved
    assert model.first.weight is not halved
