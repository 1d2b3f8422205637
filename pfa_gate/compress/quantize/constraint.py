"""Few bits as a constraint on layers that are solved one after the other: each makes good what those before it lost."""

from collections.abc import Mapping

import torch
from torch import Tensor

from pfa_gate.compress.quantize.error_feedback import fed_back
from pfa_gate.compress.quantize.grid import Rounded, Width, is_sparse, rounded
from pfa_gate.compress.regress import Sums
from pfa_gate.graph.calls import Call, matrix_of, weight_of


class FewBits:
    """Rounds each layer of a plan as it is solved, with error feedback, and keeps its numbers and scales.

    Args:
        plan: layer -> width of its weight, for layers whose filters lie along the first axis of their weight.
        weights: layer -> its weight as it was; what is zero there in a filter that is not stays so.
    """

    def __init__(self, plan: Mapping[str, Width], weights: Mapping[str, Tensor]) -> None:
        self._plan, self._weights = plan, weights
        self.rounded: dict[str, Rounded] = {}

    def wants(self, layer: str) -> bool:
        """Whether the layer gets few bits."""
        return layer in self._plan

    def constrained(self, call: Call, weights: Tensor, sums: Sums) -> Tensor:
        """The weights that are stored; see `Constraint`."""
        return self.stored(call, weights, sums.gram)

    def stored(self, call: Call, weights: Tensor, gram: Tensor) -> Tensor:
        """The weights of a layer as they are stored.

        Args:
            call: of the layer.
            weights: float64 [groups, D, O], free.
            gram: float64 [groups, D, D], of what it reads.
        """
        before = self._weights[call.layer]
        shape, width = tuple(before.shape), self._plan[call.layer]
        near = rounded(weight_of(call, weights, shape), width, sparse=is_sparse(before))
        scale = near.scale.double().to(weights.device).reshape(call.groups, -1)
        zero = matrix_of(call, before == 0).to(weights.device) if near.grid.has_zero and is_sparse(before) else None
        found = [
            fed_back(weights[group], gram[group], near.grid, scale[group], None if zero is None else zero[group])
            for group in range(call.groups)
        ]
        numbers, scales = torch.stack([each[0] for each in found]), torch.stack([each[1] for each in found])
        whole = weight_of(call, numbers, shape).to(torch.int16).cpu()
        self.rounded[call.layer] = Rounded(near.grid, whole, scales.flatten().float().cpu())
        return matrix_of(call, self.rounded[call.layer].weight(before.dtype)).to(weights)
