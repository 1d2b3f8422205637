"""parity.npz: inputs, and what the reference answers to them, for whoever runs the same files elsewhere. NumPy alone.

Arrays and one text in JSON, no pickles. It takes 8 MB at most; samples are chosen evenly.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pfa_gate.budget.parity import Machine
from pfa_gate.errors import ArtifactError
from pfa_gate.record.plain_data import plain, read_as
from pfa_gate.runtime.parity import Array

SCHEMA = "pfa_gate.parity/1"
MOST_BYTES = 8 * 10**6
"""Most bytes of its arrays."""
MOST_VALUES = 4096
"""Most values that are stored of one sample's output, if it holds no class scores."""
_LARGEST = 16 * MOST_BYTES
_AGAIN = "Run the gate again, which writes it anew."


@dataclass(frozen=True)
class StoredFile:
    """A file, and what is expected of it.

    Attributes:
        file: its name.
        sha256: of its bytes.
        reference: what its answers are held against, in words.
        machine: on which the gate judged it.
        allowed: answers that may flip.
        tolerance: largest gap of what is no class score, in standard deviations.
        scores: which of its floating outputs holds class scores.
        outputs: names of its floating outputs.
        spreads: standard deviation of each of these, over all samples.
        whole: which of these are stored whole.
        flips: how many of the answers to all samples flipped there.
    """

    file: str
    sha256: str
    reference: str
    machine: Machine
    allowed: int
    tolerance: float
    scores: int
    outputs: tuple[str, ...]
    spreads: tuple[float, ...]
    whole: tuple[bool, ...]
    flips: int


@dataclass(frozen=True)
class StoredCall:
    """One call of a file.

    Attributes:
        inputs: by their names, the samples on axis 0.
        rows: number of each sample in the data.
        outputs: file -> its floating outputs, [samples, values].
        size: samples of the inputs; those beyond `rows` fill it up and do not count.
    """

    inputs: Mapping[str, Array]
    rows: tuple[int, ...]
    outputs: Mapping[str, tuple[Array, ...]]
    size: int


@dataclass(frozen=True)
class About:
    """What parity.npz says of itself.

    Attributes:
        gate: name of the gate that wrote it.
        source: what the samples are of.
        samples: how many the gate compared.
        files: that were judged.
        calls: input names and sample numbers of each call.
        schema: name and version of this layout.
    """

    gate: str
    source: Literal["evaluation", "probe"]
    samples: int
    files: tuple[StoredFile, ...]
    calls: tuple["_CallHead", ...] = ()
    schema: str = SCHEMA


@dataclass(frozen=True)
class _CallHead:
    inputs: tuple[str, ...]
    rows: tuple[int, ...]
    size: int


@dataclass(frozen=True)
class ParityData:
    """The content of parity.npz."""

    about: About
    calls: tuple[StoredCall, ...] = field(default=())

    @property
    def stored(self) -> int:
        """How many samples it holds."""
        return sum(len(call.rows) for call in self.calls)


def write_parity(path: Path, data: ParityData) -> None:
    """Write parity.npz: the same bytes for the same data.

    Raises:
        OSError: the disk is full.
    """
    heads = tuple(_CallHead(tuple(call.inputs), call.rows, call.size) for call in data.calls)
    about = plain(About(**{**vars(data.about), "calls": heads}))
    arrays: dict[str, Any] = {"about": np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)}
    for number, call in enumerate(data.calls):
        arrays |= {f"call{number}.input{place}": value for place, value in enumerate(call.inputs.values())}
        for place, expected in enumerate(data.about.files):
            outputs = enumerate(call.outputs[expected.file])
            arrays |= {f"call{number}.file{place}.output{output}": value for output, value in outputs}
    held = io.BytesIO()
    np.savez_compressed(held, allow_pickle=False, **arrays)
    path.write_bytes(held.getbuffer())


def read_parity(path: Path) -> ParityData:
    """Read parity.npz.

    Raises:
        ArtifactError: there is none, or it is damaged, of another version, or too large to be one.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > _LARGEST:
            raise ValueError(f"it would take {size:,} bytes")
        with np.load(path, allow_pickle=False) as held:
            return _data(held)
    except FileNotFoundError as error:
        raise ArtifactError(
            f"There is no {path}.",
            remedy="A gate writes it where it judges parity: name compressed.parity or quantized.parity under budgets, "
            "or onnx under artifacts, and run the gate again.",
        ) from error
    except ArtifactError as error:
        raise ArtifactError(f"{path} cannot be read: {error.fact.rstrip('.')}.", remedy=_AGAIN) from error
    except (OSError, EOFError, ValueError, LookupError, TypeError, zipfile.BadZipFile, zlib.error, NotImplementedError,
            RuntimeError) as error:  # fmt: skip
        line = str(error).splitlines()[0] if str(error) else "it is damaged"
        kind = "zlib.error" if isinstance(error, zlib.error) else type(error).__name__
        raise ArtifactError(f"{path} cannot be read: {kind}: {line[:200]}.", remedy=_AGAIN) from error


def _data(held: Any) -> ParityData:
    plain_about = json.loads(held["about"].tobytes().decode())
    schema = plain_about.get("schema") if isinstance(plain_about, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"its schema is {schema!r:.80}, and this version reads '{SCHEMA}'")
    about: About = read_as(About, plain_about, "its description", "")
    if not about.calls or not about.files:
        raise ValueError("it holds no samples")
    return ParityData(about, tuple(_call(held, number, head, about) for number, head in enumerate(about.calls)))


def _call(held: Any, number: int, head: _CallHead, about: About) -> StoredCall:
    inputs = {name: held[f"call{number}.input{place}"] for place, name in enumerate(head.inputs)}
    outputs = {
        each.file: tuple(held[f"call{number}.file{place}.output{output}"] for output in range(len(each.outputs)))
        for place, each in enumerate(about.files)
    }
    return StoredCall(inputs, head.rows, outputs, head.size)
