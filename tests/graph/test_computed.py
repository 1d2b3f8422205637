"""A network that computes its weights is cut, counted and named as its twin, which holds them."""

import numpy as np
import pytest
import torch
from computed import NETWORKS, Equalised, Integers, Standardised, built, twin
from torch import Tensor, nn
from torch.nn import functional

from pfa_gate.analysis.responses import chosen_layers
from pfa_gate.compress.prune import PrunedModel, compress, operate
from pfa_gate.graph import Coupling, trace
from pfa_gate.graph.cost import stored
from pfa_gate.model import Batch

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")


def halved(model: nn.Module, example: Tensor) -> tuple[Coupling, PrunedModel]:
    coupling = trace(model, example)
    keep = {group.name: np.arange(group.width)[::2] for group in coupling.free}
    return coupling, compress(model, coupling, keep, ((example,), {}))


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_followed_cut_and_counted_as_its_twin(name: str) -> None:
    model, example = built(name)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    (found, cut), (wanted, plain) = halved(model, example), halved(twin(name), example)
    assert [(layer.name, layer.kind, layer.filters, layer.frozen) for layer in found.layers] == [
        (layer.name, layer.kind, layer.filters, layer.frozen) for layer in wanted.layers
    ]
    assert [(group.name, group.width, group.readers) for group in found.groups] == [
        (group.name, group.width, group.readers) for group in wanted.groups
    ]
    half = {group.name: group.width // 2 for group in found.free}
    assert found.footprint() == wanted.footprint()
    assert found.footprint(half) == wanted.footprint(half)
    assert cut.put_back == plain.put_back == {}
    assert stored(cut.model) == stored(plain.model)
    assert stored(cut.model).parameters == found.footprint(half).parameters
    with torch.no_grad():
        torch.testing.assert_close(cut.model(example), plain.model(example), rtol=1e-5, atol=1e-5)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(model.state_dict()[key], tensor) for key, tensor in before.items())


class Twice(nn.Module):
    """One layer that is called twice, and whose weight is computed each time."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.head = Equalised(6, 8), Equalised(8, 8), Equalised(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.again(self.again(self.first(x).relu()).relu()).relu())


class Scaled(nn.Module):
    """One parameter, read as it is and at two scales; the middle one from outside its module."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.linear(self.first(x).relu(), self.first.weight * 2).relu()
        return self.head(functional.linear(x, self.first.weight * 3).relu())


class Attended(nn.Module):
    """Cross attention, which takes the packed weight of its inputs apart."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.attention = nn.Linear(8, 8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.head(self.attention(x[:, :1], x, x, need_weights=False)[0])


def test_a_layer_that_is_called_twice_is_one_layer() -> None:
    coupling = trace(Twice().eval(), torch.randn(3, 6))
    assert [(layer.name, len(layer.taps)) for layer in coupling.layers] == [("first", 1), ("again", 2), ("head", 1)]
    assert coupling.footprint().parameters == stored(Twice()).parameters


def test_a_parameter_that_is_read_in_several_ways_is_stored_for_each() -> None:
    coupling, cut = halved(Scaled().eval(), torch.randn(3, 6))
    assert [layer.name for layer in coupling.layers] == ["first", "first.weight_2", "first.weight_3", "head"]
    half = {group.name: group.width // 2 for group in coupling.free}
    assert stored(cut.model).parameters == coupling.footprint(half).parameters


def test_a_module_is_chosen_and_left_out_with_all_of_its_weights() -> None:
    model, example = Scaled().eval(), torch.randn(3, 6)
    layers = trace(model, example).layers
    chosen = chosen_layers(model, layers, ["*"], ["first"], example)
    assert [layer.name for layer in chosen] == ["head"]
    chosen = chosen_layers(model, layers, ["first"], ["*_3"], example)
    assert [layer.name for layer in chosen] == ["first", "first.weight_2"]


def test_parts_of_a_packed_weight_keep_its_name_and_its_count() -> None:
    model = Attended().eval()
    coupling = trace(model, torch.randn(2, 3, 8))
    packed = "attention.in_proj_weight"
    assert [layer.name for layer in coupling.layers] == [
        "first", packed, f"{packed}_2", "attention.out_proj", "head",
    ]  # fmt: skip
    assert coupling.footprint().parameters == stored(model).parameters


def test_integers_count_as_weights_and_the_counters_of_a_norm_do_not() -> None:
    model = nn.Sequential(Integers(6, 8), nn.BatchNorm1d(8), nn.ReLU(), Integers(8, 3)).eval()
    program = trace(model, torch.randn(3, 6)).program
    assert program.unpacked == {"0.packed", "3.packed"}
    assert stored(model, program.unpacked).parameters == 6 * 8 + 8 + 2 * 8 + 8 * 3 + 3


def test_the_kernel_of_a_blur_is_no_weight() -> None:
    class Blurred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 2, 1)
            self.register_buffer("kernel", torch.ones(1, 1, 2, 2) / 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(functional.conv2d(self.first(x).relu(), self.kernel.repeat(6, 1, 1, 1), groups=6))

    coupling, cut = halved(Blurred().eval(), torch.randn(2, 1, 6, 6))
    assert cut.put_back == {}
    assert coupling.program.stored is None
    assert stored(cut.model).parameters == coupling.footprint({"first": 3}).parameters == 3 * 10 + 2 * 4


def test_the_public_page_cuts_what_the_old_weight_norm_computes() -> None:
    model, example = built("weight_norm")
    smaller = operate(model, example, {"0": [0, 1, 5]})
    assert {name: tuple(tensor.shape) for name, tensor in smaller.named_parameters()} == {
        "0.weight": (3, 16), "0.bias": (3,), "2.weight": (10, 3), "2.bias": (10,), "4.weight": (4, 10), "4.bias": (4,),
    }  # fmt: skip


def test_a_weight_that_depends_on_the_input_is_left_whole() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.head = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x).relu()
            return self.head(functional.linear(y, self.second.weight * y.mean()).relu())

    coupling = trace(Gated().eval(), torch.randn(3, 4))
    assert coupling.program.stored is None
    assert all(group.frozen for group in coupling.groups if group.name == "first")


@pytest.mark.parametrize("layer", [Equalised, Standardised])
def test_a_batch_of_another_size_runs_through_the_stored_weights(layer: type[nn.Module]) -> None:
    name = "equalised" if layer is Equalised else "standardised"
    model, example = built(name)
    more = Batch((torch.cat([example, example + 1]),), {})
    with torch.no_grad():
        torch.testing.assert_close(trace(model, example).program.run(more.args, {}), model(*more.args))
