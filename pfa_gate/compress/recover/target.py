"""What a layer of the compressed model should make: the full model's output, and the drift of the stream it joins."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pfa_gate.compress.recover.layer_pairs import LayerPair
from pfa_gate.compress.recover.rectifier_targets import Rows
from pfa_gate.compress.recover.staged_run import Values
from pfa_gate.compress.regress import Epilogue, outputs
from pfa_gate.compress.regress.patches import patches
from pfa_gate.graph import Program
from pfa_gate.graph.epilogue import epilogue_of


@dataclass(frozen=True)
class LayerTarget:
    """How the target of one layer is made from the two streams.

    What follows the layer maps its output y to scale y + shift in the compressed model, and to
    `whole.scale` y + `whole.shift` in the full one; both then meet the other operand of a sum, if there is one.

    Attributes:
        pair: the layer.
        small, whole: what follows it, whole restricted to the filters that are left.
    """

    pair: LayerPair
    small: Epilogue
    whole: Epilogue

    def rows(self, values: Sequence[Values], positions: Tensor) -> Rows:
        """What the layer reads and should make at some positions.

        Args:
            values: of the compressed and of the full stream.
            positions: int64 [N, P].
        """
        small, whole = values
        call = self.pair.small
        output = whole[self.pair.whole.node.name]
        read = patches(call, small[call.source.name], tuple(output.shape), positions)
        made = self._left(outputs(call, output, positions))
        usable = self.small.scale.abs() > 1e-6 * self.small.scale.abs().max()
        scale = torch.where(usable, self.small.scale, 1.0)
        shift = (self.whole.shift - self.small.shift).to(made.dtype)
        wanted = made * self.whole.scale.to(made.dtype) + shift
        rest = self.small.shift.to(made.dtype)
        if self.pair.drift is not None:
            added = self._left(outputs(call, small[self.pair.drift[0].name], positions))
            wanted += self._left(outputs(call, whole[self.pair.drift[1].name], positions)) - added
            rest = rest + added
        target = torch.where(usable, wanted / scale.to(made.dtype), made)
        return Rows(read, self._grouped(target), self._grouped(rest.expand_as(target)))

    def _left(self, flat: Tensor) -> Tensor:
        """Of [n, filters] those filters that are left, [n, filters left]; in single precision where it was less."""
        rows = flat.to(torch.promote_types(flat.dtype, torch.float32))
        filters = self.pair.filters
        return rows if filters is None or rows.shape[1] == len(filters) else rows[:, filters]

    def _grouped(self, rows: Tensor) -> Tensor:
        groups = self.pair.small.groups
        return rows.reshape(len(rows), groups, -1).transpose(0, 1).contiguous()


def aim(program: Program, full: Program, pair: LayerPair) -> LayerTarget:
    """The aim of one layer; what follows it is read off both programs as they are now."""
    whole = epilogue_of(full, pair.whole)
    if pair.filters is not None:
        whole = replace(whole, scale=whole.scale[pair.filters], shift=whole.shift[pair.filters])
    return LayerTarget(pair, epilogue_of(program, pair.small), whole)
