"""Surgery executes a selection and never chooses: a smaller copy of the model, proved equal to the silenced one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
from torch import nn

from pfa_gate.coupling import inputs_of, trace
from pfa_gate.coupling.group import Coupling
from pfa_gate.coupling.program import borrowed
from pfa_gate.errors import SurgeryError
from pfa_gate.surgery.cut import narrow, silence
from pfa_gate.surgery.plan import Kept, plan
from pfa_gate.surgery.proof import Inputs, Proof, floating, prove

__all__ = [
    "Compressed",
    "Kept",
    "Proof",
    "compress",
    "floating",
    "narrow",
    "operate",
    "plan",
    "prove",
    "silence",
]

Keep = Mapping[str, npt.ArrayLike]


@dataclass(frozen=True)
class Compressed:
    """A proved smaller model.

    Attributes:
        model: the smaller model, in eval mode, with `.kept`.
        kept: for each parameter and axis, the indices that stayed.
        proof: how exactly it equals the silenced model.
        put_back: for each group whose cut could not be proved, why; these groups are whole.
    """

    model: nn.Module
    kept: Kept
    proof: Proof
    put_back: Mapping[str, str]


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
    return result.model


def compress(model: nn.Module, coupling: Coupling, keep: Keep, inputs: Inputs) -> Compressed:
    """Cut every group in `keep` whose cut can be proved; put the others back and say why."""
    with borrowed(model):
        good, reasons = _provable(_Trial(model, coupling, dict(keep), inputs), sorted(keep))
        kept = plan(coupling, {name: keep[name] for name in good})
        smaller = narrow(model, kept).eval()
        proof = prove(smaller, silence(model, kept), inputs)
    if not proof.passed:
        raise SurgeryError(f"The compressed model is off by {proof.max_error:.1e}, though each group alone is exact.")
    return Compressed(smaller, kept, proof, reasons)


@dataclass(frozen=True)
class _Trial:
    model: nn.Module
    coupling: Coupling
    keep: dict[str, npt.ArrayLike]
    inputs: Inputs

    def fault(self, names: Sequence[str]) -> str | None:
        """Why cutting these groups is not exact, or None."""
        kept = plan(self.coupling, {name: self.keep[name] for name in names})
        try:
            proof = prove(narrow(self.model, kept), silence(self.model, kept), self.inputs)
        except SurgeryError as error:
            return error.fact
        return None if proof.passed else f"off by {proof.max_error:.1e} (allowed {proof.tolerance:.0e})"


def _provable(trial: _Trial, names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Halve until the faulty groups are found; groups that are exact alone but not together lose the later half."""
    fault = trial.fault(names)
    if fault is None:
        return list(names), {}
    if len(names) == 1:
        return [], {names[0]: fault}
    half = len(names) // 2
    first, reasons = _provable(trial, names[:half])
    second, more = _provable(trial, names[half:])
    reasons |= more
    together = trial.fault([*first, *second]) if first and second else None
    if together is None:
        return [*first, *second], reasons
    return first, reasons | dict.fromkeys(second, f"not exact together with others: {together}")
