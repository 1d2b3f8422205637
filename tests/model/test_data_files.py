"""Arrays in files."""

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from pfa_gate.errors import DataError
from pfa_gate.model import Sampling
from pfa_gate.model.data import open_data
from pfa_gate.model.data_files import read_file

IMAGES = np.arange(30, dtype=np.float32).reshape(5, 2, 3)
LABELS = np.arange(5)
Write = Callable[[], Any]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("inputs", ["images", "inputs", "x"])
@pytest.mark.parametrize("labels", ["labels", "y", "targets"])
@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_known_names(inputs: str, labels: str, suffix: str) -> None:
    arrays = {inputs: IMAGES, labels: LABELS, "other": LABELS}
    np.savez("d.npz", **arrays) if suffix == "npz" else save_file(arrays, "d.safetensors")
    whole = read_file(Path(f"d.{suffix}"))
    assert torch.equal(whole.args[0], torch.from_numpy(IMAGES))
    assert torch.equal(whole.labels, torch.from_numpy(LABELS))


SINGLE: dict[str, Write] = {
    "d.npy": lambda: np.save("d.npy", IMAGES),
    "d.npz": lambda: np.savez("d.npz", digits=IMAGES),
    "d.safetensors": lambda: save_file({"digits": IMAGES}, "d.safetensors"),
}


@pytest.mark.parametrize(("name", "write"), SINGLE.items(), ids=SINGLE)
def test_a_single_array_may_have_any_name(name: str, write: Write) -> None:
    write()
    whole = read_file(Path(name))
    assert torch.equal(whole.args[0], torch.from_numpy(IMAGES))
    assert whole.labels is None


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "<f8", ">f4", "f2", "?"])
def test_types_stay_as_they_are(kind: str) -> None:
    np.save("d.npy", np.ones((2, 3), kind))
    read = read_file(Path("d.npy")).args[0]
    assert read.numpy().dtype == np.dtype(kind).newbyteorder("=")
    assert bool((read == 1).all())


def test_a_file_is_named_from_the_config_folder(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=IMAGES, labels=LABELS)
    batches = open_data("d.npz", tmp_path, Sampling(samples=3, batch_size=2))
    assert [batch.size for batch in batches] == [2, 1]


NAMES = "Call the inputs images, inputs or x, and the labels labels, y or targets."
WRITE = "Write it with numpy.save, numpy.savez or safetensors, and numbers only."
BAD: dict[str, tuple[str, Write, str]] = {
    "absent": (
        "d.npz",
        lambda: None,
        "There is no file d.npz.\n  Relative paths start at the folder of pfa.yaml.",
    ),
    "other names": (
        "d.npz",
        lambda: np.savez("d.npz", b=IMAGES, a=LABELS),
        f"d.npz holds no array of inputs; it has a, b.\n  {NAMES}",
    ),
    "labels alone": (
        "d.npz",
        lambda: np.savez("d.npz", labels=LABELS),
        f"d.npz holds no array of inputs; it has labels.\n  {NAMES}",
    ),
    "nothing": (
        "d.npz",
        lambda: np.savez("d.npz"),
        f"d.npz holds no array of inputs; it has none at all.\n  {NAMES}",
    ),
    "twice": (
        "d.safetensors",
        lambda: save_file({"x": IMAGES, "images": IMAGES}, "d.safetensors"),
        "d.safetensors holds both images and x, which mean the same.\n  Keep one of images, inputs or x.",
    ),
    "lengths": (
        "d.npz",
        lambda: np.savez("d.npz", x=IMAGES, y=LABELS[:3]),
        "Its arrays are of different lengths: 5, 3.",
    ),
    "text": (
        "d.npy",
        lambda: np.save("d.npy", np.array(["a"])),
        "An array of type <U1 is not data for a model.",
    ),
    "objects": (
        "d.npy",
        lambda: np.save("d.npy", np.array([{}], dtype=object)),
        f"d.npy cannot be read: ValueError: Object arrays cannot be loaded when allow_pickle=False.\n  {WRITE}",
    ),
}


@pytest.mark.parametrize(("name", "write", "message"), BAD.values(), ids=BAD)
def test_bad_files_are_named(name: str, write: Write, message: str) -> None:
    write()
    with pytest.raises(DataError) as caught:
        open_data(name, Path(), Sampling())
    assert str(caught.value) == message


def packed(shape: tuple[int, ...]) -> None:
    """An .npz of zeros, packed; written a row at a time."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with ZipFile("d.npz", "w", ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as file:
        file.write(header.getvalue())
        for _ in range(shape[0]):
            file.write(bytes(math.prod(shape[1:])))


def lying(name: str) -> None:
    """A few bytes whose header promises an array of a million gigabytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**14,)})
    if name == "d.npy":
        Path(name).write_bytes(header.getvalue() + bytes(80))
        return
    with ZipFile(name, "w") as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(80))


FEWER = "Give fewer samples, or raise probe.max_bytes."


def test_a_packed_file_says_its_size_before_it_is_read_and_a_higher_bound_lifts_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    packed((20, 1000, 100))
    disk = Path("d.npz").stat().st_size
    with monkeypatch.context() as context:
        context.setattr(np, "load", lambda *_, **__: pytest.fail("it was read"))
        with pytest.raises(DataError) as caught:
            open_data("d.npz", Path(), Sampling(max_bytes=1_500_000))
    assert str(caught.value) == (
        f"d.npz would take 2.0 MB in memory ({disk / 1000:.1f} kB on disk); "
        f"data files of more than 1.5 MB are not read.\n  {FEWER}"
    )
    assert open_data("d.npz", Path(), Sampling(max_bytes=2_100_000)).samples == 20


@pytest.mark.parametrize("name", ["d.npy", "d.npz"])
def test_a_header_that_promises_more_than_there_is_room_for_is_refused(name: str) -> None:
    lying(name)
    with pytest.raises(DataError) as caught:
        open_data(name, Path(), Sampling())
    assert caught.value.fact.startswith(f"{name} would take 800,000.0 GB in memory (")
    assert caught.value.remedy == FEWER


def test_a_locked_archive_is_named() -> None:
    np.savez("d.npz", x=IMAGES)
    content = bytearray(Path("d.npz").read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + at] |= 1  # the flag of an encrypted entry
    Path("d.npz").write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"d\.npz cannot be read: RuntimeError: File .* is encrypted"):
        read_file(Path("d.npz"))


@pytest.mark.parametrize("name", ["d.npy", "d.npz", "d.safetensors"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 no archive", b"\x93NUMPY\x01\x00"])
def test_damaged_files_are_named(name: str, content: bytes) -> None:
    Path(name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name} cannot be read: "):
        read_file(Path(name))
