"""What one pass over the probe reads, and who measures: this process alone, or others too."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from torch import nn

from pfa_gate.analysis.responses import Responses, reader_of, respond, respond_by_hooks
from pfa_gate.config import GateConfig
from pfa_gate.errors import DataError
from pfa_gate.graph import Group, Layer, Program
from pfa_gate.model import Batch, Batches, Subject
from pfa_gate.model.device import model_on, prefetched
from pfa_gate.model.evaluation import Score
from pfa_gate.model.evaluation.score import score
from pfa_gate.pipeline.spectra import Shards, places, responses
from pfa_gate.pipeline.stages import Stages
from pfa_gate.pipeline.trace import ModelGraph


@dataclass(frozen=True)
class ProbePass:
    """What a pass over the probe reads.

    Attributes:
        config: the gate.
        subject: the model and its data.
        layers: those that pfa.yaml chooses.
        graph: of the model; None where it cannot be followed.
    """

    config: GateConfig
    subject: Subject
    layers: Sequence[Layer]
    graph: ModelGraph | None

    @property
    def program(self) -> Program | None:
        """The model as a program, if it is one."""
        return self.graph.program if self.graph else None

    @property
    def groups(self) -> list[Group]:
        """The groups that only these layers make."""
        names = {layer.name for layer in self.layers}
        return [group for group in self.graph.coupling.free if names.issuperset(group.layers)] if self.graph else []

    @property
    def places(self) -> tuple[dict[str, str], set[str]]:
        """Every node that is read, with its name for people; and those of which no jackknife is wanted."""
        return places(self.layers, self.groups)

    def read(self, batches: Iterable[Batch], first: int = 0) -> Iterator[Responses]:
        """The responses to these batches, on the subject's device; `first` is the number of the first sample."""
        reading = reader_of(self.config.probe)
        moved = prefetched(batches, self.subject.device)
        if isinstance(self._placed, nn.Module):
            return respond_by_hooks(self._placed, moved, self.layers, reading, first)
        taps = [tap for layer in self.layers for tap in layer.taps]
        taps += [tap for group in self.groups for tap in group.taps]
        return respond(self._placed, moved, taps, reading, first)

    @cached_property
    def _placed(self) -> Program | nn.Module:
        """What runs, on the subject's device."""
        device = self.subject.device
        return model_on(self.subject.model, device) if self.program is None else self.program.on(device)

    def moments(self, batches: Iterable[Batch]) -> dict[str, Shards]:
        """Node -> moments of its jackknife folds."""
        return responses(self.layers, self.groups, self.read(batches))


class MeasurementBackend(Protocol):
    """Who measures."""

    def moments(self, probe_pass: ProbePass, batches: Iterable[Batch]) -> Mapping[str, Shards]:
        """What a pass over the probe gives.

        Args:
            probe_pass: what is read.
            batches: the probe's, each reported as it is read.
        """
        ...

    def score(self, subject: Subject, model: nn.Module, *, in_parts: bool = False) -> Score:
        """What a model scores on the subject's evaluation; see `evaluation.score`.

        Raises:
            DataError: the subject has no evaluation.
        """
        ...


class LocalBackend:
    """This process measures alone."""

    def moments(self, probe_pass: ProbePass, batches: Iterable[Batch]) -> Mapping[str, Shards]:
        """Run the model on all batches."""
        return probe_pass.moments(batches)

    def score(self, subject: Subject, model: nn.Module, *, in_parts: bool = False) -> Score:
        """Score all batches."""
        return score(model_on(model, subject.device), evaluation_of(subject), subject.metric, in_parts=in_parts)


def evaluation_of(subject: Subject) -> Batches:
    """The batches of a subject's evaluation.

    Raises:
        DataError: it has none.
    """
    if subject.evaluation is None:
        raise DataError("There is no evaluation to score a model on.", remedy="Add the section evaluation.")
    return subject.evaluation


LOCAL = LocalBackend()


@dataclass(frozen=True)
class GateJob:
    """What every step of the pipeline works with.

    Attributes:
        config: the gate.
        subject: its model and data.
        stages: each step is timed, and its errors are given their place in pfa.yaml.
        backend: who measures.
    """

    config: GateConfig
    subject: Subject
    stages: Stages
    backend: MeasurementBackend = LOCAL
