"""How far a model's answers move when one group alone is cut and compensated, at several counts."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pfa_gate.compress.select import Evidence, criterion, reader_losses
from pfa_gate.compress.sensitivity import GroupCuts
from pfa_gate.graph import Coupling
from pfa_gate.model import Batches
from pfa_gate.pipeline.answer_distance import AnswerDistance, Effect, Split
from pfa_gate.record.sensitivity import counts_at

CURVE = (0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125)  # of the filters, at which a group's curve is measured
Progress = Callable[[int, int], None]


class Sensitivity:
    """Divergence of the answers when one group alone is cut and its readers are refitted.

    Args:
        evidence: the full model with all of the probe.
        coupling: of the full model.
        selection: which filters stay.
    """

    def __init__(self, evidence: Evidence, coupling: Coupling, selection: str) -> None:
        whole = evidence.batches
        if not isinstance(whole, Batches):
            raise TypeError("The probe is not a data set that can be read again.")
        self.split = Split.of(whole)
        self._evidence = replace(evidence, batches=self.split.fitted, kept=None)
        self._coupling, self._selection = coupling, selection

    @cached_property
    def _cuts(self) -> GroupCuts:
        return GroupCuts(self._evidence, self._coupling, criterion(self._selection)(self._evidence))

    @cached_property
    def _answers(self) -> AnswerDistance:
        return AnswerDistance(self._cuts.full, self.split.judged, self._evidence.runs)

    @property
    def samples(self) -> int:
        """How many samples answers are compared on."""
        return self._answers.samples

    @property
    def measure(self) -> str:
        """Divergence, or output error where there are no class scores."""
        return self._answers.measure

    def at(self, group: str, count: int) -> Effect:
        """How far the answers move with so many filters of a group left."""
        return self._answers.to(self._cuts.program(group, count))

    def curves(
        self, counts: Mapping[str, Sequence[int]], progress: Progress | None = None
    ) -> dict[str, dict[int, Effect]]:
        """For each group its effect at each count.

        Args:
            counts: group name -> filters that stay.
            progress: called with how many are done, of how many.
        """
        total, done = sum(map(len, counts.values())), 0
        found: dict[str, dict[int, Effect]] = {}
        for group, each in counts.items():
            found[group] = {}
            for count in each:
                found[group][count] = self.at(group, count)
                done += 1
                if progress is not None:
                    progress(done, total)
        return found


def losses_of(curve: Mapping[int, float], width: int) -> npt.NDArray[np.float64]:
    """What each removal costs beyond those before it, from a curve that is known at some counts, float64 [width].

    Between two counts the root is a straight line: the changes themselves add up.
    A curve that falls is noise, and is held level.

    Example:
        >>> losses_of({2: 0.04, 1: 0.16}, 4).round(3).tolist()
        [0.01, 0.03, 0.12, 0.2]
    """
    counts = sorted(curve, reverse=True)
    roots = np.maximum.accumulate([0.0, *(math.sqrt(max(0.0, curve[count])) for count in counts)])
    removed = [0, *(width - count for count in counts)]
    places = np.arange(width + 1)
    values = np.interp(places, removed, roots)
    if len(counts) > 1 and removed[-1] < width:
        slope = (roots[-1] - roots[-2]) / (removed[-1] - removed[-2])
        beyond = places > removed[-1]
        values[beyond] = roots[-1] + slope * (places[beyond] - removed[-1])
    return np.diff(np.square(values))


def measured_losses(
    evidence: Evidence, coupling: Coupling, selection: str, progress: Progress | None = None
) -> dict[str, npt.NDArray[np.float64]]:
    """For each group what is lost with every further filter removed, for a recipe by losses.

    It is the geometric mean of two: how far the class scores move when the group alone is cut and compensated, and the
    share of its readers' outputs that is lost. The first one knows what the answers are worth, and nothing of what the
    layers further on repair; of the second one it is the other way round. Both together do better than each of them.

    Args:
        evidence: the full model with all of the probe.
        coupling: of the full model.
        selection: the order in which filters go.
        progress: called with how many cuts are judged, of how many.
    """
    sensitivity = Sensitivity(evidence, coupling, selection)
    widths = {group.name: group.width for group in evidence.groups}
    counts = {name: counts_at(width, CURVE) for name, width in widths.items()}
    curves = sensitivity.curves({name: each for name, each in counts.items() if each}, progress)
    squares = {name: {count: effect.square for count, effect in curve.items()} for name, curve in curves.items()}
    measured = {name: losses_of(curve, widths[name]) for name, curve in squares.items()}
    read = reader_losses(evidence)
    return {name: _between(losses, read.get(name)) for name, losses in measured.items()}


def _between(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64] | None) -> npt.NDArray[np.float64]:
    """The losses whose sums are the geometric means of the sums of both; one of them where the other is unknown."""
    if other is None:
        return one
    sums = np.sqrt(np.cumsum(np.maximum(one, 0.0)) * np.cumsum(np.maximum(other, 0.0)))
    return np.diff(sums, prepend=0.0)
