"""What one layer is to learn: rows drawn until more of them would not help, and the fit they give."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from pfa_gate.coupling import Program
from pfa_gate.coupling.program import shape_of
from pfa_gate.readers import FOLDS, Equations, draw, matrix_of, places
from pfa_gate.recovery.pairs import Pair
from pfa_gate.recovery.rectify import Sample, rectify
from pfa_gate.recovery.refit import Fit, Layer, refit
from pfa_gate.recovery.stream import Values
from pfa_gate.recovery.target import Aim, aim

FIRST, LAST = 16, 256  # rows for each column: where drawing begins, and beyond which it does not go
WORTH = 0.02  # twice the rows must lower the held-out error by this share, or the next are not drawn


@dataclass
class Lesson:
    """The rows of one layer so far.

    Args:
        aim: how its target is made.
        layer: its weights as they are.
        positions: drawn in each sample.
        places: that there are in each sample.
        most: positions in each sample that are never exceeded.
        seed: of the positions.
    """

    aim: Aim
    layer: Layer
    positions: int
    places: int
    most: int
    seed: int
    _equations: Equations = field(init=False)
    _sample: Sample = field(init=False)
    _linear: list[Fit] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._begin()

    @classmethod
    def of(cls, program: Program, full: Program, pair: Pair, samples: int, seed: int) -> "Lesson":
        """The lesson of one layer, for a probe of so many samples."""
        found, call = aim(program, full, pair), pair.small
        weights = matrix_of(call, program.tensors[call.weight]).double()
        groups, columns, filters = weights.shape
        bias = torch.zeros(groups * filters) if call.bias is None else program.tensors[call.bias]
        centred = call.bias is not None or found.small.mean is not None
        importance = found.small.scale.square().reshape(groups, filters)
        layer = Layer(weights, bias.double().reshape(groups, filters), importance, centred)
        there = places(call, shape_of(pair.whole.node))
        positions = min(there, max(1, math.ceil(FIRST * columns / samples)))
        return cls(found, layer, positions, there, max(positions, LAST * columns // samples), seed)

    def add(self, batch: int, values: Sequence[Values]) -> None:
        """Draw rows from one batch of the compressed and the full stream."""
        samples = len(values[0][self.aim.pair.small.source.name])
        generator = torch.Generator().manual_seed(self.seed + batch)
        drawn = draw(samples, self.places, self.positions, generator)
        folds = (torch.arange(samples) % FOLDS)[:, None].expand(drawn.shape).flatten()
        rows = self.aim.rows(values, drawn, folds)
        self._equations.add(rows.read, rows.target, folds)
        if self.aim.small.rectified:
            self._sample.add(rows)

    def learnt(self) -> bool:
        """Whether the rows suffice: there are no more, or the last ones did not help."""
        self._linear.append(refit(self._equations, self.layer))
        exhausted = self.positions >= min(self.places, self.most)
        errors = [fit.after for fit in self._linear[-2:]]
        return exhausted or (len(errors) == 2 and errors[1] > (1 - WORTH) * errors[0])

    def restart(self) -> None:
        """Forget the rows and ask for twice as many."""
        self.positions = min(self.places, self.most, 2 * self.positions)
        self._begin()

    def fit(self) -> Fit:
        """The layer solved on the rows there are."""
        linear = self._linear[-1]
        if not self.aim.small.rectified:
            return linear
        scale = self.aim.small.scale.reshape(self.layer.offset.shape)
        return rectify(self._sample, self._equations, self.layer, scale, linear)

    def _begin(self) -> None:
        self._equations, self._sample = Equations(*self.layer.weights.shape), Sample()
