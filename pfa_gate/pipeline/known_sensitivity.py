"""What an earlier `pfa-gate sensitivity` said of this model on this probe, for the page of the gate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pfa_gate.errors import ArtifactError
from pfa_gate.graph.fingerprint import model_fingerprint
from pfa_gate.pipeline.job import GateJob
from pfa_gate.pipeline.measure_and_cut import Measured
from pfa_gate.record import LayerRecord, Unmeasured, finite
from pfa_gate.record.sensitivity import loads_sensitivity, sensitivity_file

_AGAIN = "run pfa-gate sensitivity again"


@dataclass(frozen=True)
class KnownSensitivity:
    """What is known of each group, or why it does not count.

    Attributes:
        halves: group name -> how far the answers are with half of its filters.
        reason: why a file that is there is not used; empty where it is, or where there is none.
    """

    halves: Mapping[str, float | None] = field(default_factory=dict)
    reason: str = ""

    def beside(self, layers: Sequence[LayerRecord]) -> tuple[LayerRecord, ...]:
        """The layers, each with the value of its group."""
        return tuple(replace(layer, sensitivity=self.halves.get(layer.group or "")) for layer in layers)

    def unmeasured(self) -> tuple[Unmeasured, ...]:
        """The reason, if there is one."""
        return (Unmeasured("sensitivity", self.reason),) if self.reason else ()


def known_sensitivity(output: Path, job: GateJob, measured: Measured) -> KnownSensitivity:
    """Read the file beside the gate's folder, if it is of this model and this probe.

    Args:
        output: folder of all gates.
        job: the gate.
        measured: of the full model.
    """
    path = sensitivity_file(output, job.config.name)
    if measured.program is None or not path.is_file():
        return KnownSensitivity()
    try:
        found = loads_sensitivity(path.read_text("utf-8"))
    except (ArtifactError, OSError, UnicodeError):
        return KnownSensitivity(reason=f"{path.parent.name}/{path.name} cannot be read; {_AGAIN}")
    if found.probe != job.subject.probe.sha256:
        return KnownSensitivity(reason=f"{path.parent.name}/{path.name} is of another probe; {_AGAIN}")
    if found.model != model_fingerprint(job.subject.model, measured.program):
        return KnownSensitivity(reason=f"{path.parent.name}/{path.name} is of another model; {_AGAIN}")
    return KnownSensitivity({each.group: finite(each.half) for each in found.groups})
