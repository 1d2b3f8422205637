"""One group cut alone: the full model with zeros for its removed filters, and its readers refitted in closed form.

What the readers read is known from one pass of the full model. Nothing before a group changes when it is cut alone, so
no other pass is needed, however many counts are tried. A channel that goes is a zero here: a layer that normalises
across channels still counts it.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pfa_gate.compress.prune import AxisIndices, axis_indices_of
from pfa_gate.compress.prune.silence import silent_program
from pfa_gate.compress.recover.refit import factored
from pfa_gate.compress.select import Evidence, Orders, Reading, group_readings, keep_last
from pfa_gate.graph import Coupling, Program
from pfa_gate.graph.calls import epilogue_of, matrix_of, weight_of

_RIDGE = 1e-3  # relative to the mean diagonal; compensation looks for the best one, and finds about this


class GroupCuts:
    """The full model with one of its groups cut and compensated.

    Args:
        evidence: the full model, and the batches on which readers are refitted.
        coupling: of the full model.
        orders: for each group its filters in the order in which they are removed.

    Example:
        >>> from pfa_gate.graph import record_model, trace_program
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)).eval()
        >>> program = record_model(net, (torch.zeros(2, 4),), {})
        >>> coupling, rows = trace_program(program), torch.randn(256, 4)
        >>> cuts = GroupCuts(Evidence(program, coupling.free, {}, [rows]), coupling, {"0": np.arange(8)})
        >>> whole, cut = (cuts.program("0", count).run((rows,), {}) for count in (8, 6))
        >>> torch.allclose(whole, net(rows)), float((cut - whole).detach().abs().mean()) < 0.2
        (True, True)
    """

    def __init__(self, evidence: Evidence, coupling: Coupling, orders: Orders) -> None:
        self._evidence, self._coupling, self._orders = evidence, coupling, orders

    @property
    def full(self) -> Program:
        """The full model's program, on the device."""
        return self._evidence.running

    @cached_property
    def _readings(self) -> Mapping[str, Sequence[Reading]]:
        return group_readings(self._evidence)

    def program(self, group: str, count: int) -> Program:
        """The program, on the device, with so many filters of one group left and the layers that read it refitted.

        Args:
            group: its name.
            count: filters that stay, the last of its order.
        """
        kept = keep_last(self._orders, {group: count}).indices[group]
        program, axes = self._evidence.program, axis_indices_of(self._coupling, {group: kept})
        width = len(self._orders[group])
        gone = torch.from_numpy(np.setdiff1d(np.arange(width), kept))
        instead: dict[str, Tensor] = {}
        for reading in self._readings[group] if len(gone) else ():
            instead |= _refitted(program, reading, gone)
        return silent_program(program, axes, precision_of(program), instead).on(self._evidence.device)

    def axes(self, group: str, count: int) -> AxisIndices:
        """What stays of each parameter."""
        return axis_indices_of(self._coupling, keep_last(self._orders, {group: count}).indices)


def precision_of(program: Program) -> torch.dtype:
    """Double where it holds a tensor of that, else single."""
    double = any(tensor.dtype == torch.float64 for tensor in program.tensors.values() if isinstance(tensor, Tensor))
    return torch.float64 if double else torch.float32


def _refitted(program: Program, reading: Reading, gone: Tensor) -> dict[str, Tensor]:
    """The weight of a reader, and the bias or mean that takes its new offset, when some filters are gone."""
    call, matrix = reading.call, reading.matrix
    if call.fault:
        return {}
    stored = program.tensors[call.weight]
    weights = matrix_of(call, stored.detach().double().cpu())
    lost = torch.zeros(weights.shape[1], dtype=torch.bool)
    lost[matrix.columns[gone].flatten()] = True
    left, out = (~lost).nonzero().flatten(), lost.nonzero().flatten()
    gram = matrix.gram[:, left[:, None], left]
    factor = factored(gram, _RIDGE)
    if factor is None or not len(left):
        return {}
    # The targets are the layer's own outputs, so what is missing is what the filters gone contributed.
    missing = matrix.gram[:, left[:, None], out] @ weights[:, out]
    fresh = torch.zeros_like(weights)
    fresh[:, left] = weights[:, left] + torch.cholesky_solve(missing, factor)
    found = {call.weight: weight_of(call, fresh, tuple(stored.shape)).to(stored.dtype)}
    offset = (reading.mean[:, None] @ (weights - fresh))[:, 0].flatten()
    mean = epilogue_of(program, call).mean
    name, sign = (call.bias, 1) if call.bias is not None else (mean, -1)
    if name is not None:
        held = program.tensors[name]
        found[name] = (held.detach().double().cpu() + sign * offset).to(held.dtype)
    return found
