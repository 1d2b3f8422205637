"""What is written comes back as it was, in this process, in another, and in ONNX Runtime."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from conftest import halved, written
from networks import network
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

import pfa_gate
from pfa_gate import artifacts
from pfa_gate.artifacts import model_files
from pfa_gate.artifacts.program import program_of, trials, write_program
from pfa_gate.compress.prune import compress
from pfa_gate.graph import trace
from pfa_gate.record import Probe, Record, Size, loads

Folder = tuple[Path, nn.Module]


def probe(batch: int) -> Tensor:
    return torch.randn(batch, 3, 8, 8, generator=torch.Generator().manual_seed(batch))


def outputs(model: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        result: Tensor = model(inputs)
    return result


@pytest.mark.parametrize("name", ["residual", "depthwise", "shared"])
def test_the_module_form_is_rebuilt_in_a_fresh_model(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_files, "installed", lambda: False)
    record, smaller = written(name, tmp_path)
    fresh, example = network(name)
    nn.init.zeros_(next(fresh.parameters()))
    rebuilt = pfa_gate.load(tmp_path / name, model=fresh)
    assert record.compressed is not None
    assert record.compressed.form == "module"
    assert type(rebuilt) is type(fresh)
    assert not rebuilt.training
    assert {key: tensor.tolist() for key, tensor in rebuilt.state_dict().items()} == {
        key: tensor.tolist() for key, tensor in smaller.state_dict().items()
    }
    assert torch.equal(outputs(rebuilt, example), outputs(smaller, example))


def test_the_program_runs_without_the_model_and_at_another_batch(folder: Folder) -> None:
    path, smaller = folder
    loaded = pfa_gate.load(path)
    loaded.eval()
    for batch in (1, 2, 7):
        torch.testing.assert_close(outputs(loaded, probe(batch)), outputs(smaller, probe(batch)))


def test_a_model_beside_a_graph_is_not_needed_and_not_changed(tmp_path: Path) -> None:
    record, smaller = written("padded_shortcut", tmp_path)
    model, example = network("padded_shortcut")
    loaded = pfa_gate.load(tmp_path / "padded_shortcut", model=model)
    assert record.compressed is not None
    assert record.compressed.form == "graph"
    torch.testing.assert_close(outputs(loaded, example), outputs(smaller, example))


def test_what_was_kept_comes_along(folder: Folder) -> None:
    path, _ = folder
    kept, again = halved(path.name).axis_indices, pfa_gate.load(path).kept
    assert isinstance(again, dict)
    assert {name: {axis: list(each) for axis, each in axes.items()} for name, axes in again.items()} == {
        name: {axis: list(each) for axis, each in axes.items()} for name, axes in kept.items()
    }


FRESH = """
import sys, torch
inputs = torch.load(sys.argv[2], weights_only=True)
result = torch.export.load(sys.argv[1]).module()(inputs)
assert not [name for name in sys.modules if name.split(".")[0] in ("pfa_gate", "networks")]
torch.save(result, sys.argv[3])
"""


def test_the_program_runs_in_a_process_that_lacks_the_code(folder: Folder, tmp_path: Path) -> None:
    path, smaller = folder
    torch.save(probe(5), tmp_path / "in.pt")
    places = [str(path / "model.pt2"), str(tmp_path / "in.pt"), str(tmp_path / "out.pt")]
    subprocess.run([sys.executable, "-I", "-c", FRESH, *places], check=True, cwd=tmp_path)
    torch.testing.assert_close(torch.load(tmp_path / "out.pt"), outputs(smaller, probe(5)))


def test_onnx_runs_at_another_batch(folder: Folder) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="not run: the extra onnx is not installed")
    path, smaller = folder
    session = runtime.InferenceSession(path / "model.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 5):
        (result,) = session.run(None, {session.get_inputs()[0].name: probe(batch).numpy()})
        expected = outputs(smaller, probe(batch))
        torch.testing.assert_close(torch.from_numpy(result), expected, rtol=1e-4, atol=1e-4)


def test_the_record_and_the_recipe_name_what_is_there(folder: Folder) -> None:
    path, _ = folder
    record = loads((path / "record.json").read_text())
    assert sorted(Path(file).name for file in record.files.values()) == sorted(each.name for each in path.iterdir())
    assert record.compressed is not None
    recipe = yaml.safe_load((path / "recipe.yaml").read_text())
    assert recipe["form"] == record.compressed.form
    assert set(recipe["files"]) == {each.name for each in path.iterdir()} - {
        "record.json",
        "recipe.yaml",
        "report.html",
        "report.md",
        "badge.json",
    }


def test_the_program_holds_neither_a_pickle_nor_the_users_data_nor_his_paths(folder: Folder) -> None:
    path, _ = folder
    with zipfile.ZipFile(path / "model.pt2") as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    assert [name for name, content in contents.items() if content.startswith((b"\x80\x02", b"PK"))] == []
    assert [name for name, content in contents.items() if str(Path(__file__).parents[1]).encode() in content] == []
    assert [content for name, content in contents.items() if "sample_inputs" in name] == [b""]


FRESH_KEYWORDS = """
import sys, torch
model = torch.export.load(sys.argv[1]).module()
result = model(input_ids=torch.arange(15).reshape(3, 5))
assert "transformers" not in sys.modules
assert list(result) == ["logits"] and result["logits"].shape == (3, 2), result
"""


def test_an_output_of_the_users_own_class_becomes_a_plain_dict(tmp_path: Path) -> None:
    sizes = {"vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = BertForSequenceClassification(BertConfig(intermediate_size=24, **sizes)).eval()
    example = {"input_ids": torch.arange(10).reshape(2, 5)}
    groups = trace(model, example)
    cut = compress(model, groups, {group.name: [0] for group in groups.free}, ((), example))
    record = Record("bert", "pfa.yaml", {}, {}, Size(1, 4, 1), Probe(2, "ab"))
    record = artifacts.write(tmp_path, record, artifacts.Delivery(cut, groups, ((), example)))
    assert record.unmeasured == ()
    command = [sys.executable, "-I", "-c", FRESH_KEYWORDS, str(tmp_path / "bert" / "model.pt2")]
    subprocess.run(command, check=True, cwd=tmp_path)


def test_kept_indices_are_those_of_the_cut() -> None:
    kept = halved("residual").axis_indices
    assert np.array_equal(kept["conv1.weight"][0], [0, 2, 4, 6])


class Edges(nn.Module):
    """Numbers drawn in each pass, at the nodes where edges start; edges are no samples."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(4, 3)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        sources, _ = edges
        return self.hidden((nodes + torch.rand_like(nodes)).index_select(1, sources))


def test_a_program_may_draw_numbers_and_read_what_is_not_by_sample(tmp_path: Path) -> None:
    model, inputs = Edges().eval(), ((torch.randn(3, 5, 4), torch.randint(5, (2, 6))), {})
    program = program_of(model, inputs)
    tried = trials(program, model, inputs)
    assert [[tuple(leaf.shape) for leaf in args] for args, _ in tried] == [[(3, 5, 4), (2, 6)], [(4, 5, 4), (2, 6)]]
    write_program(program, tmp_path / "model.pt2", model, tried)  # it compares what the file gives with the model
    assert (tmp_path / "model.pt2").stat().st_size
