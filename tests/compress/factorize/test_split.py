"""Two layers in the place of one: proved equal to the product, in a model's own class and as a graph."""

from collections.abc import Mapping

import pytest
import torch
from networks import NETWORKS, conditioned, network
from torch import Tensor, nn
from torch.fx import GraphModule

from pfa_gate.compress.factorize import FactorableLayers, WeightPair, factorable, split, with_two_layers
from pfa_gate.compress.factorize.plan import provable
from pfa_gate.compress.factorize.split import prove_split, sketched
from pfa_gate.errors import SurgeryError
from pfa_gate.graph import record_model
from pfa_gate.graph.editing import as_module
from pfa_gate.model.copies import copied


def layers_of(model: nn.Module, x: Tensor) -> FactorableLayers:
    return factorable(record_model(model, (x,), {}), model)


def half(model: nn.Module, found: FactorableLayers) -> dict[str, WeightPair]:
    """Weights of half of the rank that saves."""
    weights = dict(model.named_parameters(remove_duplicate=False))
    return {
        name: sketched(layer, weights[layer.call.weight], max(1, layer.most // 2))
        for name, layer in found.layers.items()
    }


def with_products(model: nn.Module, pairs: Mapping[str, WeightPair]) -> nn.Module:
    """The model with the products as weights, by torch alone."""
    model = copied(model)
    for name, pair in pairs.items():
        with torch.no_grad():
            first, second = pair.first, pair.second.flatten(1)
            if pair.call.outputs == 1:  # a transposed convolution has its filters on the second axis
                made = torch.einsum("ck...,ok->co...", first, second)
            else:
                made = torch.einsum("kc...,ok->oc...", first, second)
            dict(model.named_parameters(remove_duplicate=False))[f"{name}.weight"].copy_(made)
    return model


@pytest.mark.parametrize("form", ["module", "graph"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_model_with_two_layers_each_is_the_model_with_their_products(name, form):
    model, x = network(name)
    model = model if form == "module" else as_module(record_model(model, (x,), {}))
    found = layers_of(model, x)
    pairs = half(model, found)
    made = split(model, pairs, ((x,), {}))
    assert found.layers
    assert made.failed == {}
    assert made.proof is not None
    assert (made.proof.passed, made.proof.tolerance, made.proof.dtype) == (True, 1e-10, "float64")
    assert isinstance(made.model, GraphModule) == (form == "graph")
    with torch.no_grad():
        torch.testing.assert_close(made.model(x), with_products(model, pairs)(x), rtol=1e-3, atol=1e-4)
    sizes = sum(parameter.numel() for parameter in model.parameters())
    saved = sum(layer.parameters() - layer.parameters(pairs[name].rank) for name, layer in found.layers.items())
    assert sum(parameter.numel() for parameter in made.model.parameters()) == sizes - saved


@pytest.mark.parametrize("form", ["module", "graph"])
@pytest.mark.parametrize("which", ["0", "1"])
def test_an_altered_factor_fails_the_proof(form, which):
    model, x = network("residual")
    model = model if form == "module" else as_module(record_model(model, (x,), {}))
    pairs = half(model, layers_of(model, x))
    made = split(model, pairs, ((x,), {}))
    assert prove_split(model, made.model, pairs, ((x,), {})).passed
    with torch.no_grad():
        made.model.get_parameter(f"conv1.{which}.weight").flatten()[0] += 1e-6
    proof = prove_split(model, made.model, pairs, ((x,), {}))
    assert not proof.passed
    assert 1e-10 < proof.max_error < 1e-2


class Awkward(nn.Module):
    """Its first layer's weight is read by the forward itself, its second is called from a list, its last is tied."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.listed, self.plain = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.tied, self.table, self.hooked = nn.Linear(8, 8, bias=False), nn.Embedding(8, 8), nn.Linear(8, 8)
        self.table.weight = self.tied.weight
        self.own, self.small = OwnForward(8, 8), nn.Linear(8, 1)
        self.hooked.register_forward_hook(lambda module, given, made: made)
        self.calls = [self.listed]

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.linear(x, self.read.weight, self.read.bias)
        x = self.hooked(self.tied(self.plain(self.calls[0](x).tanh()).tanh()).tanh()).tanh()
        return self.small(self.own(x) + self.table(torch.zeros(1, dtype=torch.int64)))


class OwnForward(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_layers_that_cannot_become_two_stay_one_and_each_says_why():
    model, x = conditioned(Awkward()), torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    found = layers_of(model, x)
    left = provable(model, found, [*found.layers, *found.whole], ((x,), {}))
    assert list(left.layers) == ["plain"]
    assert left.whole["listed"].startswith("off by ")
    assert {name: fault for name, fault in left.whole.items() if name != "listed"} == {
        "tied": "its weight is shared: it is 'table.weight' too",
        "hooked": "hooks are registered on it",
        "own": "its class OwnForward has a forward of its own",
        "small": "no rank of it would save anything",
        "read": "The compressed model does not run: AttributeError: 'Sequential' object has no attribute 'weight'",
    }


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.Conv2d(4, 8, 3, groups=2), "it is grouped: its 2 blocks read apart from each other"),
        (nn.Conv2d(8, 8, 3, groups=8), "it is grouped: its 8 blocks read apart from each other"),
    ],
)
def test_a_grouped_convolution_stays_one(layer, reason):
    model = nn.Sequential(layer, nn.Flatten(), nn.LazyLinear(2)).eval()
    x = torch.randn(2, layer.in_channels, 4, 4)
    model(x)
    assert layers_of(model, x).whole["0"] == reason


def test_what_is_no_layer_of_torch_cannot_be_put_in_two():
    with pytest.raises(SurgeryError, match="its class ReLU is none"):
        with_two_layers(nn.Sequential(nn.ReLU()), {"0": 1})
    with pytest.raises(SurgeryError, match="The model has no layer 'fc'"):
        with_two_layers(nn.Sequential(nn.ReLU()), {"fc": 1})


def test_what_is_made_keeps_precision_device_and_what_is_trained():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)).to(torch.float64).eval()
    model[0].weight.requires_grad_(False)
    x = torch.randn(3, 8, dtype=torch.float64)
    made = split(model, half(model, layers_of(model, x)), ((x,), {})).model
    assert [(name, each.dtype, each.requires_grad) for name, each in made.named_parameters()] == [
        ("0.0.weight", torch.float64, False),
        ("0.1.weight", torch.float64, False),
        ("0.1.bias", torch.float64, True),
        ("1.0.weight", torch.float64, True),
        ("1.1.weight", torch.float64, True),
        ("1.1.bias", torch.float64, True),
    ]


def test_a_graph_that_calls_modules_has_two_of_them():
    model, x = torch.fx.symbolic_trace(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))).eval(), torch.randn(3, 8)
    made = split(model, half(model, layers_of(model, x)), ((x,), {}))
    assert made.failed == {}
    assert list(made.model.get_submodule("0").state_dict()) == ["0.weight", "1.weight", "1.bias"]


def test_no_random_number_of_the_user_is_drawn():
    model = nn.Sequential(nn.Linear(8, 8), nn.Conv2d(2, 2, 1))
    before = torch.random.get_rng_state()
    with_two_layers(model, {"0": 2, "1": 1})
    assert torch.equal(torch.random.get_rng_state(), before)
