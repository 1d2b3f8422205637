"""Selection by the importance of each filter alone: norms of weights, batch-norm scales, gradients, and chance.

The least important filters go first. `taylor` alone needs labels and gradients (Molchanov et al. 2017).
"""

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node
from torch.nn import functional
from torch.utils import _pytree as pytree

from pfa_gate.compress.select.selection import Evidence, Orders
from pfa_gate.errors import LabelsError
from pfa_gate.graph import Group, Program, Slice, Tap, inputs_of
from pfa_gate.graph.calls import Call, calls, epilogue_of
from pfa_gate.graph.group import OTHER_GROUP, Indices
from pfa_gate.model.device import inputs_on

Importance = Callable[[Tensor], Tensor]


def l1(evidence: Evidence) -> Orders:
    """Filters by the L1 norm of their weights, smallest first (Li et al. 2017, the paper's rival FP).

    Example:
        >>> from pfa_gate.graph import record_model, trace_program
        >>> net = torch.nn.Sequential(torch.nn.Linear(1, 3, bias=False), torch.nn.Linear(3, 2))
        >>> net[0].weight.data = torch.tensor([[2.0], [-3.0], [1.0]])
        >>> program = record_model(net, (torch.zeros(2, 1),), {})
        >>> l1(Evidence(program, trace_program(program).groups[:1], {}, []))["0"].tolist()
        [2, 0, 1]
    """
    return _by(evidence, lambda rows: rows.abs().sum(1))


def geometric_median(evidence: Evidence) -> Orders:
    """Filters by the sum of their distances to all others of the layer, nearest first (FPGM, He et al. 2019)."""
    return _by(evidence, lambda rows: torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").sum(1))


def batchnorm(evidence: Evidence) -> Orders:
    """Filters by |scale| of the batch norm that follows, smallest first (network slimming, Liu et al. 2017).

    A layer without one counts by the L1 norm of its weights.
    """
    return {group.name: _order(_shared(evidence.program, group, _scales)) for group in evidence.groups}


def _by(evidence: Evidence, importance: Importance) -> Orders:
    def of(program: Program, _call: Call | None, part: Slice) -> Tensor:
        return importance(_rows(program, part))

    return {group.name: _order(_shared(evidence.program, group, of)) for group in evidence.groups}


def _scales(program: Program, call: Call | None, part: Slice) -> Tensor:
    scale = None if call is None else epilogue_of(program, call).weight
    return _rows(program, part).abs().sum(1) if scale is None else program.tensors[scale].double().abs()


def _rows(program: Program, part: Slice) -> Tensor:
    """The weight as one row for each filter, float64."""
    return program.tensors[part.parameter].double().movedim(part.axis, 0).flatten(1)


def _shared(program: Program, group: Group, of: Callable[[Program, Call | None, Slice], Tensor]) -> Tensor:
    """The mean over the group's makers of each one's importance, divided by its own mean so that all count alike."""
    total = torch.zeros(group.width, dtype=torch.float64)
    for call, part in _makers(program, group):
        own, filters = of(program, call, part), part.filters
        mine = torch.from_numpy(np.flatnonzero(filters != OTHER_GROUP))
        values = own[mine] / own[mine].mean().clamp_min(torch.finfo(torch.float64).tiny)
        total.index_add_(0, torch.from_numpy(filters[filters != OTHER_GROUP]), values)
    return total


def _makers(program: Program, group: Group) -> Iterator[tuple[Call | None, Slice]]:
    """Each weight that makes the group's filters, with its first call as a convolution or linear layer.

    The weights of recurrent layers and of experts have none.
    """
    parts = {(part.parameter, part.axis): part for part in group.slices}
    seen: set[str] = set()
    for call in calls(program):
        part = parts.get((call.weight, call.outputs))
        if part is not None and call.weight not in seen:
            seen.add(call.weight)
            yield call, part
    for part in group.slices:
        owners = {part.parameter, part.parameter.rpartition(".")[0]}
        if part.parameter not in seen and owners & set(group.layers) and program.tensors[part.parameter].ndim > 1:
            yield None, part


def _order(importance: Tensor) -> Indices:
    order: Indices = importance.argsort(stable=True).numpy().astype(np.int64)
    return order


def taylor(evidence: Evidence) -> Orders:
    """Filters by |mean over positions of response x gradient of the cross-entropy|, least first.

    Raises:
        LabelsError: the probe has no integer labels.
    """
    totals = {group.name: np.zeros(group.width) for group in evidence.groups}
    for batch in (part for whole in evidence.batches for part in evidence.runs(whole)):
        labels = getattr(batch, "labels", None)
        if not isinstance(labels, Tensor) or labels.is_floating_point():
            raise LabelsError(
                "selection: taylor needs integer labels in the probe.", remedy="Choose another selection."
            )
        held = _backward(evidence, batch, labels)
        for group in evidence.groups:
            for tap in group.taps:
                _add(totals[group.name], held[tap.node], tap)
    return {name: np.argsort(total, kind="stable").astype(np.int64) for name, total in totals.items()}


def _backward(evidence: Evidence, batch: Any, labels: Tensor) -> dict[str, Tensor]:
    """At each tap the values, with their gradients of the batch's cross-entropy."""
    names = {tap.node for group in evidence.groups for tap in group.taps}
    held: dict[str, Tensor] = {}

    def observe(node: Node, value: Any) -> None:
        if node.name in names:
            if not value.requires_grad:  # nothing before it is differentiable: token ids, say
                value.requires_grad_()
            value.retain_grad()
            held[node.name] = value

    with torch.enable_grad():
        args, kwargs = pytree.tree_map(_differentiable, inputs_on(inputs_of(batch), evidence.device))
        output = evidence.running.run(args, kwargs, observe)
        named = output.get("logits") if isinstance(output, dict) else None
        logits = next(
            leaf for leaf in pytree.tree_leaves(output if named is None else named) if isinstance(leaf, Tensor)
        )
        if logits.ndim != 2 or len(logits) != len(labels):
            raise LabelsError(
                f"selection: taylor needs class scores [{len(labels)}, classes]; the model gave {list(logits.shape)}.",
                remedy="Choose another selection.",
            )
        wanted = labels.to(logits.device).long()
        functional.cross_entropy(logits, wanted, reduction="sum").backward()  # type: ignore[no-untyped-call]
    return held


def _differentiable(leaf: Any) -> Any:
    # So that no tap is a leaf, which an operator in place may not touch.
    return leaf.detach().requires_grad_() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf


def _add(total: np.ndarray[Any, Any], value: Tensor, tap: Tap) -> None:
    over = [axis for axis in range(1, value.ndim) if axis != tap.axis]
    product = value.detach() * (torch.zeros_like(value) if value.grad is None else value.grad)
    each = (product.mean(over) if over else product).abs().sum(0).double().cpu().numpy()
    inside = tap.filters != OTHER_GROUP
    np.add.at(total, tap.filters[inside], each[inside])


def random_order(evidence: Evidence) -> Orders:
    """Filters in an order drawn from the seed and the group's name, the same on every machine."""
    return {
        group.name: np.random.default_rng([evidence.seed, zlib.crc32(group.name.encode())]).permutation(group.width)
        for group in evidence.groups
    }
