"""Memory and energy of one sample as sentences and rows, alike in all reports."""

from collections.abc import Iterator
from dataclasses import dataclass, replace  # noqa: F401  for an example

from pfa_gate.budget.wording import amount, joules, quantity
from pfa_gate.record import MemoryRecord, Record
from pfa_gate.report.answers import smaller_model
from pfa_gate.report.formatting import share

_NAMED = 3


@dataclass(frozen=True)
class HeldRow:
    """A tensor that is live at the peak, as texts: what made it, its bytes, and its share of the peak."""

    name: str
    bytes: str
    of_peak: str


@dataclass(frozen=True)
class Followed:
    """A model whose memory was followed.

    Attributes:
        name: what the model is called.
        memory: along its operators.
    """

    name: str
    memory: MemoryRecord


def followed(record: Record) -> tuple[Followed, ...]:
    """The models of a record whose memory was followed, the full one first.

    Example:
        >>> from pfa_gate.record import Probe, Size
        >>> followed(Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab")))
        ()
    """
    if record.demands is None:
        return ()
    models = (("full model", record.demands.full), (smaller_model(record), record.demands.compressed))
    return tuple(Followed(name, memory) for name, memory in models if memory is not None and memory.peak is not None)


def memory_sentences(record: Record) -> tuple[str, ...]:
    """Where each model's memory peaks, and what is live there.

    Example:
        >>> from pfa_gate.record import DemandsRecord, LiveRecord, Probe, Size
        >>> peak, tensor = LiveRecord("relu", "stem", 64_000), LiveRecord("conv2d", "stem", 32_000)
        >>> memory = MemoryRecord(2, 1, peak, (tensor, tensor), 0, (44_000, 64_000), ("conv2d", "relu"), 120_000)
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"))
        >>> memory_sentences(replace(record, demands=DemandsRecord(memory)))[0][:80]
        'Memory of the full model peaks at 64 kB in relu of stem, operator 2 of 2: conv2d'
    """
    return tuple(_peaks(each) for each in followed(record))


def _peaks(model: Followed) -> str:
    memory = model.memory
    peak = memory.peak
    if peak is None:
        raise ValueError("There is no operator.")
    tensors = [f"{row.name} {row.bytes}" for row in held_rows(memory)]
    left = len(tensors) - _NAMED + memory.unlisted
    more = f" and {left} more" if left > 0 else ""
    together = "" if memory.samples == 1 else f" (of {memory.samples} samples, which it takes together)"
    where = f"{peak.name}, operator {memory.at + 1:,} of {memory.operators:,}"
    live = f": {', '.join(tensors[:_NAMED])}{more}" if tensors else ""
    return f"Memory of the {model.name} peaks at {amount(peak.bytes, 'B')}{together} in {where}{live}."


def held_rows(memory: MemoryRecord) -> tuple[HeldRow, ...]:
    """What is live at the peak, largest first; of very many the first twenty."""
    whole = 0 if memory.peak is None else memory.peak.bytes
    return tuple(HeldRow(each.name, amount(each.bytes, "B"), share(each.bytes, whole)) for each in memory.alive)


def energy_sentence(record: Record) -> str:
    """How the energy was worked out; empty where pfa.yaml has no table."""
    found = record.demands
    if found is None or found.mac is None or found.byte is None or found.full is None:
        return ""
    moved = record.model.bytes + found.full.moved / max(1, found.full.samples)
    counted = f"{quantity(record.model.macs, 'macs')} MACs at {joules(found.mac)}"
    carried = f"{amount(moved, 'B')} moved at {joules(found.byte)} a byte"
    what = f"weights read once {amount(record.model.bytes, 'B')}, activations read and written"
    return f"Energy is worked out, not measured: of the full model {counted} and {carried} ({what})."


def live_at_peak(record: Record, area: str) -> str:
    """What to look at where a budget of memory is broken; empty where nothing was followed.

    Args:
        record: what the run found.
        area: `model` or `compressed`.
    """
    found = record.demands and (record.demands.full if area == "model" else record.demands.compressed)
    if not found or found.peak is None:
        return ""
    tensors = ", ".join(f"{row.name} {row.bytes}" for row in held_rows(found)[:_NAMED])
    return f"The peak is in {found.peak.name}; largest there: {tensors}."


def levels(memory: MemoryRecord, cells: int) -> Iterator[int]:
    """The curve in so many cells, of each the most bytes; as many cells as there are values where they are fewer.

    Example:
        >>> from pfa_gate.record import LiveRecord
        >>> curve = (1, 5, 2, 3, 9, 4)
        >>> list(levels(MemoryRecord(6, 4, LiveRecord("a", "", 9), (), 0, curve, (), 0), 3))
        [5, 3, 9]
    """
    values = memory.curve
    count = min(cells, len(values))
    for cell in range(count):
        start, end = cell * len(values) // count, (cell + 1) * len(values) // count
        yield max(values[start:end])
