"""A .pt2 file as a module: the program that torch.export wrote, without running what may be pickled beside it."""

import importlib
import io
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from pfa_gate.artifacts.program import quiet, refuse_pickled_tensors, runnable
from pfa_gate.artifacts.serialiser_work import repeated_work_kept
from pfa_gate.errors import CandidateError
from pfa_gate.runtime.session import first_line


class FixedBatch(nn.Module):
    """A program that runs on one number of samples, called with any: in parts, the last one filled up.

    Args:
        program: runs on `size` samples.
        size: how many.
    """

    def __init__(self, program: nn.Module, size: int) -> None:
        super().__init__()
        self.program, self.size = program, size

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run all parts, and join what they give."""
        inputs = pytree.tree_leaves((args, kwargs))
        count = next((len(leaf) for leaf in inputs if isinstance(leaf, Tensor) and leaf.ndim), self.size)
        outputs = []
        for start in range(0, count, self.size):
            rows = torch.arange(start, start + self.size).clamp(max=count - 1)

            def part(leaf: Any, rows: Tensor = rows) -> Any:
                return leaf[rows] if isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == count else leaf

            taken, named = pytree.tree_map(part, (args, kwargs))
            outputs.append(self.program(*taken, **named))
        leaves = [pytree.tree_leaves(output) for output in outputs]
        joined = [
            torch.cat(parts)[:count] if isinstance(parts[0], Tensor) else parts[0]
            for parts in zip(*leaves, strict=True)
        ]
        return pytree.tree_unflatten(joined, pytree.tree_structure(outputs[0]))


def read_exported(content: bytes, name: str) -> nn.Module:
    """The model of a .pt2 file, ready to run on any number of samples.

    Args:
        content: of the file.
        name: of the file, for people.

    Raises:
        CandidateError: it is broken, holds pickled tensors, or operators of a package that is not imported.
    """
    with suppress(ImportError):  # torch's own operators of quantized programs, which nothing else loads
        importlib.import_module("torch.ao.quantization.fx._decomposed")
    try:
        with quiet(), repeated_work_kept():
            clean = _without_samples(content)
            refuse_pickled_tensors(clean)
            exported = torch.export.load(clean)
            program = runnable(exported)
    except Exception as error:  # a damaged archive may raise anything
        raise CandidateError(
            f"{name} cannot be read: {first_line(error)}.",
            remedy="Write it with torch.export.save, of this version of torch. What needs a package of its own is "
            "named by a factory that imports it.",
        ) from error
    size = _fixed_batch(exported)
    return program if size is None else FixedBatch(program, size)


def _without_samples(content: bytes) -> io.BytesIO:
    """The archive without the example that it was exported with, which torch would unpickle."""
    cleaned = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(cleaned, "w") as fresh:
        for entry in archive.infolist():
            fresh.writestr(entry.filename, b"" if "/sample_inputs/" in entry.filename else archive.read(entry))
    cleaned.seek(0)
    return cleaned


def _fixed_batch(exported: Any) -> int | None:
    """How many samples a program takes; None for any number."""
    names = exported.graph_signature.user_inputs
    nodes = [node for node in exported.graph.nodes if node.op == "placeholder" and node.name in names]
    shapes = [node.meta["val"].shape for node in nodes if isinstance(node.meta.get("val"), Tensor)]
    sizes = [shape[0] for shape in shapes if len(shape)]
    return sizes[0] if sizes and isinstance(sizes[0], int) else None


def read_file(path: Path, name: str) -> bytes:
    """The content of a candidate's file.

    Raises:
        CandidateError: it is not there, or is a pointer to it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        fact = f"There is no candidate {name}." if isinstance(error, FileNotFoundError) else ""
        fact = fact or f"The candidate {name} cannot be read: {error.strerror}."
        raise CandidateError(fact, remedy="Relative paths start at the folder of pfa.yaml.") from error
    if content.startswith(b"version https://git-lfs."):
        raise CandidateError(f"{name} is a Git LFS pointer, not the model.", remedy="Run git lfs pull.")
    return content
