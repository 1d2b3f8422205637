"""Where a model runs: what a word of the config means, what is moved and what is left where it lies."""

import pytest
import torch
from torch import Tensor, nn

from pfa_gate.errors import ConfigError
from pfa_gate.graph import record_model
from pfa_gate.graph.editing import as_module
from pfa_gate.model import batch_of
from pfa_gate.model.device import (
    CPU,
    device_of,
    devices_of,
    exact_arithmetic,
    input_device,
    is_spread,
    model_on,
    prefetched,
)

META = torch.device("meta")


class Tied(nn.Module):
    """Two layers of one weight, a buffer, and a tensor made in the forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.norm = nn.Linear(4, 4), nn.Linear(4, 4), nn.BatchNorm1d(4)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.second(self.first(x))) + torch.arange(4, device=x.device)


def cards(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: count - 1)


def test_a_word_means_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    cards(monkeypatch, 2)
    meant = {word: str(device_of(word, Tied())) for word in ("auto", "cpu", "cuda", "cuda:0")}
    assert meant == {"auto": "cuda:1", "cpu": "cpu", "cuda": "cuda:1", "cuda:0": "cuda:0"}
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert str(device_of("cuda", Tied())) == "cuda:0"
    cards(monkeypatch, 0)
    assert device_of("auto", Tied()) == CPU


@pytest.mark.parametrize(("word", "count", "found"), [("cuda", 0, "no CUDA device"), ("cuda:2", 2, "2 CUDA devices")])
def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch, word: str, count: int, found: str) -> None:
    cards(monkeypatch, count)
    with pytest.raises(ConfigError) as caught:
        device_of(word, Tied())
    assert str(caught.value) == (
        f"model.device is {word}, and torch {torch.__version__} finds {found} here.\n"
        "  Write auto, which takes one where there is one, or cpu."
    )


def test_a_copy_elsewhere_keeps_ties_and_leaves_the_model() -> None:
    model = Tied().eval()
    copy = model_on(model, META)
    assert {str(tensor.device) for tensor in copy.state_dict().values()} == {"meta"}
    assert copy.first.weight is copy.second.weight
    assert input_device(model) == CPU
    assert not copy.training
    assert model_on(model, CPU) is model


def test_a_program_runs_elsewhere_with_what_its_graph_makes() -> None:
    batch = batch_of(torch.ones(3, 4))
    program = record_model(Tied(), batch.args, {})
    there = program.on(META)
    (moved,) = prefetched([batch], META)
    assert there.run(moved.args, {}).device == META
    assert torch.equal(program.run(batch.args, {}), program.on(CPU).run(batch.args, {}))
    assert program.on(CPU) is program


def test_a_model_that_is_a_graph_makes_its_tensors_where_it_is_taken() -> None:
    batch = batch_of(torch.ones(3, 4))
    graph = as_module(record_model(Tied(), batch.args, {}))
    there = model_on(graph, META)
    assert there(batch.args[0].to(META)).device == META
    assert graph(*batch.args).device == CPU


def test_labels_and_nested_inputs_move_too() -> None:
    (moved,) = prefetched([batch_of({"a": [torch.ones(2)], "b": "word", "labels": [1, 2]})], META)
    assert (moved.kwargs["a"][0].device, moved.kwargs["b"], moved.labels.device) == (META, "word", META)


def test_a_device_map_of_several_places_is_a_spread_model_which_stays_where_it_lies() -> None:
    model = Tied()
    model.hf_device_map = {"first": 0, "second": "disk"}  # type: ignore[assignment]
    assert (devices_of(model), is_spread(model)) == (["cpu", "cuda:0", "disk"], True)
    assert model_on(model, META) is model


def test_a_device_map_of_one_place_is_a_model_like_any_other() -> None:
    model = Tied()
    model.hf_device_map = {"": "cpu"}  # type: ignore[assignment]
    assert (devices_of(model), is_spread(model)) == (["cpu"], False)
    there = model_on(model, META)
    assert {str(tensor.device) for tensor in there.state_dict().values()} == {"meta"}
    assert input_device(model) == CPU


def test_a_spread_model_is_not_moved_on_demand() -> None:
    model = Tied()
    model.norm.to("meta")
    model.hf_device_map = {"": "cpu"}  # type: ignore[assignment]
    assert device_of("auto", model) == CPU
    with pytest.raises(ConfigError) as caught:
        device_of("cpu", model)
    assert str(caught.value) == (
        "The factory has spread the model over cpu; model.device: cpu would move it.\n"
        "  Remove model.device, or build the model on one device."
    )


def test_full_precision_is_asked_for_and_given_back() -> None:
    def settings() -> tuple[object, ...]:
        return (
            torch.get_float32_matmul_precision(),
            torch.backends.cudnn.allow_tf32,
            torch.backends.cudnn.deterministic,
            torch.are_deterministic_algorithms_enabled(),
        )

    before = settings()
    torch.set_float32_matmul_precision("high")
    try:
        with exact_arithmetic(torch.device("cuda")):
            assert settings() == ("highest", False, True, True)
        assert settings() == ("high", *before[1:])
        with exact_arithmetic(CPU):
            assert settings() == ("high", *before[1:])
    finally:
        torch.set_float32_matmul_precision(str(before[0]))
