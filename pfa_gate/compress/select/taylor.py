"""Selection by first-order importance: what the loss would change by if a filter were silent (Molchanov et al. 2017).

The one selection here that needs labels and gradients.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node
from torch.nn import functional
from torch.utils import _pytree as pytree

from pfa_gate.compress.select.evidence import Evidence, Orders
from pfa_gate.errors import LabelsError
from pfa_gate.graph import Tap, inputs_of
from pfa_gate.graph.group import OTHER_GROUP
from pfa_gate.model.device import inputs_on


def taylor(evidence: Evidence) -> Orders:
    """Filters by |mean over positions of response x gradient of the cross-entropy|, least first.

    Raises:
        LabelsError: the probe has no integer labels.
    """
    totals = {group.name: np.zeros(group.width) for group in evidence.groups}
    for batch in evidence.batches:
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
