"""A model's file, told by its content and read: ONNX, a program of torch.export, or tensors alone."""

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from pfa_gate.errors import ArtifactError
from pfa_gate.files import sha256_bytes
from pfa_gate.runtime.file_facts import FileFacts, StoredKind, by_kind
from pfa_gate.runtime.zero_counts import zeros_of_tensors

_FEW_BITS = "pfa_gate.few_bits"
"""The key of the metadata of weights.q.safetensors; who writes it imports torch."""
_LONGEST_HEADER = 100 * 2**20
_WORDS = {"F": "float", "BF": "bfloat", "I": "int", "U": "uint"}


def inspect_file(path: Path) -> FileFacts:
    """Read what is in a file; its kind is told by its content.

    Raises:
        ArtifactError: it is not there, is damaged, or is of another kind.

    Example:
        >>> inspect_file(Path("no/model.onnx"))
        Traceback (most recent call last):
        pfa_gate.errors.ArtifactError: There is no no/model.onnx.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        gone = isinstance(error, FileNotFoundError)
        reason = f"There is no {path}." if gone else f"{path} cannot be read: {error.strerror}."
        raise ArtifactError(reason) from error
    if content.startswith(b"version https://git-lfs."):
        raise ArtifactError(f"{path} is a Git LFS pointer, not the model.", remedy="Run git lfs pull.")
    facts: dict[str, Any] = {"file": path.name, "file_bytes": len(content), "sha256": sha256_bytes(content)}
    try:
        return FileFacts(**facts, **_content(path, content))
    except ArtifactError:
        raise
    except Exception as error:  # what is foreign may be damaged in any way
        line = next(iter(str(error).splitlines()), "")
        raise _unknown(path, f"{type(error).__name__}: {line[:160]}") from error


def _content(path: Path, content: bytes) -> dict[str, Any]:
    if content.startswith(b"PK"):
        from pfa_gate.runtime.program_facts import program_facts  # noqa: PLC0415  for such files

        return program_facts(content)
    length = int.from_bytes(content[:8], "little")
    if content[8:9] == b"{" and 0 < length <= min(len(content) - 8, _LONGEST_HEADER):
        return _tensors(json.loads(content[8 : 8 + length]), content[8 + length :])
    from pfa_gate.runtime.onnx_facts import onnx_facts  # noqa: PLC0415  needs the extra

    found = onnx_facts(content)
    if found is None:
        raise _unknown(path, "its content is none of these")
    return found


def _unknown(path: Path, why: str) -> ArtifactError:
    fact = f"{path} is no ONNX file, no program of torch.export and no safetensors file: {why.rstrip('. ')}."
    return ArtifactError(fact, remedy="Name a .onnx, .pt2 or .safetensors file.")


def _tensors(header: Mapping[str, Any], content: bytes) -> dict[str, Any]:
    """Of safetensors: a header of JSON, and the tensors' bytes after it."""
    note = header.get("__metadata__", {})
    named = {name: entry for name, entry in header.items() if name != "__metadata__"}
    entries = list(named.values())
    values = {
        name: (_dtype(entry["dtype"]), entry["shape"], content[slice(*entry["data_offsets"])])
        for name, entry in named.items()
    }
    tensors = [
        (_dtype(entry["dtype"]), prod(entry["shape"]), entry["data_offsets"][1] - entry["data_offsets"][0])
        for entry in entries
    ]
    packed, hidden = _packed(note, named)
    made = " ".join(f"{key}={value}" for key, value in sorted(note.items()) if len(str(value)) < 40)
    return {
        "form": "safetensors", "producer": made, "stored": by_kind(tensors),
        "parameters": sum(elements for _, elements, _ in tensors) + hidden,
        "bytes": sum(size for _, _, size in tensors), "packed": packed,
        "zeros": zeros_of_tensors(values),
    }  # fmt: skip


def _packed(note: Mapping[str, str], named: Mapping[str, Any]) -> tuple[dict[str, StoredKind], int]:
    """Weights of few bits by width, and how many more numbers they hold than their tensors have elements."""
    entries = json.loads(note[_FEW_BITS])["weights"] if _FEW_BITS in note else {}
    tensors = []
    hidden = 0
    for name, entry in entries.items():
        parts = [named[f"{name}.numbers"], named[f"{name}.scale"]]
        size = sum(part["data_offsets"][1] - part["data_offsets"][0] for part in parts)
        tensors.append((str(entry["width"]), prod(entry["shape"]), size))
        hidden += prod(entry["shape"]) - sum(prod(part["shape"]) for part in parts)
    return by_kind(tensors), hidden


def _dtype(kind: str) -> str:
    """A dtype of safetensors as NumPy spells it.

    Example:
        >>> _dtype("F32"), _dtype("BF16"), _dtype("BOOL"), _dtype("F8_E4M3")
        ('float32', 'bfloat16', 'bool', 'f8_e4m3')
    """
    word = kind.rstrip("0123456789")
    return f"{_WORDS[word]}{kind[len(word) :]}" if word in _WORDS and kind[len(word) :] else kind.lower()
