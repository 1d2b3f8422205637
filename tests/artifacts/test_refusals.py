"""Nothing half-written, nothing from elsewhere, nothing that runs code, and a reason for what is missing."""

import errno
import io
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from conftest import blank, halved, written
from networks import coupling, network
from torch import Tensor, nn

import pfa_gate
from pfa_gate import artifacts
from pfa_gate.artifacts import folders, model_files, program
from pfa_gate.compress.prune import compress
from pfa_gate.errors import ArtifactError
from pfa_gate.files import sha256_of

REPORTS = ("html", "markdown", "badge")


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("output")
    written("residual", output)
    return output / "residual"


@pytest.fixture
def place(untouched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that may be damaged; what is written anew has no model.onnx, which takes seconds."""
    monkeypatch.setattr(model_files, "installed", lambda: False)
    return Path(shutil.copytree(untouched, tmp_path / "residual"))


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("method", ["write_bytes", "write_text", "chmod"])
def test_a_full_disk_leaves_the_old_folder_as_it_was(place: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {each.name: each.read_bytes() for each in place.iterdir()}
    monkeypatch.setattr(Path, method, full_disk)
    with pytest.raises(ArtifactError) as caught:
        written("residual", place.parent)
    monkeypatch.undo()
    assert caught.value.fact == f"The results cannot be written to {place}: No space left on device."
    assert {each.name: each.read_bytes() for each in place.iterdir()} == before
    assert [each.name for each in place.parent.iterdir()] == ["residual"]


def test_a_swap_that_fails_puts_the_old_folder_back(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace, calls = folders.os.replace, []

    def failing(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == 2:
            full_disk()
        replace(source, target)

    monkeypatch.setattr(folders.os, "replace", failing)
    with pytest.raises(ArtifactError, match="No space left"):
        written("residual", place.parent)
    assert (place / "record.json").is_file()
    assert [each.name for each in place.parent.iterdir()] == ["residual"]


def rewritten(place: Path, change: Callable[[dict[str, object]], object]) -> None:
    recipe = yaml.safe_load((place / "recipe.yaml").read_text())
    change(recipe)
    (place / "recipe.yaml").write_text(yaml.safe_dump(recipe))


@pytest.mark.parametrize("name", ["../weights.safetensors", "/tmp/weights.safetensors", "a/b", "..", "..\\w"])
def test_a_recipe_cannot_name_a_file_elsewhere(place: Path, name: str) -> None:
    rewritten(place, lambda recipe: recipe.update(files={name: "00"}))
    with pytest.raises(ArtifactError) as caught:
        pfa_gate.load(place, model=network("residual")[0])
    assert caught.value.fact == f"{place / 'recipe.yaml'} names a file outside its own folder: {name!r}."


def test_a_link_out_of_the_folder_is_refused(place: Path) -> None:
    elsewhere = place.parent / "elsewhere.safetensors"
    (place / "weights.safetensors").rename(elsewhere)
    (place / "weights.safetensors").symlink_to(elsewhere)
    with pytest.raises(ArtifactError, match="is not the file that was written with"):
        pfa_gate.load(place, model=network("residual")[0])


@pytest.mark.parametrize("name", ["weights.safetensors", "model.pt2"])
def test_a_changed_or_missing_file_is_refused(place: Path, name: str) -> None:
    model = network("residual")[0] if name == "weights.safetensors" else None
    content = bytearray((place / name).read_bytes())
    content[-1] ^= 1
    (place / name).write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        pfa_gate.load(place, model=model)
    assert caught.value.fact == f"{place / name} is not the file that was written with recipe.yaml."
    (place / name).unlink()
    with pytest.raises(ArtifactError) as caught:
        pfa_gate.load(place, model=model)
    assert caught.value.fact == f"{place / name} cannot be read: No such file or directory."


@pytest.mark.parametrize(
    "text",
    ["", "[]", "a: [", "version: 2", "{version: 1, form: other}", "{version: 1, form: graph, parameters: 3}", "\0"],
)
def test_what_is_no_recipe_is_refused(place: Path, text: str) -> None:
    (place / "recipe.yaml").write_text(text)
    with pytest.raises(ArtifactError, match="is not a recipe"):
        pfa_gate.load(place)


def test_a_folder_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        pfa_gate.load(tmp_path)
    assert caught.value.fact == f"There is no compressed model in {tmp_path}: No such file or directory."


def test_another_model_is_refused(place: Path) -> None:
    with pytest.raises(ArtifactError, match="do not fit the model"):
        pfa_gate.load(place, model=network("grouped")[0])


class Planted:
    def __reduce__(self) -> tuple[object, ...]:
        return pytest.fail, ("a pickle was run",)


@pytest.mark.parametrize("content", [pickle.dumps(Planted()), b"no archive"])
def test_a_program_with_a_planted_pickle_is_not_run(place: Path, content: bytes) -> None:
    path = place / "model.pt2"
    if content != b"no archive":
        buffer = io.BytesIO()
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(buffer, "w") as target:
            for name in source.namelist():
                target.writestr(name, content if "sample_inputs" in name else source.read(name))
        content = buffer.getvalue()
    path.write_bytes(content)
    rewritten(place, lambda recipe: recipe["files"].update({"model.pt2": sha256_of(path)}))
    with pytest.raises(ArtifactError, match="cannot be read: "):
        pfa_gate.load(place)


def test_a_form_that_cannot_be_made_is_reported_and_the_rest_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("no serialiser for this")

    monkeypatch.setattr(torch.export, "save", refuse)
    monkeypatch.setattr(torch.onnx, "export", refuse)
    record, _ = written("residual", tmp_path)
    assert {gap.what: gap.reason for gap in record.unmeasured} == {
        "model.pt2": "not written: ValueError: no serialiser for this",
        "model.onnx": "not written: ValueError: no serialiser for this",
    }
    assert set(record.files) == {*REPORTS, "record", "recipe", "weights"}
    with pytest.raises(ArtifactError) as caught:
        pfa_gate.load(tmp_path / "residual")
    assert caught.value.fact == f"{tmp_path / 'residual'} has no model.pt2."
    pfa_gate.load(tmp_path / "residual", model=network("residual")[0])


def test_a_program_that_runs_differently_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "installed", lambda: False)
    monkeypatch.setattr(program, "_relative", lambda one, other: 0.5)
    record, _ = written("residual", tmp_path)
    reason = "not written: its outputs are off by 5.0e-01 (allowed 1e-04)"
    assert {gap.reason for gap in record.unmeasured} == {reason}
    assert not (tmp_path / "residual" / "model.pt2").exists()


class FixedBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(x).relu()).reshape(2, 2)


def test_a_batch_fixed_by_the_code_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "installed", lambda: False)
    torch.manual_seed(0)
    model, example = FixedBatch().eval(), torch.randn(2, 4)
    groups = pfa_gate.trace(model, example)
    cut = compress(model, groups, {"hidden": [0, 1]}, ((example,), {}))
    record = artifacts.write(tmp_path, blank("residual", cut), artifacts.Delivery(cut, groups, ((example,), {})))
    fixed = "the model's forward fixes the batch: it runs at 2 samples only"
    assert {gap.reason for gap in record.unmeasured} == {fixed}
    assert "program" in record.files


@torch.library.custom_op("pfa_gate_tests::twice", mutates_args=())
def twice(x: Tensor) -> Tensor:
    return x * 2


@twice.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Foreign(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.next, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(twice(self.next(self.hidden(x).relu())))


def test_an_operator_of_another_package_is_not_exported(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, example = Foreign().eval(), torch.randn(2, 4)
    groups = pfa_gate.trace(model, example)
    cut = compress(model, groups, {"hidden": [0, 1]}, ((example,), {}))
    record = artifacts.write(tmp_path, blank("residual", cut), artifacts.Delivery(cut, groups, ((example,), {})))
    reason = "operator 'pfa_gate_tests.twice.default' comes from a package of its own, not from torch"
    assert {gap.reason for gap in record.unmeasured} == {f"not written: {reason}"}
    assert set(record.files) == {*REPORTS, "record", "recipe", "weights"}


def test_without_the_extra_there_is_no_onnx_and_no_complaint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "installed", lambda: False)
    record, _ = written("residual", tmp_path)
    assert set(record.files) == {*REPORTS, "record", "recipe", "weights", "program"}
    assert record.unmeasured == ()


def test_nothing_is_said_of_a_model_that_was_not_compressed(tmp_path: Path) -> None:
    record = artifacts.write(tmp_path, blank("residual", halved("residual")), None)
    assert set(record.files) == {*REPORTS, "record"}
    assert coupling("residual").free
