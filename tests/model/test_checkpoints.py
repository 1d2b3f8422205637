"""Weights from files: what fits, and what is said of the rest."""

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn
from torch.optim.swa_utils import AveragedModel

from pfa_gate.errors import CheckpointError
from pfa_gate.model.checkpoint import load_weights, read


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
    "th": lambda model: save(model.state_dict(), "w.th"),
    "a checkpoint of Lightning": lambda model: save(
        {"epoch": 3, "state_dict": named(model, "model."), "optimizer_states": [adam(model)]}, "w.ckpt"
    ),
    "under a name of one's own": lambda model: save({"net": model.state_dict(), "acc": 91.2, "epoch": 3}, "w.pth.tar"),
    "beside a tensor and an optimizer": lambda model: save(
        {"acc": torch.tensor(0.9), "opt": adam(model), "weights": model.state_dict()}, "w.pt"
    ),
    "beside a script's options and numbers": lambda model: save(
        {"model": model.state_dict(), "args": Namespace(rate=0.1), "best": np.float64(0.9), "step": np.int32(3)}, "w.pt"
    ),
    "in a list": lambda model: save({"stages": [{"nets": (model.state_dict(), 3)}]}, "w.pt"),
    "compiled": lambda model: save(torch.compile(model).state_dict(), "w.pt"),
    "compiled and parallel": lambda model: save(torch.compile(nn.DataParallel(model)).state_dict(), "w.pt"),
    "parallel and compiled": lambda model: save(nn.DataParallel(torch.compile(model)).state_dict(), "w.pt"),
    "inner modules compiled": lambda model: save(inner_compiled(model).state_dict(), "w.pt"),
    "averaged": lambda model: save(AveragedModel(model).state_dict(), "w.pt"),
    "averaged, parallel and compiled": lambda model: save(
        torch.compile(AveragedModel(nn.DataParallel(model))).state_dict(), "w.pt"
    ),
    "inner modules compiled, of Lightning": lambda model: save(
        {"state_dict": named(inner_compiled(model), "net._orig_mod.")}, "w.pt"
    ),
    "safetensors with a prefix": lambda model: (
        save_file(named(model, "backbone.body."), "w.safetensors") or Path("w.safetensors")
    ),
    "of a wider model by another key": lambda model: save(
        {"old": net(9).state_dict(), "state_dict": model.state_dict()}, "w.pt"
    ),
    "without batch counts": lambda model: save(
        {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}, "w.pt"
    ),
}


def named(model: nn.Module, prefix: str) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in model.state_dict().items()}


def adam(model: nn.Module) -> dict[str, Any]:
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.rand(5, 3)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


def inner_compiled(model: nn.Module) -> nn.Module:
    """The same model, as one that compiles some of its blocks."""
    assert isinstance(model, nn.Sequential)
    return nn.Sequential(*(torch.compile(layer) if index != 1 else layer for index, layer in enumerate(model)))


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_what_was_saved_is_filled_in(write: Callable[[nn.Module], Path]) -> None:
    trained, fresh = net(), net()
    assert load_weights(fresh, write(trained)) == ""
    for name, value in trained.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value), name


def test_a_model_that_has_the_prefix_itself_keeps_it() -> None:
    trained, fresh = nn.ModuleDict({"module": net()}), nn.ModuleDict({"module": net()})
    load_weights(fresh, save(trained.state_dict(), "w.pt"))
    assert torch.equal(fresh["module"][0].weight, trained["module"][0].weight)


def test_tied_weights_are_stored_once() -> None:
    def tied() -> nn.Module:
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        model[1].weight = model[0].weight
        return model

    trained, fresh = tied(), tied()
    save_model(trained, "w.safetensors")
    assert len(read(Path("w.safetensors"))) == 3
    load_weights(fresh, Path("w.safetensors"))
    assert torch.equal(fresh[1].weight, trained[1].weight)


@pytest.mark.parametrize("wrap", [inner_compiled, nn.DataParallel], ids=["compiled", "parallel"])
def test_a_wrapped_model_takes_a_plain_file(wrap: Callable[[nn.Module], nn.Module]) -> None:
    trained, fresh = net(), net()
    load_weights(wrap(fresh), save(trained.state_dict(), "w.pt"))
    assert torch.equal(fresh[0].weight, trained[0].weight)


def nested(**parts: nn.Module) -> Path:
    return save({name: model.state_dict() for name, model in parts.items()}, "w.pt")


def test_where_several_fit_the_usual_one_is_taken_and_the_others_are_named() -> None:
    plain, averaged, fresh = net(), net(), net()
    path = nested(state_dict_ema=averaged, state_dict=plain)
    assert load_weights(fresh, path) == "weights: 'state_dict' of w.pt, where 'state_dict_ema' would fit too"
    assert torch.equal(fresh[0].weight, plain[0].weight)


def test_the_top_of_a_file_comes_before_what_is_nested_in_it() -> None:
    plain, averaged, fresh = net(), net(), net()
    note = load_weights(fresh, save({**plain.state_dict(), "ema": averaged.state_dict()}, "w.pt"))
    assert note == "weights: the top of w.pt, where 'ema' would fit too"
    assert torch.equal(fresh[0].weight, plain[0].weight)


KEYS: dict[str, tuple[str, Callable[[nn.Module], Path]]] = {
    "a mapping": ("state_dict_ema", lambda chosen: nested(state_dict=net(), state_dict_ema=chosen)),
    "what lies below": (
        "ema",
        lambda chosen: save({"model": net().state_dict(), "ema": {"sd": named(chosen, "")}}, "w.pt"),
    ),
    "an entry of a list": ("nets.1", lambda chosen: save({"nets": [net().state_dict(), chosen.state_dict()]}, "w.pt")),
    "the beginning of names": (
        "ema_model",
        lambda chosen: save(
            {**named(net(), "online_model."), **named(chosen, "ema_model."), "initted": torch.ones(1)}, "w.pt"
        ),
    ),
    "the beginning of names in a mapping": (
        "state_dict.model",
        lambda chosen: save({"state_dict": {"loss.weight": torch.ones(2), **named(chosen, "model.")}}, "w.pt"),
    ),
    "a mapping whose names have a prefix": (
        "ema",
        lambda chosen: save({"model": net().state_dict(), "ema": named(chosen, "module.")}, "w.pt"),
    ),
}


@pytest.mark.parametrize(("key", "write"), KEYS.values(), ids=KEYS)
def test_a_key_chooses_among_the_weights_of_a_file(key: str, write: Callable[[nn.Module], Path]) -> None:
    chosen, fresh = net(), net()
    assert load_weights(fresh, write(chosen), key) == ""
    for name, value in chosen.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value), name


UNDECIDED: dict[str, tuple[str | None, Callable[[], Path], str]] = {
    "none is usual": (
        None,
        lambda: nested(student=net(), teacher=net()),
        "w.pt holds several sets of weights that fit the model: 'student', 'teacher'.\n"
        "  Say which is meant, such as model.checkpoint_key: student",
    ),
    "the model is a part of the file's": (
        None,
        lambda: save({"state_dict": {"loss.weight": torch.ones(2), **named(net(), "model.")}}, "w.pt"),
        "The model is a part of what w.pt holds: its tensors are those under 'state_dict.model', "
        "beside 1 that it has no place for (loss.weight).\n"
        "  If that part is meant, write model.checkpoint_key: state_dict.model",
    ),
    "the model is in the file twice": (
        None,
        lambda: save({**named(net(), "online."), **named(net(), "ema.")}, "w.pt"),
        "w.pt holds several sets of weights that fit the model: 'online', 'ema'.\n"
        "  Say which is meant, such as model.checkpoint_key: online",
    ),
    "no such key": (
        "state_dict_emma",
        lambda: nested(state_dict=net(), state_dict_ema=net()),
        "w.pt has no weights under 'state_dict_emma'.\n  Did you mean 'state_dict_ema'?",
    ),
    "a key like no other": (
        "zzz",
        lambda: nested(state_dict=net(), state_dict_ema=net()),
        "w.pt has no weights under 'zzz'.\n  It has some under 'state_dict', 'state_dict_ema'.",
    ),
    "a key of a flat file": (
        "ema",
        lambda: save(net().state_dict(), "w.pt"),
        "w.pt has no weights under 'ema'.\n  Its weights lie at its top: remove model.checkpoint_key.",
    ),
    "a key of what does not fit": (
        "old",
        lambda: nested(state_dict=net(), old=nn.Linear(3, 2)),
        "'old' of w.pt does not fit the model.\n"
        "    8 missing: 0.bias, 0.weight, 1.bias, 1.running_mean, 1.running_var and 3 more\n"
        "    2 unexpected: bias, weight\n"
        "  Check model.factory and model.arguments: the checkpoint is of a model whose tensors have other names.",
    ),
}


@pytest.mark.parametrize(("key", "write", "message"), UNDECIDED.values(), ids=UNDECIDED)
def test_what_a_person_must_decide(key: str | None, write: Callable[[], Path], message: str) -> None:
    fresh = net()
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_weights(fresh, write(), key)
    assert str(caught.value) == message
    assert all(torch.equal(before[name], value) for name, value in fresh.state_dict().items())


def test_a_file_that_holds_itself_is_read() -> None:
    trained, fresh = net(), net()
    content: dict[str, Any] = {"net": trained.state_dict()}
    content["self"] = content
    load_weights(fresh, save(content, "w.pt"))
    assert torch.equal(fresh[0].weight, trained[0].weight)


class Elsewhere:
    """Something only code can rebuild."""


SAFE = "Save the weights alone: safetensors.torch.save_file(model.state_dict(), path)."
OTHER = "Check model.factory and model.arguments: the checkpoint is of a model whose tensors have other names."
SIZES = "Check model.arguments: the checkpoint is of a model with other sizes."


def grown() -> Path:
    with ZipFile("w.pt", "w", ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(5_000_000))
    return Path("w.pt")


UNFIT = {
    "other width": (
        lambda: save(net(5).state_dict(), "w.pt"),
        "w.pt does not fit the model.\n"
        "    7 of another shape: 0.bias [5] for [4], 0.weight [5, 3] for [4, 3], 1.bias [5] for [4], "
        f"1.running_mean [5] for [4], 1.running_var [5] for [4] and 2 more\n  {SIZES}",
    ),
    "other names": (
        lambda: save({"0.weight": torch.zeros(3), "stem.weight": torch.zeros(1)}, "w.pt"),
        "w.pt does not fit the model.\n"
        "    7 missing: 0.bias, 1.bias, 1.running_mean, 1.running_var, 1.weight and 2 more\n"
        "    1 unexpected: stem.weight\n"
        f"    1 of another shape: 0.weight [3] for [4, 3]\n  {OTHER}",
    ),
    "other width under a prefix": (
        lambda: save({"state_dict": named(net(5), "model.")}, "w.pt"),
        "'state_dict.model' of w.pt does not fit the model.\n"
        "    7 of another shape: 0.bias [5] for [4], 0.weight [5, 3] for [4, 3], 1.bias [5] for [4], "
        f"1.running_mean [5] for [4], 1.running_var [5] for [4] and 2 more\n  {SIZES}",
    ),
    "absent": (
        lambda: Path("w.pt"),
        "There is no checkpoint w.pt.\n  Relative paths start at the folder of pfa.yaml.",
    ),
    "unknown kind": (
        lambda: Path("w.h5"),
        "w.h5 is of no known kind of checkpoint.\n"
        "  Use .safetensors, or .pt, .pth, .th, .bin, .ckpt, .tar with weights only.",
    ),
    "pickled code": (
        lambda: save(Elsewhere(), "w.pt"),
        f"w.pt holds more than weights ({__name__}.Elsewhere), which is not read: that could run code.\n  {SAFE}",
    ),
    "code of TorchScript": (
        lambda: torch.jit.script(net()).save("w.pt") or Path("w.pt"),
        f"w.pt is a TorchScript archive, which holds code too.\n  {SAFE}",
    ),
    "an archive that grows": (
        grown,
        "w.pt has {size:,} bytes and would unpack to 5,000,000, as no file of weights does.\n  " + SAFE,
    ),
    "a number": (
        lambda: save(3, "w.pt"),
        f"w.pt holds no weights by name, but an object of type int.\n  {SAFE}",
    ),
    "no tensors": (
        lambda: save({"epoch": 3, "loss": 0.5}, "w.pt"),
        f"w.pt holds no weights by name; its keys: epoch, loss.\n  {SAFE}",
    ),
    "tensors without names": (
        lambda: save([torch.zeros(2), torch.zeros(3)], "w.pt"),
        f"w.pt holds no weights by name.\n  {SAFE}",
    ),
    "index without a map": (
        lambda: written(b"[]", "w.safetensors.index.json"),
        "w.safetensors.index.json is not an index of weights: it has no weight_map.",
    ),
    "an index nested too deep": (
        lambda: written(b"[" * 500_000, "w.safetensors.index.json"),
        "w.safetensors.index.json is not an index of weights: it has no weight_map.",
    ),
    "index of a name with a NUL": (
        lambda: written(b'{"weight_map": {"0.bias": "w\\u0000.safetensors"}}', "w.safetensors.index.json"),
        "w.safetensors.index.json names 'w\\x00.safetensors', which is no .safetensors file beside it.\n"
        "  Keep the index and its files in one folder.",
    ),
    "index of a name that is too long": (
        lambda: written(
            json.dumps({"weight_map": {"0.bias": "w" * 300 + ".safetensors"}}).encode(), "w.safetensors.index.json"
        ),
        f"w.safetensors.index.json names '{'w' * 59}…', which is no .safetensors file beside it.\n"
        "  Keep the index and its files in one folder.",
    ),
    "index of a link out of the folder": (
        lambda: linked(net()),
        "w.safetensors.index.json names 'a.safetensors', which is a link to a file elsewhere.\n"
        "  Copy the file itself into the folder of the index.",
    ),
    "index of files elsewhere": (
        lambda: written(b'{"weight_map": {"0.bias": "../w.safetensors"}}', "w.safetensors.index.json"),
        "w.safetensors.index.json names '../w.safetensors', which is no .safetensors file beside it.\n"
        "  Keep the index and its files in one folder.",
    ),
    "lfs": (
        lambda: written(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "w.safetensors"),
        "w.safetensors is a Git LFS pointer, not the weights.\n  Run git lfs pull.",
    ),
}


def linked(model: nn.Module) -> Path:
    """An index, one of whose files is a link out of its folder."""
    folder = Path("weights")
    folder.mkdir()
    save_file(model.state_dict(), "elsewhere.safetensors")
    (folder / "a.safetensors").symlink_to("../elsewhere.safetensors")
    places = dict.fromkeys(model.state_dict(), "a.safetensors")
    return written(json.dumps({"weight_map": places}).encode(), "weights/w.safetensors.index.json")


def written(content: bytes, name: str) -> Path:
    Path(name).write_bytes(content)
    return Path(name)


@pytest.mark.parametrize(("write", "message"), UNFIT.values(), ids=UNFIT)
def test_what_does_not_fit(write: Callable[[], Path], message: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_weights(net(), write())
    size = Path("w.pt").stat().st_size if Path("w.pt").is_file() else 0
    assert str(caught.value) == message.replace("{size:,}", f"{size:,}")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 no archive"], ids=["empty", "text", "zip"])
def test_a_damaged_file_is_named(name: str, content: bytes) -> None:
    with pytest.raises(CheckpointError, match=rf"{name} (cannot be read|is damaged)"):
        load_weights(net(), written(content, name))


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
    load_weights(fresh, write(trained))
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
    load_weights(fresh, Path("w.safetensors"))
    assert fresh[1].weight is fresh[0].weight
    assert torch.equal(fresh[0].weight, trained[0].weight)


def test_a_mapped_file_is_read_and_never_written() -> None:
    with torch.device("meta"):
        fresh = net()
    path = WRITERS["safetensors"](net())
    before = path.read_bytes()
    load_weights(fresh, path)
    with torch.no_grad():
        fresh[0].weight.zero_()
    assert path.read_bytes() == before


def test_what_a_file_cannot_give_a_model_without_memory() -> None:
    with torch.device("meta"):
        fresh = nn.Linear(3, 2)
        fresh.register_buffer("scale", torch.ones(2), persistent=False)
    with pytest.raises(CheckpointError) as caught:
        load_weights(fresh, save(nn.Linear(3, 2).state_dict(), "w.pt"))
    assert str(caught.value) == (
        "The model was built without memory for its tensors, and w.pt does not hold all of them: scale.\n"
        "  Let the factory compute them on the CPU, or build all of the model there (loader: copy)."
    )


def test_a_model_that_does_not_fit_is_left_as_it_was() -> None:
    model = net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError):
        load_weights(model, save({**net().state_dict(), "0.bias": torch.zeros(9)}, "w.pt"))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
