"""How far the answers of a changed program are from those of the program that it was, on held-out samples."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from pfa_gate.errors import DataError, MetricError
from pfa_gate.graph import Program, inputs_of
from pfa_gate.graph.layout import fastest_layout
from pfa_gate.model import Batch, Batches
from pfa_gate.model.device import inputs_on
from pfa_gate.model.evaluation import class_scores
from pfa_gate.model.evaluation.answers import Answering
from pfa_gate.model.evaluation.output_error import OutputErrors
from pfa_gate.model.held_out import BLOCK, held_out_apart

MOST = 512  # samples that are judged on
FEWEST = 16


@dataclass(frozen=True)
class Split:
    """The probe in two: on `fitted` readers are refitted, on `judged` answers are compared."""

    fitted: Batches
    judged: Batches

    @classmethod
    def of(cls, probe: Batches, most: int = MOST) -> "Split":
        """One of every five samples is judged on, up to so many of them, whatever the batches.

        Raises:
            DataError: there are too few.

        Example:
            >>> from pfa_gate.model import Sampling, batches_of
            >>> split = Split.of(batches_of(torch.zeros(100, 2), "zeros", Sampling(batch_size=30)))
            >>> split.fitted.samples, split.judged.samples
            (80, 20)
        """
        fitted, judged = held_out_apart(probe)
        if judged.samples < FEWEST:
            raise DataError(
                f"The probe has {probe.samples:,} samples, and answers are compared on every fifth of them.",
                remedy=f"Give at least {BLOCK * FEWEST}.",
                where=probe.where,
            )

        def first() -> Iterator[Batch]:
            left = most
            for batch in judged:
                if left > 0:
                    yield batch.take(slice(left))
                left -= batch.size

        return cls(fitted, replace(judged, source=first))


class AnswerDistance:
    """Answers of programs against those of one program, on samples that are read once.

    Args:
        program: on the device; whose answers others are compared with.
        batches: that are judged on.
        runs: a batch, or its parts of the size that the program takes.
    """

    def __init__(self, program: Program, batches: Batches, runs: Callable[[Any], Iterator[Any]]) -> None:
        self._program, self._batches, self._runs = program, batches, runs
        self._layout = fastest_layout(program)
        self.measure = "divergence"

    @cached_property
    def _judged(self) -> list[tuple[Batch, object]]:
        """The batches, each as the program takes it, and what the program gives."""
        parts = [part for batch in self._batches for part in self._runs(batch)]
        if not parts:
            size = self._program.batch
            raise DataError(
                f"The model takes {size} samples at a time, and the probe has fewer to compare answers on.",
                remedy=f"Give at least {BLOCK * size}.",
            )
        return [(part, self._run(self._program, part)) for part in parts]

    @property
    def samples(self) -> int:
        """How many samples answers are compared on."""
        return sum(batch.size for batch, _ in self._judged)

    def _run(self, program: Program, batch: Batch) -> object:
        given = inputs_on(inputs_of(batch), self._program.device)
        # A model of half precision runs in single here: its tensors are, and its inputs have to be.
        args, kwargs = self._layout.of(given if program.halves else pytree.tree_map(_single, given))
        with torch.no_grad():
            return program.run(args, kwargs, None, self._layout.instead)

    def to(self, program: Program) -> "Effect":
        """How far the answers of another program of the same graph are, on the same device."""
        answering, errors = Answering(), OutputErrors()
        squares = 0.0
        for batch, full in self._judged:
            other = self._run(program, batch)
            errors.update(full, other, answering.samples)
            answering.update(batch, full, other)
            squares += _squares(full, other)
        found, error = answering.comparison(""), errors.largest().value
        if found.divergences is not None:
            return Effect(float(found.divergences.mean()), squares / found.samples)
        self.measure = "output error"
        return Effect(error, error**2)


def _single(leaf: Any) -> Any:
    half = isinstance(leaf, Tensor) and leaf.dtype in (torch.float16, torch.bfloat16)
    return leaf.float() if half else leaf


@dataclass(frozen=True)
class Effect:
    """How far the answers of a model are from those of the full one.

    Attributes:
        distance: mean divergence in nats, infinite if an answer is ruled out; the error of the outputs where there are
            no class scores.
        square: mean squared change of the class scores about their mean, or the squared error of the outputs.
            Divergence grows with it, but is that of a few samples where the full model is sure of most; this one adds
            up over groups.
    """

    distance: float
    square: float


def _squares(full: object, other: object) -> float:
    """Summed over samples: the squared change of the class scores, about its mean over classes."""
    try:
        step = class_scores(other).double() - class_scores(full).double()
    except MetricError:
        return 0.0
    return float((step - step.mean(-1, keepdim=True)).square().sum())
