"""A selection becomes a smaller copy of the model; each group whose cut cannot be proved stays whole."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy.typing as npt
import torch
from torch import nn

from pfa_gate.compress.prune.arguments import RemainingValues
from pfa_gate.compress.prune.cut import AxisIndices, axis_indices_of, narrow
from pfa_gate.compress.prune.proof import TOLERANCE, Proof, Silenced, difference, prove
from pfa_gate.compress.prune.rewrite import rewrite
from pfa_gate.errors import SurgeryError
from pfa_gate.graph import inputs_of, trace
from pfa_gate.graph.export import in_eval_mode
from pfa_gate.graph.group import Coupling
from pfa_gate.model.batch import Inputs

Keep = Mapping[str, npt.ArrayLike]
Form = Literal["module", "graph"]


@dataclass(frozen=True)
class PrunedModel:
    """A proved smaller model.

    Attributes:
        model: the smaller model, in eval mode.
        axis_indices: for each parameter and axis, the indices that stayed.
        proof: how exactly it equals the silenced model.
        put_back: for each group whose cut could not be proved, why; these groups are whole.
        form: `module` where the model's own class runs at the new widths; else `graph`, its exported program.
    """

    model: nn.Module
    axis_indices: AxisIndices
    proof: Proof
    put_back: Mapping[str, str]
    form: Form = "module"


def operate(model: nn.Module, example: Any, keep: Keep) -> nn.Module:
    """A smaller model that keeps the filters named in `keep`; `model` is not changed.

    Args:
        model: any module that torch.export accepts.
        example: a batch of inputs: a tensor, a tuple of positional inputs, or a mapping of keyword inputs.
        keep: for each group to cut, int64 indices of the filters that stay; other groups stay whole.

    Returns:
        A module in eval mode with `.kept`, {parameter: {axis: int64 indices}}.

    Raises:
        TraceError: the model cannot be exported.
        SurgeryError: a group is unknown or frozen, or the proof fails; the message names the groups.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> operate(net, torch.zeros(2, 4), {"0": [1, 3, 5]})[0]
        Linear(in_features=4, out_features=3, bias=True)
    """
    result = compress(model, trace(model, example), keep, inputs_of(example))
    if result.put_back:
        names = "; ".join(f"'{name}': {reason}" for name, reason in sorted(result.put_back.items()))
        raise SurgeryError(f"The cut of these groups cannot be proved exact: {names}.")
    return with_kept(result.model, result.axis_indices)


def with_kept(model: nn.Module, axis_indices: AxisIndices) -> nn.Module:
    """The model itself with `.kept`, where the user of a smaller model reads which indices stayed.

    Example:
        >>> with_kept(nn.Linear(1, 1), {"weight": {0: [2]}}).kept
        {'weight': {0: [2]}}
    """
    vars(model)["kept"] = axis_indices
    return model


def compress(model: nn.Module, coupling: Coupling, keep: Keep, inputs: Inputs) -> PrunedModel:
    """Cut every group in `keep` whose cut can be proved; put the others back and say why.

    A model that computes its weights in each forward pass is cut as its program, in which they are stored.
    """
    with in_eval_mode(model):
        _require_same(model, coupling, inputs)
        trial = _Trial(model, coupling, dict(keep), inputs)
        good, reasons = _provable(trial, sorted(keep))
        attempt = trial.attempt(good)
    if isinstance(attempt, str):
        raise SurgeryError(f"No cut of this model can be proved exact: {attempt}.")
    return replace(attempt, put_back=reasons)


def _require_same(model: nn.Module, coupling: Coupling, inputs: Inputs) -> None:
    """Where the model computes its weights: the one that stores them, and is cut in its place, equals it."""
    stored = coupling.program.stored
    if stored is None or stored is model:
        return
    error = difference(stored, model, inputs)
    if not error <= TOLERANCE[torch.float32]:
        raise SurgeryError(f"With its computed weights stored, the model is off by {error:.1e}.")


@dataclass(frozen=True)
class _Trial:
    model: nn.Module
    coupling: Coupling
    keep: dict[str, npt.ArrayLike]
    inputs: Inputs
    done: dict[tuple[str, ...], "PrunedModel | str"] = field(default_factory=dict)

    def attempt(self, names: Sequence[str]) -> "PrunedModel | str":
        """The proved model with these groups cut, or why there is none."""
        key = tuple(sorted(names))
        if key not in self.done:
            self.done[key] = self._attempt(key)
        return self.done[key]

    def _attempt(self, names: tuple[str, ...]) -> "PrunedModel | str":
        keep = {name: self.keep[name] for name in names}
        axis_indices = axis_indices_of(self.coupling, keep)
        stored = self.coupling.program.stored
        silenced = Silenced(stored or self.model, self.coupling, axis_indices, RemainingValues(self.coupling, keep))
        in_place: PrunedModel | str = "it computes its weights"
        if stored is None:
            in_place = self._proved("module", lambda: narrow(self.model, axis_indices).eval(), silenced)
        if isinstance(in_place, PrunedModel):
            return in_place
        by_graph = self._proved("graph", lambda: rewrite(self.coupling, silenced.remaining, axis_indices), silenced)
        return by_graph if isinstance(by_graph, PrunedModel) else f"{by_graph} (in its own class: {in_place})"

    def _proved(self, form: Form, build: Callable[[], nn.Module], silenced: Silenced) -> "PrunedModel | str":
        try:
            smaller = build()
            proof = prove(smaller, silenced, self.inputs)
        except SurgeryError as error:
            return error.fact.removesuffix(".")
        if not proof.passed:
            return f"off by {proof.max_error:.1e} (allowed {proof.tolerance:.0e})"
        return PrunedModel(smaller, silenced.axis_indices, proof, {}, form)


def _provable(trial: _Trial, names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Halve until the faulty groups are found; groups that are exact alone but not together lose the later half."""
    fault = trial.attempt(names)
    if isinstance(fault, PrunedModel):
        return list(names), {}
    if len(names) <= 1:
        return [], dict.fromkeys(names, fault)
    half = len(names) // 2
    first, reasons = _provable(trial, names[:half])
    second, more = _provable(trial, names[half:])
    reasons |= more
    together = trial.attempt([*first, *second])
    if isinstance(together, PrunedModel):
        return [*first, *second], reasons
    return first, reasons | dict.fromkeys(second, f"not exact together with others: {together}")
