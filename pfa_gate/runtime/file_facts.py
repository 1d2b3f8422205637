"""What is in a model's file: ONNX, a program of torch.export, or tensors alone. Nothing of it is run or unpickled."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pfa_gate.record import ZeroCount

Size = int | str


@dataclass(frozen=True)
class FilePort:
    """An input or output.

    Attributes:
        name: its own.
        dtype: as NumPy spells it; `unknown` where the file does not say.
        shape: numbers, and names of sizes that are free; None where the file does not say.
    """

    name: str
    dtype: str
    shape: tuple[Size, ...] | None

    def __str__(self) -> str:
        """For people.

        Example:
            >>> print(FilePort("x", "float32", ("batch", 3)))
            x  float32 [batch, 3]
        """
        shape = "of any shape" if self.shape is None else f"[{', '.join(map(str, self.shape))}]"
        return f"{self.name}  {self.dtype} {shape}"


@dataclass(frozen=True)
class StoredKind:
    """Tensors of one dtype: how many, their elements, and their bytes."""

    tensors: int
    elements: int
    bytes: int


@dataclass(frozen=True)
class FileFacts:
    """What is in a file.

    Attributes:
        file: its name.
        form: of what kind it is.
        file_bytes: of it alone.
        sha256: of its bytes.
        producer: what wrote it; empty where it does not say.
        opset: versions of the operators by domain.
        inputs: in order.
        outputs: in order.
        ranges: free size -> the smallest and largest that is allowed, where the file says; None for no bound.
        operators: name -> how often it is called.
        parameters: elements of its weights; of tensors alone, of all of them, packed ones as the numbers they hold.
        bytes: of all its tensors.
        stored: dtype -> tensors of it.
        beside: files beside it that hold tensors of it.
        zeros: weight -> its zeros; of tensors alone, all those of two axes or more.
        packed: width -> weights of so few bits, their numbers, and the bytes of these and their scales.
    """

    file: str
    form: Literal["onnx", "pt2", "safetensors"]
    file_bytes: int
    sha256: str
    producer: str = ""
    opset: Mapping[str, int] = field(default_factory=dict)
    inputs: tuple[FilePort, ...] = ()
    outputs: tuple[FilePort, ...] = ()
    ranges: Mapping[str, tuple[int | None, int | None]] = field(default_factory=dict)
    operators: Mapping[str, int] = field(default_factory=dict)
    parameters: int = 0
    bytes: int = 0
    stored: Mapping[str, StoredKind] = field(default_factory=dict)
    beside: tuple[str, ...] = ()
    zeros: Mapping[str, ZeroCount] = field(default_factory=dict)
    packed: Mapping[str, StoredKind] = field(default_factory=dict)


def by_kind(tensors: Iterable[tuple[str, int, int]]) -> dict[str, StoredKind]:
    """Tensors by their dtype, the one with most bytes first.

    Args:
        tensors: dtype, elements and bytes of each.

    Example:
        >>> by_kind([("int8", 4, 4), ("float32", 2, 8), ("float32", 1, 4)])["float32"]
        StoredKind(tensors=2, elements=3, bytes=12)
    """
    found: dict[str, StoredKind] = {}
    for dtype, elements, size in tensors:
        held = found.get(dtype, StoredKind(0, 0, 0))
        found[dtype] = StoredKind(held.tensors + 1, held.elements + elements, held.bytes + size)
    return dict(sorted(found.items(), key=lambda each: (-each[1].bytes, each[0])))
