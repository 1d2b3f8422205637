"""What every step of the pipeline works with: stages that are timed, a pass over the probe, and who measures."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

from torch import nn

from pfa_gate.analysis.responses import WHOLE, Responses, Stretch, Watch, reader_of, respond, respond_by_hooks
from pfa_gate.config import Document, GateConfig
from pfa_gate.errors import DataError, PFAGateError
from pfa_gate.graph import Group, Layer, Program
from pfa_gate.model import Batch, Batches, Subject
from pfa_gate.model.device import model_on, prefetched
from pfa_gate.model.evaluation import KeptOutputs, Score, score_of, score_with_answers, watched_outcomes
from pfa_gate.model.evaluation.score import score
from pfa_gate.pipeline.spectra import Shards, places, responses
from pfa_gate.pipeline.trace import ModelGraph
from pfa_gate.record.manifest import Progress

Item = TypeVar("Item")


class Stages:
    """Times the stages of one gate's run and adds its place to every error that passes through.

    The times add up to all the time since `since`: what passes between two stages counts for the later one.

    Args:
        document: the config.
        gate: the gate's name.
        progress: called as (stage, done, total) while a long stage runs; None to stay silent.
        since: `time.perf_counter()` of when somebody began to wait; what was before this counts as importing.
    """

    def __init__(
        self, document: Document, gate: str, progress: Progress | None = None, since: float | None = None
    ) -> None:
        self._seconds: dict[str, float] = {}
        self._last = time.perf_counter()
        if since is not None:
            self._seconds["importing"] = self._last - since
        self.gate = gate
        self._document = document
        self._progress = progress

    @property
    def folder(self) -> Path:
        """The folder of pfa.yaml, from which its references are resolved."""
        return self._document.path.resolve().parent

    @contextmanager
    def stage(self, name: str, *keys: str) -> Iterator[None]:
        """Run a stage; an error in it is placed at `gates.<gate>.<keys>` of the config."""
        self.report(name, 0, 1)
        try:
            yield
        except PFAGateError as error:
            place = self._document.place("gates", self.gate, *keys)
            error.at(f"{place}, in gate '{self.gate}', while {name}")
            raise
        finally:
            self._pass(name)
        self.report(name, 1, 1)

    def seconds(self, running: str = "") -> dict[str, float]:
        """How long each stage took so far, in seconds; one that is running is named."""
        if running:
            self._pass(running)
        return {name: round(taken, 3) for name, taken in self._seconds.items()}

    def _pass(self, name: str) -> None:
        """Count the time since it was last counted for this stage."""
        now = time.perf_counter()
        self._seconds[name] = self._seconds.get(name, 0.0) + now - self._last
        self._last = now

    def report(self, name: str, done: int, total: int) -> None:
        """Tell the outside how far a stage is."""
        if self._progress is not None:
            self._progress(name, done, total)

    def counted(self, name: str, items: Iterable[Item], total: int) -> Iterator[Item]:
        """Pass items through and report each."""
        for done, item in enumerate(items, 1):
            yield item
            self.report(name, done, total)


@dataclass(frozen=True)
class ProbePass:
    """What a pass over the probe reads.

    Attributes:
        config: the gate.
        subject: the model and its data.
        layers: those that pfa.yaml chooses.
        graph: of the model; None where it cannot be followed.
        watch: is shown all that the model computes, where one process takes the moments of the whole probe.
    """

    config: GateConfig
    subject: Subject
    layers: Sequence[Layer]
    graph: ModelGraph | None
    watch: Watch | None = None

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

    def read(self, batches: Iterable[Batch], stretch: Stretch = WHOLE) -> Iterator[Responses]:
        """The responses to these batches, a stretch of the probe, on the subject's device."""
        reading = reader_of(self.config.probe)
        moved = prefetched(batches, self.subject.device)
        if isinstance(self._placed, nn.Module):
            return respond_by_hooks(self._placed, moved, self.layers, reading, stretch.first)
        taps = [tap for layer in self.layers for tap in layer.taps]
        taps += [tap for group in self.groups for tap in group.taps]
        return respond(self._placed, moved, taps, reading, stretch)

    @cached_property
    def _placed(self) -> Program | nn.Module:
        """What runs, on the subject's device."""
        device = self.subject.device
        return model_on(self.subject.model, device) if self.program is None else self.program.on(device)

    def moments(self, batches: Iterable[Batch]) -> dict[str, Shards]:
        """Node -> moments of its jackknife folds."""
        return responses(self.layers, self.groups, self.read(batches, Stretch(watch=self.watch)))


class MeasurementBackend(Protocol):
    """Who measures."""

    def moments(self, probe_pass: ProbePass, batches: Iterable[Batch]) -> Mapping[str, Shards]:
        """What a pass over the probe gives.

        Args:
            probe_pass: what is read.
            batches: the probe's, each reported as it is read.
        """
        ...

    def score(
        self, subject: Subject, model: nn.Module, *, in_parts: bool = False, kept: KeptOutputs | None = None
    ) -> Score:
        """What a model scores on the subject's evaluation; see `evaluation.score`.

        Args:
            subject: with its evaluation.
            model: full or compressed.
            in_parts: see `evaluation.score`.
            kept: takes the answers of the full model; those of any other are compared with it.

        Raises:
            DataError: the subject has no evaluation.
        """
        ...


class LocalBackend:
    """This process measures alone."""

    def moments(self, probe_pass: ProbePass, batches: Iterable[Batch]) -> Mapping[str, Shards]:
        """Run the model on all batches."""
        return probe_pass.moments(batches)

    def score(
        self, subject: Subject, model: nn.Module, *, in_parts: bool = False, kept: KeptOutputs | None = None
    ) -> Score:
        """Score all batches."""
        placed, batches, metric = model_on(model, subject.device), evaluation_of(subject), subject.metric
        full = model is subject.model
        if kept is not None and isinstance(metric, str):
            return score_of(watched_outcomes(placed, (batches, metric), kept, full=full))
        if kept is not None and kept.of_any_metric:
            return score_with_answers(placed, (batches, metric), kept, full=full, in_parts=in_parts)
        return score(placed, batches, metric, in_parts=in_parts)


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
        kept: the answers of the full model, from the pass that scored it.
    """

    config: GateConfig
    subject: Subject
    stages: Stages
    backend: MeasurementBackend = LOCAL
    kept: KeptOutputs = field(default_factory=KeptOutputs)
