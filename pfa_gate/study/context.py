"""What all trials of a task share: the traced model, its spectra, and one removal order for each selection."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt

import torch
from torch import Tensor

from pfa_gate.compress.select import Evidence, Orders, criterion
from pfa_gate.config import GateConfig
from pfa_gate.errors import DataError, LabelsError
from pfa_gate.graph.cost import Cost
from pfa_gate.model import Batch, Batches, Subject
from pfa_gate.model.evaluation import KeptOutputs, Score
from pfa_gate.pipeline.job import LOCAL, GateJob, Stages
from pfa_gate.pipeline.measure_and_cut import measure
from pfa_gate.pipeline.plan import MeasuredGraph, plan_recipe
from pfa_gate.pipeline.spectra import Spectra
from pfa_gate.pipeline.trace import ModelGraph, Traced
from pfa_gate.recipe import Recipe
from pfa_gate.record.study import Task
from pfa_gate.study.options import with_strategy
from pfa_gate.study.recipes import RecipeSpace

WHOLE = "all"


@dataclass(frozen=True)
class TaskContext:
    """A task with everything that its trials have in common.

    Attributes:
        task: its name and size.
        config: the gate.
        subject: the full model, with the data of this task.
        graph: of the full model.
        spectra: on this task's probe.
        full: what the full model costs.
        kept: its answers, with which those of every trial are compared.
    """

    task: Task
    config: GateConfig
    subject: Subject
    graph: ModelGraph
    spectra: Spectra
    full: Cost
    kept: KeptOutputs = field(default_factory=KeptOutputs, repr=False)
    _orders: dict[tuple[str, int], Orders] = field(default_factory=dict, repr=False)

    @property
    def filters(self) -> int:
        """Filters of all groups that may be cut."""
        return sum(spectrum.filters for spectrum in self.spectra.groups.values())

    @property
    def space(self) -> RecipeSpace:
        """Which counts a recipe may give here."""
        widths = {name: spectrum.filters for name, spectrum in self.spectra.groups.items()}
        wanted = self.config.recipe
        return RecipeSpace(widths, self.parameters, wanted.round_to, wanted.minimum)

    def parameters(self, keep: Mapping[str, int]) -> float:
        """Parameters of the model with these counts, exactly."""
        return float(self.graph.coupling.footprint(keep).parameters)

    def plan(self, strategy: str) -> Recipe:
        """The recipe of a strategy."""
        measured = MeasuredGraph(self.graph, self.spectra, self.full)
        return plan_recipe(with_strategy(self.config, strategy), self.subject, measured)

    def orders(self, selection: str, seed: int) -> Orders:
        """The removal orders of a selection, made on first need."""
        key = selection, seed
        if key not in self._orders:
            groups = [group for group in self.graph.coupling.groups if group.name in self.spectra.groups]
            first = self.config.probe.seed + seed
            evidence = Evidence(
                self.graph.program, groups, self.spectra.groups, self.subject.probe, first, self.subject.device
            )
            self._orders[key] = criterion(selection)(evidence)
        return self._orders[key]


def task_contexts(
    config: GateConfig, subject: Subject, domains: Sequence[tuple[int, ...]], stages: Stages
) -> Iterator[TaskContext]:
    """The whole task, then each domain; with a domain the whole one is there for its recipes alone."""
    with stages.stage("tracing", "model", "factory"):
        graph = ModelGraph.of(subject.model, subject.example, config.recipe.residual)
    yield _context(GateJob(config, subject, stages), graph, WHOLE, not domains)
    for classes in domains:
        job = GateJob(config, restricted(subject, classes), stages)
        yield _context(job, graph, ",".join(map(str, classes)), True)


def _context(job: GateJob, graph: ModelGraph, name: str, studied: bool) -> TaskContext:
    measured = measure(job, Traced(tuple(graph.coupling.layers), graph))
    kept = KeptOutputs(everything=True, of_any_metric=True)
    with job.stages.stage("scoring", "evaluation", "metric"):
        found = scored(job.subject, job.subject.model, kept)
    task = Task(name, studied, job.subject.probe.samples, 0)
    if found is not None:
        stderr = None if found.outcomes is None else stderr_of(found.value, found.samples)
        task = replace(task, evaluation=found.samples, accuracy=found.value, stderr=stderr)
    return TaskContext(task, job.config, job.subject, graph, measured.spectra, measured.cost, kept)


def scored(subject: Subject, model: torch.nn.Module, kept: KeptOutputs) -> Score | None:
    """A model's score, with its answers against those that were kept; None without an evaluation."""
    return None if subject.evaluation is None else LOCAL.score(subject, model, kept=kept)


def stderr_of(hits: float, samples: int) -> float | None:
    """Standard error of a share of hits; None for a single sample.

    Example:
        >>> stderr_of(0.5, 101)
        0.05
    """
    return sqrt(hits * (1 - hits) / (samples - 1)) if samples > 1 else None


def restricted(subject: Subject, classes: tuple[int, ...]) -> Subject:
    """The same model with the samples of some classes alone, in probe and evaluation.

    Raises:
        LabelsError: the data has no labels, or none that are whole numbers.
        DataError: one of the classes has no sample.
    """
    probe = _only(subject.probe, classes)
    evaluation = None if subject.evaluation is None else _only(subject.evaluation, classes)
    return replace(subject, probe=probe, evaluation=evaluation, example=probe.example())


def _only(batches: Batches, classes: tuple[int, ...]) -> Batches:
    wanted = torch.tensor(classes)

    def source() -> Iterator[Batch]:
        # Each batch of the whole draws as it would in the whole task, so that a sample is the same in both.
        for batch in batches:
            rows = torch.isin(_labels(batch, batches), wanted).nonzero().flatten()
            if len(rows):
                yield batch.take(rows)

    found = {int(label) for batch in batches for label in _labels(batch, batches).tolist()}
    missing = [str(each) for each in classes if each not in found]
    if missing:
        raise DataError(
            f"'{batches.name}' has no sample of class {', '.join(missing)}.",
            remedy=f"Its classes are {', '.join(map(str, sorted(found)))}.",
            where=batches.where,
        )
    return Batches(batches.name, source, batches.seed, batches.where)


def _labels(batch: Batch, batches: Batches) -> Tensor:
    labels = batch.labels
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.shape != (batch.size,):
        raise LabelsError(
            f"'{batches.name}' has no class for each sample, so it cannot be restricted to a domain.",
            remedy="Give batches (inputs, labels), or arrays named images and labels.",
            where=batches.where,
        )
    return labels
