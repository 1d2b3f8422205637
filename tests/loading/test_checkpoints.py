"""Weights from files: what fits, and what is said of the rest."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from pfa_gate.errors import CheckpointError
from pfa_gate.loading.checkpoint import fill, read


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def net(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 2))


def save(value: Any, name: str) -> Path:
    torch.save(value, name)
    return Path(name)


WRITERS: dict[str, Callable[[nn.Module], Path]] = {
    "safetensors": lambda model: save_file(model.state_dict(), "w.safetensors") or Path("w.safetensors"),
    "pt": lambda model: save(model.state_dict(), "w.pt"),
    "pth": lambda model: save(model.state_dict(), "w.pth"),
    "bin": lambda model: save(model.state_dict(), "w.bin"),
    "under state_dict": lambda model: save({"epoch": 3, "state_dict": model.state_dict()}, "w.pt"),
    "under model": lambda model: save({"model": model.state_dict(), "epoch": 3}, "w.pt"),
    "under both": lambda model: save({"model": {"state_dict": model.state_dict()}}, "w.pt"),
    "parallel": lambda model: save(nn.DataParallel(model).state_dict(), "w.pt"),
    "without batch counts": lambda model: save(
        {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}, "w.pt"
    ),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_what_was_saved_is_filled_in(write: Callable[[nn.Module], Path]) -> None:
    trained, fresh = net(), net()
    fill(fresh, write(trained))
    for name, value in trained.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value), name


def test_a_model_that_has_the_prefix_itself_keeps_it() -> None:
    trained, fresh = nn.ModuleDict({"module": net()}), nn.ModuleDict({"module": net()})
    fill(fresh, save(trained.state_dict(), "w.pt"))
    assert torch.equal(fresh["module"][0].weight, trained["module"][0].weight)


def test_tied_weights_are_stored_once() -> None:
    def tied() -> nn.Module:
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        model[1].weight = model[0].weight
        return model

    trained, fresh = tied(), tied()
    save_model(trained, "w.safetensors")
    assert len(read(Path("w.safetensors"))) == 3
    fill(fresh, Path("w.safetensors"))
    assert torch.equal(fresh[1].weight, trained[1].weight)


class Elsewhere:
    """Something only code can rebuild."""


SAFE = "Save the weights alone: safetensors.torch.save_file(model.state_dict(), path)."
OTHER = "Check model.arguments: the checkpoint was trained with another architecture."

UNFIT = {
    "other width": (
        lambda: save(net(5).state_dict(), "w.pt"),
        "w.pt does not fit the model.\n"
        "    7 of another shape: 0.bias [5] for [4], 0.weight [5, 3] for [4, 3], 1.bias [5] for [4], "
        f"1.running_mean [5] for [4], 1.running_var [5] for [4] and 2 more\n  {OTHER}",
    ),
    "other names": (
        lambda: save({"0.weight": torch.zeros(3), "stem.weight": torch.zeros(1)}, "w.pt"),
        "w.pt does not fit the model.\n"
        "    7 missing: 0.bias, 1.bias, 1.running_mean, 1.running_var, 1.weight and 2 more\n"
        "    1 unexpected: stem.weight\n"
        f"    1 of another shape: 0.weight [3] for [4, 3]\n  {OTHER}",
    ),
    "absent": (
        lambda: Path("w.pt"),
        "There is no checkpoint w.pt.\n  Relative paths start at the folder of pfa.yaml.",
    ),
    "unknown kind": (
        lambda: Path("w.h5"),
        "w.h5 is of no known kind of checkpoint.\n  Use .safetensors, or .pt, .pth, .bin with weights only.",
    ),
    "pickled code": (
        lambda: save(Elsewhere(), "w.pt"),
        f"w.pt holds more than weights ({__name__}.Elsewhere); reading it would run code.\n  {SAFE}",
    ),
    "a number": (
        lambda: save(3, "w.pt"),
        f"w.pt holds no weights by name, but an object of type int.\n  {SAFE}",
    ),
    "no tensors": (
        lambda: save({"epoch": 3, "loss": 0.5}, "w.pt"),
        f"w.pt holds no weights; its keys: epoch, loss.\n  {SAFE}",
    ),
    "index without a map": (
        lambda: written(b"[]", "w.safetensors.index.json"),
        "w.safetensors.index.json is no index of weights: it has no weight_map.",
    ),
    "index of files elsewhere": (
        lambda: written(b'{"weight_map": {"0.bias": "../w.safetensors"}}', "w.safetensors.index.json"),
        "w.safetensors.index.json names ../w.safetensors, which is no .safetensors file beside it.\n"
        "  Keep the index and its files in one folder.",
    ),
    "lfs": (
        lambda: written(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "w.safetensors"),
        "w.safetensors is a Git LFS pointer, not the weights.\n  Run git lfs pull.",
    ),
}


def written(content: bytes, name: str) -> Path:
    Path(name).write_bytes(content)
    return Path(name)


@pytest.mark.parametrize(("write", "message"), UNFIT.values(), ids=UNFIT)
def test_what_does_not_fit(write: Callable[[], Path], message: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        fill(net(), write())
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 no archive"], ids=["empty", "text", "zip"])
def test_a_damaged_file_is_named(name: str, content: bytes) -> None:
    with pytest.raises(CheckpointError, match=rf"{name} (cannot be read|is damaged)"):
        fill(net(), written(content, name))


def sharded(model: nn.Module) -> Path:
    """An index over two files, as Hugging Face writes it."""
    state = sorted(model.state_dict().items())
    files = {"a.safetensors": dict(state[:5]), "b.safetensors": dict(state[5:])}
    for name, part in files.items():
        save_file(part, name)
    places = {key: name for name, part in files.items() for key in part}
    return written(json.dumps({"weight_map": places}).encode(), "w.safetensors.index.json")


@pytest.mark.parametrize("write", [*WRITERS.values(), sharded], ids=[*WRITERS, "sharded"])
def test_a_model_without_memory_takes_the_tensors_of_the_file(write: Callable[[nn.Module], Path]) -> None:
    trained = net()
    with torch.device("meta"):
        fresh = net().double()
    fresh[0].requires_grad_(requires_grad=False)
    fill(fresh, write(trained))
    for name, value in trained.state_dict().items():
        found = fresh.state_dict()[name]
        assert torch.equal(found, value.to(found.dtype)), name
    assert fresh[0].weight.dtype == torch.float64
    assert [tensor.requires_grad for tensor in fresh.parameters()] == [False] * 2 + [True] * 4


def test_tied_weights_stay_tied_without_memory() -> None:
    with torch.device("meta"):
        fresh = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    fresh[1].weight = fresh[0].weight
    trained = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    state = {name: value for name, value in trained.state_dict().items() if name != "1.weight"}
    save_file(state, "w.safetensors")
    fill(fresh, Path("w.safetensors"))
    assert fresh[1].weight is fresh[0].weight
    assert torch.equal(fresh[0].weight, trained[0].weight)


def test_a_mapped_file_is_read_and_never_written() -> None:
    with torch.device("meta"):
        fresh = net()
    path = WRITERS["safetensors"](net())
    before = path.read_bytes()
    fill(fresh, path)
    with torch.no_grad():
        fresh[0].weight.zero_()
    assert path.read_bytes() == before


def test_what_a_file_cannot_give_a_model_without_memory() -> None:
    with torch.device("meta"):
        fresh = nn.Linear(3, 2)
        fresh.register_buffer("scale", torch.ones(2), persistent=False)
    with pytest.raises(CheckpointError) as caught:
        fill(fresh, save(nn.Linear(3, 2).state_dict(), "w.pt"))
    assert str(caught.value) == (
        "The model was built without memory for its tensors, and w.pt does not hold all of them: scale.\n"
        "  Let the factory compute them on the CPU, or build all of the model there (loader: copy)."
    )


def test_a_model_that_does_not_fit_is_left_as_it_was() -> None:
    model = net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError):
        fill(model, save({**net().state_dict(), "0.bias": torch.zeros(9)}, "w.pt"))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
