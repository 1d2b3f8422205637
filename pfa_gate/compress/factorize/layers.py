"""The layers of a program that can become two, what each costs at each rank, and why others cannot."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from pfa_gate.compress.factorize.two_layers import is_flat, pair_fault
from pfa_gate.compress.regress import position_count
from pfa_gate.graph import Program
from pfa_gate.graph.calls import Call, calls, epilogue_of, matrix_of
from pfa_gate.graph.cost import storage_key
from pfa_gate.graph.program import shape_of


@dataclass(frozen=True)
class FactorableLayer:
    """A layer that can become two.

    Attributes:
        call: of it.
        columns, filters: D and O, the sides of its matrix.
        reads, makes: positions of one sample at which its matrix, and a matrix of its outputs, are multiplied by.
        importance: float64 [O], how much each output's squared error counts: by the batch norm that follows.
    """

    call: Call
    columns: int
    filters: int
    reads: int
    makes: int
    importance: Tensor

    @property
    def kind(self) -> str:
        """Convolution or linear."""
        return "linear" if self.call.geometry is None else "convolution"

    @property
    def rank(self) -> int:
        """That of its matrix at most."""
        return min(self.columns, self.filters)

    def parameters(self, rank: int | None = None) -> int:
        """Of its weights as two layers of a rank, or as one."""
        return self.columns * self.filters if rank is None else rank * (self.columns + self.filters)

    def macs(self, rank: int | None = None) -> int:
        """Of one sample, as two layers of a rank, or as one."""
        if rank is None:
            return self.reads * self.columns * self.filters
        return rank * (self.reads * self.columns + self.makes * self.filters)

    def size(self, measure: str, rank: int | None = None) -> int:
        """Its parameters or macs, as two layers of a rank, or as one."""
        return self.macs(rank) if measure == "macs" else self.parameters(rank)

    def saves(self, rank: int) -> bool:
        """Whether two layers of a rank have fewer parameters, and fewer multiply-accumulates too.

        Example:
            >>> layer = FactorableLayer(Call(None, None, "fc.weight", None, None), 8, 8, 1, 1, Tensor())
            >>> layer.saves(3), layer.saves(4)
            (True, False)
        """
        return self.parameters(rank) < self.parameters() and self.macs(rank) < self.macs()

    @property
    def most(self) -> int:
        """The largest rank that saves; 0 where none does."""
        best = min(
            (self.parameters() - 1) // (self.columns + self.filters),
            (self.macs() - 1) // (self.reads * self.columns + self.makes * self.filters),
        )
        return max(0, min(best, self.rank))


@dataclass(frozen=True)
class FactorableLayers:
    """The convolutions and linear layers of a program, in forward order.

    Attributes:
        layers: those that can become two.
        whole: the others, and why they cannot.
    """

    layers: Mapping[str, FactorableLayer]
    whole: Mapping[str, str]


def factorable(program: Program, model: nn.Module) -> FactorableLayers:
    """Look through a model for layers that can become two.

    Args:
        program: of the model.
        model: as its own class, or as its program.

    Example:
        >>> import torch
        >>> from pfa_gate.graph import record_model
        >>> net = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 1)).eval()
        >>> found = factorable(record_model(net, (torch.zeros(2, 64),), {}), net)
        >>> found.layers["0"].most, dict(found.whole)
        (31, {'1': 'no rank of it would save anything'})
    """
    found: dict[str, FactorableLayer] = {}
    whole: dict[str, str] = {}
    names = _names(model)
    for call in calls(program):
        if call.layer in found or call.layer in whole:
            continue
        fault = call.fault or _fault(program, model, call, names)
        if fault is None:
            found[call.layer] = layer = _layer(program, call)
            fault = None if layer.most else "no rank of it would save anything"
        if fault is not None:
            found.pop(call.layer, None)
            whole[call.layer] = fault
    return FactorableLayers(found, whole)


def _layer(program: Program, call: Call) -> FactorableLayer:
    _, columns, filters = matrix_of(call, program.tensors[call.weight]).shape
    makes = position_count(call, shape_of(call.node))
    transposed = call.geometry is not None and call.geometry.transposed
    reads = position_count(call, shape_of(call.source)) if transposed else makes
    return FactorableLayer(call, columns, filters, reads, makes, epilogue_of(program, call).scale.square())


def _names(model: nn.Module) -> dict[tuple[object, ...], list[str]]:
    """The names of each parameter; several where it is shared."""
    found: dict[tuple[object, ...], list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        found.setdefault(storage_key(parameter), []).append(name)
    return found


def _fault(program: Program, model: nn.Module, call: Call, names: Mapping[tuple[object, ...], list[str]]) -> str | None:
    """Why a layer cannot become two, or None."""
    if call.groups > 1:
        return f"it is grouped: its {call.groups} blocks read apart from each other"
    own = names.get(storage_key(program.tensors[call.weight]), [])
    others = [f"'{name}'" for name in own if name != call.weight]
    if call.weight not in own:
        return "its weight is not a parameter of the model"
    if others:
        return f"its weight is shared: it is {others[0]} too"
    return None if is_flat(model) else next(_module_faults(model, call), None)


def _module_faults(model: nn.Module, call: Call) -> Iterator[str]:
    try:
        module = model.get_submodule(call.layer)
    except AttributeError:
        yield "it is no module of its own"
        return
    fault = pair_fault(module)
    if fault is not None:
        yield fault
