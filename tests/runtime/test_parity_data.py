"""parity.npz: what was written is read, in the same bytes for the same data, with no pickle, and damage is said."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pfa_gate.budget import Machine
from pfa_gate.errors import ArtifactError
from pfa_gate.runtime import parity_data
from pfa_gate.runtime.parity_data import About, ParityData, StoredCall, StoredFile, read_parity, write_parity

MACHINE = Machine("ONNX Runtime 1.31.1", ("CPUExecutionProvider",), 2, "AMD EPYC", ("avx", "avx2"))
EXPECTED = StoredFile("model.onnx", "ab", "a model", MACHINE, 0, 0.001, 0, ("logits",), (1.5,), (True,), 0)


def data() -> ParityData:
    def call(start: int) -> StoredCall:
        inputs = {"x/:0": np.arange(start, start + 6.0, dtype=np.float32).reshape(2, 3), "mask": np.ones((2, 1), bool)}
        return StoredCall(inputs, (start, start + 1), {"model.onnx": (np.eye(2, dtype=np.float32),)}, 2)

    return ParityData(About("digits", "evaluation", 761, (EXPECTED,)), (call(0), call(7)))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_parity(tmp_path / "parity.npz", data())
    found, wanted = read_parity(tmp_path / "parity.npz"), data()
    assert (found.about.files, found.about.samples, found.stored) == ((EXPECTED,), 761, 4)
    for one, two in zip(found.calls, wanted.calls, strict=True):
        assert (one.rows, one.size, list(one.inputs)) == (two.rows, two.size, list(two.inputs))
        for name, values in two.inputs.items():
            np.testing.assert_array_equal(one.inputs[name], values, strict=True)
        np.testing.assert_array_equal(one.outputs["model.onnx"][0], two.outputs["model.onnx"][0], strict=True)


def test_the_same_data_is_the_same_bytes_and_numpy_alone_reads_it_without_pickles(tmp_path: Path) -> None:
    for name in ("one.npz", "two.npz"):
        write_parity(tmp_path / name, data())
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with np.load(tmp_path / "one.npz", allow_pickle=False) as held:
        assert {name: str(held[name].dtype) for name in held.files if name.startswith("call0")} == {
            "call0.input0": "float32",
            "call0.input1": "bool",
            "call0.file0.output0": "float32",
        }
        assert json.loads(held["about"].tobytes())["calls"][1] == {
            "inputs": ["x/:0", "mask"],
            "rows": [7, 8],
            "size": 2,
        }


def refusal(path: Path) -> str:
    with pytest.raises(ArtifactError) as error:
        read_parity(path)
    return str(error.value).replace(str(path), "parity.npz")


AGAIN = "\n  Run the gate again, which writes it anew."


def test_a_missing_file_says_what_writes_it(tmp_path: Path) -> None:
    assert refusal(tmp_path / "parity.npz") == (
        "There is no parity.npz.\n"
        "  A gate writes it where it judges parity: name compressed.parity or quantized.parity under budgets, or onnx "
        "under artifacts, and run the gate again."
    )


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: b"", "BadZipFile: File is not a zip file."),
        (lambda content: content[:-60], "BadZipFile: File is not a zip file."),
        (lambda content: content[:80] + bytes(200) + content[280:], "zlib.error: Error -3 "),
        (lambda content: npz({}), "KeyError: 'about is not a file in the archive'."),
        (lambda content: npz({"about": text("[]")}), "ValueError: its schema is None, and this version reads"),
        (lambda content: npz({"about": text("{")}), "JSONDecodeError: Expecting property name"),
        (lambda content: npz({"about": text('{"schema": "pfa_gate.parity/2"}')}), "its schema is 'pfa_gate.parity/2'"),
        (lambda content: npz({"about": text('{"schema": "pfa_gate.parity/1"}')}), "its description lacks keys: "),
        (
            lambda content: npz({"about": np.array([{}], dtype=object)}, pickles=True),
            "ValueError: Object arrays cannot",
        ),
    ],
)
def test_what_is_damaged_is_refused(tmp_path: Path, damage, said: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "parity.npz"
    write_parity(path, data())
    path.write_bytes(damage(path.read_bytes()))
    found = refusal(path)
    assert found.startswith("parity.npz cannot be read: ")
    assert said in found
    assert found.endswith(AGAIN)


def test_an_array_that_is_not_there_or_no_samples_at_all(tmp_path: Path) -> None:
    path = tmp_path / "parity.npz"
    write_parity(path, data())
    with np.load(path) as held:
        arrays = {name: held[name] for name in held.files}
    path.write_bytes(npz({name: value for name, value in arrays.items() if name != "call1.input1"}))
    assert refusal(path) == f"parity.npz cannot be read: KeyError: 'call1.input1 is not a file in the archive'.{AGAIN}"
    write_parity(path, ParityData(data().about))
    assert refusal(path) == f"parity.npz cannot be read: ValueError: it holds no samples.{AGAIN}"


def test_what_would_fill_the_memory_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "parity.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("about.npy", bytes(200_000))
    monkeypatch.setattr(parity_data, "_LARGEST", 199_999)
    assert refusal(path) == f"parity.npz cannot be read: ValueError: it would take 200,000 bytes.{AGAIN}"


def npz(arrays: dict[str, np.ndarray], *, pickles: bool = False) -> bytes:
    held = io.BytesIO()
    np.savez(held, allow_pickle=pickles, **arrays)
    return held.getvalue()


def text(content: str) -> np.ndarray:
    return np.frombuffer(content.encode(), dtype=np.uint8)
