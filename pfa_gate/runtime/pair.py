"""A file as its runtime optimises it, beside what it is held against."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pfa_gate.budget.parity import OF_ITSELF, OF_TORCH
from pfa_gate.files import sha256_bytes
from pfa_gate.model import Batch
from pfa_gate.model.outputs import floating_outputs
from pfa_gate.model.torch_module import forward
from pfa_gate.runtime.onnx_module import OnnxModel
from pfa_gate.runtime.other_runtimes import digest
from pfa_gate.runtime.parity import TOLERANCE, TOLERANCE_OF_BITS, Array, Comparing, OutputGap, are_scores
from pfa_gate.runtime.parity_check import stored_values
from pfa_gate.runtime.session import machine_of, onnx_session

Outputs = Callable[[Batch], list[Array]]
"""Gives the floating outputs for a batch."""


@dataclass(frozen=True)
class RuntimeFile:
    """A file that runs in a runtime.

    Attributes:
        section: of the budgets that judge it: compressed or quantized.
        name: of the file.
        content: its bytes, or its path where tensors of it lie in other files.
        model: in torch, on the device where it runs, that the file must equal; None for the same file with all
            optimisations off.
        device: of the model.
        allowed: how many of its answers may flip.
        opens: gives a session of another runtime for a number of threads; None for one of ONNX Runtime.
    """

    section: str
    name: str
    content: bytes | str
    model: nn.Module | None
    device: torch.device = torch.device("cpu")  # noqa: RUF009  immutable
    allowed: int = 0
    opens: Callable[[int], Any] | None = None

    @property
    def sha256(self) -> str:
        """Of its bytes."""
        return digest(Path(self.content)) if isinstance(self.content, str) else sha256_bytes(self.content)

    @property
    def reference(self) -> str:
        """What it is held against, in words."""
        return OF_ITSELF if self.model is None else OF_TORCH


class Pair:
    """A file and its reference, run on the same batches.

    Args:
        file: which one.
        threads: of each operator; as many as torch uses unless given.

    Attributes:
        file: the same.
        here: the file, called like a model.
        machine: what it runs on.
        names: of its floating outputs.
        scores: which of these holds class scores, if their form is [samples, classes].
        whole: which of these are stored whole; empty before the first batch.

    Raises:
        CandidateError: the runtime does not take the file.
    """

    def __init__(self, file: RuntimeFile, threads: int = 0) -> None:
        self.file, threads = file, threads or torch.get_num_threads()
        opens = file.opens or (lambda count: onnx_session(file.content, file.name, count))
        session = opens(threads)
        self.machine, self.here = machine_of(session, threads), OnnxModel(session, file.name)
        self.reference = self._of_itself(threads) if file.model is None else _of_torch(file.model, file.device)
        self.names = self.here.floating
        self.scores = self.names.index("logits") if "logits" in self.names else 0
        self.tolerance = TOLERANCE if file.model is not None else TOLERANCE_OF_BITS
        self.whole: tuple[bool, ...] = ()
        self._comparing = Comparing(file.name, self.tolerance, self.scores)
        self._stored = 0

    def _of_itself(self, threads: int) -> Outputs:
        session = onnx_session(self.file.content, self.file.name, threads, optimised=False)
        plain = OnnxModel(session, self.file.name)
        return lambda batch: _floats(plain, batch)

    def update(self, batches: Iterable[Batch]) -> OutputGap:
        """Take in all samples.

        Raises:
            CandidateError: the file does not take them.
            DataError: the model does not.
            ArtifactError: the file gives outputs of other shapes.
        """
        for batch in batches:
            reference = self.reference(batch)
            self._comparing.update(reference, _floats(self.here, batch), batch.size)
            self.whole = self.whole or tuple(
                place == self.scores and are_scores(each, batch.size) for place, each in enumerate(reference)
            )
            self._stored += sum(each.nbytes for each in self.kept(reference, batch.size, batch.size))
        self.difference = self._comparing.difference()
        return self.difference

    def kept(self, outputs: Sequence[Array], size: int, samples: int) -> tuple[Array, ...]:
        """What is stored of some outputs.

        Args:
            outputs: of the reference.
            size: samples of the call.
            samples: those of them that count.
        """
        pairs = zip(outputs, self.whole, strict=True)
        return tuple(stored_values(values, size, samples, whole) for values, whole in pairs)

    @property
    def stored(self) -> float:
        """Bytes that are stored of a sample's outputs."""
        return self._stored / max(1, self.difference.samples)


def _of_torch(model: nn.Module, device: torch.device) -> Outputs:
    return lambda batch: [_numbers(each) for each in floating_outputs(forward(model, batch.to(device)))]


def _floats(model: OnnxModel, batch: Batch) -> list[Array]:
    return [_numbers(each) for each in model.outputs(batch) if each.is_floating_point()]


def _numbers(values: Tensor) -> Array:
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
