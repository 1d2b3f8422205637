"""One pass over the probe, and who makes it: what of a model is read, and by whose hands.

PYTEST_DONT_REWRITE
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from pfa_gate.analysis.responses import Responses, reading_of, respond, respond_by_hooks
from pfa_gate.config import GateConfig
from pfa_gate.graph import Coupling, Group, Layer, Program
from pfa_gate.model import Batch, Subject
from pfa_gate.model.device import ahead, placed
from pfa_gate.model.evaluation import Score
from pfa_gate.model.evaluation.score import score
from pfa_gate.pipeline.spectra import Shards, places, responses


@dataclass(frozen=True)
class ProbePass:
    """What a pass over the probe reads.

    Attributes:
        config: the gate.
        subject: the model and its data.
        layers: those that pfa.yaml chooses.
        traced: the model as a program, with its coupling; None where it cannot be exported.
    """

    config: GateConfig
    subject: Subject
    layers: Sequence[Layer]
    traced: tuple[Program, Coupling] | None

    @property
    def program(self) -> Program | None:
        """The model as a program, if it is one."""
        return self.traced[0] if self.traced else None

    @property
    def groups(self) -> list[Group]:
        """The groups that only these layers make."""
        names = {layer.name for layer in self.layers}
        return [group for group in self.traced[1].free if names.issuperset(group.layers)] if self.traced else []

    @property
    def places(self) -> tuple[dict[str, str], set[str]]:
        """Every place that is read, with its name for people; and those of which no jackknife is wanted."""
        return places(self.layers, self.groups)

    def read(self, batches: Iterable[Batch], first: int = 0) -> Iterator[Responses]:
        """The responses to these batches, on the subject's device; `first` is the number of the first sample."""
        reading = reading_of(self.config.probe)
        moved = ahead(batches, self.subject.device)
        if isinstance(self._there, nn.Module):
            return respond_by_hooks(self._there, moved, self.layers, reading, first)
        taps = [tap for layer in self.layers for tap in layer.taps]
        taps += [tap for group in self.groups for tap in group.taps]
        return respond(self._there, moved, taps, reading, first)

    @cached_property
    def _there(self) -> Program | nn.Module:
        """What runs on the subject's device."""
        device = self.subject.device
        return placed(self.subject.model, device) if self.program is None else self.program.on(device)

    def moments(self, batches: Iterable[Batch]) -> dict[str, Shards]:
        """Place -> moments of its shards."""
        return responses(self.layers, self.groups, self.read(batches))


class MeasurementBackend:
    """Who measures: this process alone. Where others take part, a subclass says how."""

    def moments(self, work: ProbePass, batches: Iterable[Batch]) -> Mapping[str, Shards]:
        """What a pass over the probe gives.

        Args:
            work: what is read.
            batches: the probe's, each reported as it is read.
        """
        return work.moments(batches)

    def score(self, subject: Subject, model: nn.Module, *, in_parts: bool = False) -> Score:
        """What a model scores on the evaluation, which must be there; see `evaluation.score`."""
        assert subject.evaluation is not None
        return score(placed(model, subject.device), subject.evaluation, subject.metric, in_parts=in_parts)


LOCAL = MeasurementBackend()
