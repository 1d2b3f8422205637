"""Zeros in a pattern, layer after layer, on what each layer reads in the model as it is by then."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from pfa_gate.compress.recover import CompensateSettings, compensate
from pfa_gate.compress.regress import Sums
from pfa_gate.compress.repair import Repair
from pfa_gate.compress.sparsify.correction import damped, ridge_for, sparse
from pfa_gate.compress.sparsify.pattern import Pattern, column_groups, groups_meeting
from pfa_gate.graph import Program
from pfa_gate.graph.calls import Call, calls, matrix_of


def _no_layer(layer: str) -> bool:
    return False


@dataclass(frozen=True)
class PatternPlan:
    """Which layers get zeros; a `Constraint` of compensation.

    Attributes:
        pattern: of the zeros.
        whole: layer -> why its weights all stay.
    """

    pattern: Pattern
    whole: Mapping[str, str]

    @classmethod
    def of(cls, program: Program, pattern: Pattern, excluded: Callable[[str], bool] = _no_layer) -> "PatternPlan":
        """The plan for a model.

        Args:
            program: of the model that gets the zeros.
            pattern: of them.
            excluded: whether a layer is to stay whole.

        Example:
            >>> from pfa_gate.graph import record_model
            >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
            >>> PatternPlan.of(record_model(net, (torch.zeros(2, 3),), {}), Pattern(2, 4)).whole
            {'0': 'it reads 3 channels, fewer than the 4 of a group'}
        """
        reasons = ((call.layer, _reason(program, call, pattern, excluded)) for call in calls(program))
        return cls(pattern, {layer: reason for layer, reason in reasons if reason})

    def wants(self, layer: str) -> bool:
        """Whether a layer gets zeros."""
        return layer not in self.whole

    def constrained(self, call: Call, weights: Tensor, sums: Sums) -> Tensor:
        """The weights with zeros in the pattern, the others corrected; see `Constraint`."""
        groups = column_groups(taps_of(call), weights.shape[1] // taps_of(call), self.pattern.of).to(weights.device)
        ridge = ridge_for(weights.shape[1], sums.count)
        parts = (
            sparse(own, damped(gram, ridge), groups, self.pattern.kept)
            for own, gram in zip(weights, sums.gram, strict=True)
        )
        return torch.stack(list(parts))


def taps_of(call: Call) -> int:
    """Places of a layer's kernel; 1 for a linear layer."""
    return call.geometry.taps if call.geometry is not None else 1


def _reason(program: Program, call: Call, pattern: Pattern, excluded: Callable[[str], bool]) -> str:
    if excluded(call.layer):
        return "sparsify.layers.exclude names it"
    if call.fault is not None:
        return call.fault
    channels = matrix_of(call, program.tensors[call.weight]).shape[1] // taps_of(call)
    some = "1 channel" if channels == 1 else f"{channels} channels"
    return f"it reads {some}, fewer than the {pattern.of} of a group" if channels < pattern.of else ""


@dataclass(frozen=True)
class Sparsified:
    """A model with zeros.

    Attributes:
        model: it.
        repairs: what was done to each layer, in forward order.
        whole: layer -> why its weights all stay.
    """

    model: nn.Module
    repairs: tuple[Repair, ...]
    whole: Mapping[str, str]


def sparsify(
    model: nn.Module, program: Program, batches: Iterable[Any], plan: PatternPlan, settings: CompensateSettings
) -> Sparsified:
    """Set weights of a model to zero in a pattern, and solve the others anew, without labels.

    Layers are done in forward order, each on its input in the model as it is by then, and held to the outputs that it
    had before; those that stay whole are solved freely, and make up for the others.

    Args:
        model: not changed.
        program: its own, on the same device.
        batches: of inputs, the same at each reading.
        plan: which layers get zeros.
        settings: as for `compensate`.

    Raises:
        TraceError: the model cannot be followed.

    Example:
        >>> from pfa_gate.graph import record_model
        >>> net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
        >>> program, batches = record_model(net, (torch.zeros(2, 8),), {}), [torch.randn(256, 8)]
        >>> found = sparsify(net, program, batches, PatternPlan.of(program, Pattern(2, 4)), CompensateSettings())
        >>> int((found.model[0].weight == 0).sum())
        32
    """
    found, repairs = compensate(program, model, {}, batches, replace(settings, constraint=plan))
    unsolved = {each.layer: each.reason or "" for each in repairs if plan.wants(each.layer) and not each.solved}
    return Sparsified(found, repairs, {**plan.whole, **unsolved})


def dense(plan: PatternPlan, found: Sparsified, program: Program) -> list[str]:
    """Layers that were to get zeros and do not meet the pattern: none, unless something is wrong.

    Args:
        plan: that was carried out.
        found: what came of it.
        program: of the model before, whose calls these are.
    """
    own = dict(found.model.named_parameters(remove_duplicate=False))
    asked = [call for call in calls(program) if call.layer not in found.whole]
    met = [groups_meeting(own[call.weight], call.inputs, plan.pattern, _blocks(call)).whole for call in asked]
    return [call.layer for call, meets in zip(asked, met, strict=True) if not meets]


def _blocks(call: Call) -> int:
    return call.groups if call.inputs == 0 else 1
