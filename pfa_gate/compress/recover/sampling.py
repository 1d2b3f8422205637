"""What one layer is to learn: rows drawn until more of them would not help, and the fit they give.

PYTEST_DONT_REWRITE
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from pfa_gate.compress.recover.layer_pairs import LayerPair
from pfa_gate.compress.recover.rectifier_targets import Rows, RowSample, rectify
from pfa_gate.compress.recover.refit import Fit, LinearLayer, refit
from pfa_gate.compress.recover.staged_run import Values
from pfa_gate.compress.recover.target import LayerTarget, aim
from pfa_gate.compress.regress import FOLDS, Equations, draw, matrix_of, places
from pfa_gate.graph import Program
from pfa_gate.graph.program import shape_of

FIRST, LAST = 48, 256  # rows for each column: where drawing begins, and beyond which it does not go
FEWEST = 768  # samples that the rows come from, however few there are of these
SCARCE = 8  # rows for each column, for which other samples are asked from the beginning
GAP = 0.05  # share of the held-out error that more rows might take away, up to which they are not drawn
SAMPLES_GAP = 0.15  # the same where other samples would have to be asked, which costs far more


@dataclass
class RowSampler:
    """The rows of one layer so far.

    Args:
        aim: how its target is made.
        layer: its weights as they are.
        rows: wanted.
        places: that there are in each sample.
        most: samples there are.
        seed: of the positions.
    """

    aim: LayerTarget
    layer: LinearLayer
    rows: int
    places: int
    most: int
    seed: int
    _positions: int = 0
    _drawn: dict[int, int] = field(default_factory=dict, init=False)
    _equations: Equations = field(init=False)
    _sample: RowSample = field(init=False)
    _linear: Fit | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        groups, columns, filters = self.layer.weights.shape
        self._equations = Equations(groups, columns, filters, self.layer.weights.device)
        self._sample = RowSample(self.aim.small.scale.reshape(self.layer.offset.shape), self._equations)

    @classmethod
    def of(cls, program: Program, full: Program, pair: LayerPair, samples: int, seed: int) -> "RowSampler":
        """The lesson of one layer, for a probe of so many samples."""
        found, call = aim(program, full, pair), pair.small
        weights = matrix_of(call, program.tensors[call.weight]).double()
        groups, columns, filters = weights.shape
        bias = weights.new_zeros(groups * filters) if call.bias is None else program.tensors[call.bias]
        centred = call.bias is not None or found.small.mean is not None
        importance = found.small.scale.square().reshape(groups, filters)
        layer = LinearLayer(weights, bias.double().reshape(groups, filters), importance, centred)
        there = places(call, shape_of(pair.whole.node))
        rows = min(FIRST * columns, max(SCARCE * columns, FEWEST * there))
        return cls(found, layer, rows, there, samples, seed)

    @property
    def samples(self) -> int:
        """How many samples it wants to see."""
        return min(self.most, max(FEWEST, math.ceil(self.rows / self.places)))

    def ready(self, samples: int) -> None:
        """Say how many samples there will be."""
        self._positions = max(self._positions, min(self.places, math.ceil(self.rows / samples)))
        self.rows = max(self.rows, self._positions * samples)

    def add(self, batch: int, values: Sequence[Values]) -> None:
        """Draw rows from one batch of the compressed and the full stream, beside those drawn before."""
        samples = len(values[0][self.aim.pair.small.source.name])
        drawn = draw(samples, self.places, self._positions, self.seed + batch)[:, self._drawn.get(batch, 0) :]
        self._drawn[batch] = self._positions
        if not drawn.numel():
            return
        # A fold is a run of samples, so that no row is copied; turned by the batch, as a batch may be one sample.
        runs = [len(run) * drawn.shape[1] for run in torch.arange(samples).tensor_split(FOLDS)]
        for place, rows in enumerate(self.aim.rows(values, drawn).split(runs)):
            if rows.read.numel():
                self._take(rows, (batch + place) % FOLDS)

    def _take(self, rows: Rows, fold: int) -> None:
        read = self._equations.add(rows.read, rows.target, fold)
        if self.aim.small.rectified:
            self._sample.add(replace(rows, read=read), held=fold == 0)

    def learnt(self) -> bool:
        """Whether the rows suffice: there are no more, or more would not help."""
        self._linear = refit(self._equations, self.layer, None if self._linear is None else self._linear.ridge)
        exhausted = self.rows >= min(LAST * self.layer.weights.shape[1], self.places * self.most)
        others = 2 * self.rows > self.places * self.samples
        return exhausted or self._linear.gap <= (SAMPLES_GAP if others else GAP)

    def ask_more(self) -> None:
        """Want twice the rows."""
        self.rows *= 2

    def fit(self) -> Fit:
        """The layer solved on the rows there are."""
        linear = self._linear
        assert linear is not None
        if not self.aim.small.rectified:
            return linear
        return rectify(self._sample, self.layer, linear)
