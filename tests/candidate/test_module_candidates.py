"""A candidate that is a .pt2 file or comes from a factory."""

import hashlib
import io
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pfa_gate.candidate import Candidate, load_candidate
from pfa_gate.config.candidate import CandidateConfig
from pfa_gate.errors import CandidateError
from pfa_gate.model import Batch

EXAMPLE = Batch((torch.randn(2, 6, generator=torch.Generator().manual_seed(0)),), {})
NET = """
from torch import nn


def build(width=4):
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3))
"""


def loaded(folder: Path, **named: object) -> Candidate:
    return load_candidate(CandidateConfig.model_validate(named), folder, EXAMPLE)


class Marked(nn.Linear):
    """Marks a file when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return exec, ("raise SystemExit('a pickle was run')",)


def exported(path: Path, model: nn.Module, samples: int) -> Path:
    program = torch.export.export(model, (torch.randn(samples, 6),))
    torch.export.save(program, path)
    return path


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)).eval()
    return exported(tmp_path_factory.mktemp("program") / "net.pt2", model, 4), model


def test_a_program_with_a_fixed_batch_runs_on_any_number(program: tuple[Path, nn.Module]) -> None:
    path, model = program
    found = loaded(path.parent, pt2="net.pt2")
    inputs = torch.randn(10, 6)
    with torch.no_grad():
        torch.testing.assert_close(found.model(inputs), model(inputs))
    assert (found.stored.parameters, found.stored.bytes, found.macs) == (43, 172, 36)
    assert found.origin.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.remarks == ("the file runs on 4 samples at a time",)


def test_the_example_in_the_file_is_not_unpickled(program: tuple[Path, nn.Module], tmp_path: Path) -> None:
    path, _ = program
    evil = io.BytesIO()
    torch.save(Marked(1, 1), evil)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "net.pt2", "w") as fresh:
        for entry in archive.infolist():
            sample = "/sample_inputs/" in entry.filename
            fresh.writestr(entry.filename, evil.getvalue() if sample else archive.read(entry))
    assert loaded(tmp_path, pt2="net.pt2").stored.parameters == 43


def test_a_factory_with_the_weights_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    model = nn.Sequential(nn.Linear(6, 2), nn.ReLU(), nn.Linear(2, 3))
    save_file(model.state_dict(), tmp_path / "small.safetensors")
    found = loaded(tmp_path, factory="net.py:build", arguments={"width": 2}, checkpoint="small.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(found.model(EXAMPLE.args[0]), model(EXAMPLE.args[0]))
    assert (found.stored.parameters, found.macs) == (23, 18)
    assert found.origin.sha256 == hashlib.sha256((tmp_path / "small.safetensors").read_bytes()).hexdigest()
    bare = loaded(tmp_path, factory="net.py:build").origin
    assert (bare.sha256, bare.file_bytes) == ("", None)


class Unpacked(nn.Module):
    """Whole numbers from which it makes its weights, in a way that nothing can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("packed", torch.randint(-8, 8, (6, 3), dtype=torch.int8))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.packed.float() if float(x.sum()) < 1e9 else x[:, :3]  # type: ignore[no-any-return, operator]


def test_whole_numbers_of_a_model_that_cannot_be_followed_count_as_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    found = loaded(tmp_path, factory="test_module_candidates:Unpacked")
    assert (found.stored.parameters, found.stored.bytes) == (18, 18)


def test_what_cannot_be_read_or_called(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from torch import nn\n\n\ndef build():\n    return nn.Linear(5, 2)\n")
    with pytest.raises(CandidateError) as error:
        loaded(tmp_path, factory="net.py:build")
    assert str(error.value).startswith("net.py:build: The model does not take float32 [2, 6]: it raised RuntimeError: ")
    (tmp_path / "net.pt2").write_bytes(b"no archive")
    with pytest.raises(CandidateError) as error:
        loaded(tmp_path, pt2="net.pt2")
    assert str(error.value).startswith("net.pt2 cannot be read: BadZipFile: File is not a zip file.\n")
