"""The smaller model as plain data: one that was cut here and proved, or one that another tool made."""

from dataclasses import dataclass, field
from typing import Literal

from pfa_gate.record.measured import RecoveryStep
from pfa_gate.record.plain_data import LATER
from pfa_gate.record.timing import RoundedForecast, TimingRecord


@dataclass(frozen=True)
class Exact:
    """The proof of the cut: largest error relative to the output's scale, and whether it passed."""

    max_error: float | None
    passed: bool


@dataclass(frozen=True)
class CandidateRecord:
    """A model that another tool made, judged in the place of one that was cut here.

    Attributes:
        form: onnx, pt2 or factory.
        source: the file or the factory, as pfa.yaml has it.
        sha256: of its files, in order; empty where it has none.
        file_bytes: of these files; None where it has none.
        runtime: what it was run in.
        timed: how its latency was taken; empty where it was not.
        remarks: what was done to make the data fit it.
    """

    form: Literal["onnx", "pt2", "factory"]
    source: str
    sha256: str
    file_bytes: int | None
    runtime: str
    timed: str = ""
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class CompressedRecord:
    """The compressed model.

    Attributes:
        parameters: number of parameters.
        bytes: bytes of the stored weights.
        macs: MACs of one sample; None where those of a candidate cannot be counted.
        latency: its time over that of the full model; None where it was not measured.
        exact: the proof of the cut; None for a candidate, which was not cut here.
        put_back: groups left whole because their own proof failed.
        recovery: the cut and each recovery step after it; empty without recovery.
        form: module where the model's own class runs at the new widths; else graph, its program.
        memory: most bytes of activations that are live at once in a pass of one sample; None where it is not known.
        energy: picojoules of one sample, by the table of pfa.yaml; None without one.
        timing: how its latency was measured, and for which calls; None where it was not.
        rounded: what `recipe.round_to: auto` would give, where the MACs fall and the time does not.
    """

    parameters: int
    bytes: int
    macs: int | None
    latency: float | None
    exact: Exact | None
    put_back: tuple[str, ...] = ()
    recovery: tuple[RecoveryStep, ...] = ()
    form: Literal["module", "graph"] = "module"
    memory: int | None = field(default=None, metadata=LATER)
    energy: float | None = field(default=None, metadata=LATER)
    timing: TimingRecord | None = field(default=None, metadata=LATER)
    rounded: RoundedForecast | None = field(default=None, metadata=LATER)
