"""What one sample takes of memory and energy: the full model, and the one that is judged in its place."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from torch import nn

from pfa_gate.budget import Measurements, PartSize, Size
from pfa_gate.config.energy import EnergyConfig
from pfa_gate.errors import DataError
from pfa_gate.graph.live_memory import LiveMemory, LiveTensor, live_memory
from pfa_gate.model import Batch
from pfa_gate.pipeline.job import GateJob
from pfa_gate.record import CompressedRecord, DemandsRecord, LiveRecord, MemoryRecord, Unmeasured

if TYPE_CHECKING:
    from pfa_gate.candidate import Candidate

_STRETCHES = 200
_LISTED = 20


@dataclass(frozen=True)
class Demands:
    """What a pass of one sample takes.

    Attributes:
        memory: by `model` and `compressed`; what could not be followed is left out.
        reasons: why not, alike.
        table: what the hardware spends; None where pfa.yaml does not say.
    """

    memory: Mapping[str, LiveMemory] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    table: EnergyConfig | None = None

    def measurements(self, found: Measurements) -> Measurements:
        """What was measured of the models, and this."""
        full, part = found.full, found.compressed
        full = replace(full, memory=self._bytes("model"), energy=self.energy("model", full))
        if part is not None:
            part = PartSize(
                part.parameters, part.bytes, part.macs, self._bytes("compressed"), self.energy("compressed", part)
            )
        return replace(found, full=full, compressed=part, unfollowed=self._unfollowed(found))

    def _unfollowed(self, found: Measurements) -> dict[str, str]:
        """Why memory or energy are not known."""
        uncounted = found.uncounted and f"its multiply-accumulates are not known: {found.uncounted}"
        return {"compressed": uncounted, **self.reasons} if uncounted else dict(self.reasons)

    def energy(self, which: str, size: Size | PartSize) -> float | None:
        """Picojoules of one sample: its multiply-accumulates, weights read once, activations read and written."""
        memory = self.memory.get(which)
        if self.table is None or memory is None or size.macs is None:
            return None
        moved = size.bytes + memory.moved / memory.samples
        return size.macs * self.table.mac.value + moved * self.table.byte.value

    def _bytes(self, which: str) -> int | None:
        memory = self.memory.get(which)
        return None if memory is None else -(-memory.bytes // memory.samples)

    def record(self) -> DemandsRecord | None:
        """The same as plain data; None where nothing was followed."""
        curves = {which: _curve(memory) for which, memory in self.memory.items()}
        if not curves:
            return None
        mac, byte = (self.table.mac.value, self.table.byte.value) if self.table else (None, None)
        return DemandsRecord(curves.get("model"), curves.get("compressed"), mac, byte)

    def compressed_record(self, part: CompressedRecord) -> CompressedRecord:
        """The compressed model with its memory and energy."""
        size = PartSize(part.parameters, part.bytes, part.macs)
        return replace(part, memory=self._bytes("compressed"), energy=self.energy("compressed", size))

    def unmeasured(self, smaller: str = "compressed model") -> Iterator[Unmeasured]:
        """Whose memory is not known, and why.

        Args:
            smaller: what the model is called that is judged in the place of the full one.
        """
        names = {"model": "full model", "compressed": smaller}
        for which in sorted(self.reasons, reverse=True):
            yield Unmeasured(f"memory of the {names[which]}", self.reasons[which])


def demands(
    job: GateJob, smaller: nn.Module | None, candidate: "Candidate | None" = None, full: "Candidate | None" = None
) -> Demands:
    """Follow the memory of the full model, and of the one that is judged in its place.

    Args:
        job: the gate.
        smaller: the compressed model; None where there is none.
        candidate: a model that was made elsewhere, in the place of the compressed one.
        full: the full model, where it comes from a file.
    """
    memory: dict[str, LiveMemory] = {}
    reasons: dict[str, str] = {}
    models = {"model": (job.subject.model, full), "compressed": (candidate.model if candidate else smaller, candidate)}
    with job.stages.stage("counting", "budgets"):
        for which, (model, file) in models.items():
            try:
                if model is not None:
                    memory[which] = _memory(model, file, job.subject.example)
            except DataError as error:
                reasons[which] = error.fact
    return Demands(memory, reasons, job.config.energy)


def demanded(size: Size, model: nn.Module, example: Batch, table: EnergyConfig | None) -> Size:
    """The size of a model of torch with its memory, and its energy by a table; as it is where it cannot be followed.

    Args:
        size: as it was counted.
        model: in eval mode.
        example: of its inputs.
        table: what the hardware spends, if it is known.
    """
    try:
        found = Demands({"model": live_memory(model, example)}, table=table)
    except DataError:
        return size
    return found.measurements(Measurements((), size)).full


def _memory(model: nn.Module, file: "Candidate | None", example: Batch) -> LiveMemory:
    if file is not None and file.content is not None:
        from pfa_gate.candidate.load import one_sample  # noqa: PLC0415  for gates with such a file
        from pfa_gate.runtime.onnx_memory import onnx_memory  # noqa: PLC0415

        return onnx_memory(file.content, file.origin.source, one_sample(example))
    found = live_memory(model, example)
    # A file for so many samples runs all of them, whatever it is given.
    return found if file is None or file.batch is None else replace(found, samples=file.batch)


def _curve(memory: LiveMemory) -> MemoryRecord:
    steps, peak = memory.steps, memory.peak
    length = max(1, -(-len(steps) // _STRETCHES))
    highest = [
        max(steps[start : start + length], key=lambda each: each.bytes) for start in range(0, len(steps), length)
    ]
    return MemoryRecord(
        operators=len(steps),
        at=peak or 0,
        peak=None if peak is None else _live(steps[peak]),
        alive=tuple(map(_live, memory.alive[:_LISTED])),
        unlisted=max(0, len(memory.alive) - _LISTED),
        curve=tuple(each.bytes for each in highest),
        names=tuple(_live(each).name for each in highest),
        moved=memory.moved,
        samples=memory.samples,
    )


def _live(tensor: LiveTensor) -> LiveRecord:
    return LiveRecord(tensor.operator, tensor.layer, tensor.bytes)
