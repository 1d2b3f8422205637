"""The recount: what the files of a compressed model hold, compared with what its record says."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from pfa_gate.compress.prune.prune_model import constant_name
from pfa_gate.errors import ArtifactError
from pfa_gate.graph import Coupling
from pfa_gate.graph.computed_weights import sources_of
from pfa_gate.graph.cost import Stored, storage_key
from pfa_gate.record import CompressedRecord


@dataclass(frozen=True)
class Recount:
    """Counts what the files of a compressed model hold, to compare it with the record.

    Attributes:
        counted: what the record says; None where it says nothing.
        model: the compressed model.
        buffers: names of its tensors that are no weights, from `buffers_of`.
    """

    counted: CompressedRecord | None
    model: nn.Module
    buffers: frozenset[str]

    def weights(self, path: Path) -> Stored:
        """What a .safetensors file holds, by its own header."""
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        header.pop("__metadata__", None)
        parameters = sum(math.prod(entry["shape"]) for name, entry in header.items() if name not in self.buffers)
        return Stored(parameters, sum(entry["data_offsets"][1] - entry["data_offsets"][0] for entry in header.values()))

    def program(self, held: Mapping[str, Tensor]) -> Stored:
        """What an exported program holds, by name; tensors that are one in the model count once."""
        state = self.model.state_dict(keep_vars=True)
        own = {name: storage_key(tensor) for name, tensor in state.items() if isinstance(tensor, Tensor)}
        once = {own.get(name, name): (name, tensor) for name, tensor in held.items()}
        parameters = sum(tensor.numel() for name, tensor in once.values() if name not in self.buffers)
        return Stored(parameters, sum(tensor.numel() * tensor.element_size() for _, tensor in once.values()))

    def require(self, name: str, held: Stored) -> None:
        """Compare what a file holds with what the record says.

        Raises:
            ArtifactError: they differ.
        """
        counted = self.counted
        if counted is not None and held != Stored(counted.parameters, counted.bytes):
            raise ArtifactError(
                f"{name} holds {held.parameters:,} parameters in {held.bytes:,} bytes, but the compressed model was "
                f"counted as {counted.parameters:,} in {counted.bytes:,}.",
                remedy="No budget is judged on a wrong count. "
                "This is a fault of pfa_gate: please report it with the model.",
            )


def buffers_of(model: nn.Module, coupling: Coupling) -> frozenset[str]:
    """Names of a compressed model's tensors that are no weights.

    They are buffers of the full model too, or constants computed from such buffers alone, or say where the channels of
    an operand lie at full width. A buffer that is a parameter under another name is a weight: the files hold it once,
    under one of its names.
    """
    program = coupling.program
    trained = program.parameters
    full = set(program.held.values()) - trained
    constants = {constant_name(node): node for node in program.folded.values()}

    def no_weight(name: str, buffer: Tensor) -> bool:
        constant = constants.get(name)
        if constant is None:
            return name in full or (name not in program.state and not buffer.is_floating_point())
        return name in full or trained.isdisjoint(sources_of(program, constant))

    weights = {storage_key(parameter) for parameter in model.parameters()}
    buffers = model.named_buffers(remove_duplicate=False)
    return frozenset(name for name, buffer in buffers if storage_key(buffer) not in weights and no_weight(name, buffer))
