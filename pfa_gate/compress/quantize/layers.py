"""Which weights of a model get few bits: those of its convolutions, linear layers and embeddings."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pfa_gate.compress.quantize.grid import WIDTHS, Width, grids, is_sparse
from pfa_gate.compress.quantize.packing import packed_bytes
from pfa_gate.graph import Coupling
from pfa_gate.graph.program import node_of, operator_name

EXCLUDED = "pfa.yaml leaves it out"
_SCALE_BYTES = 4
_LOOK_UP = "embedding"


@dataclass(frozen=True)
class WeightLayer:
    """A layer whose weight gets few bits.

    Attributes:
        name: of the layer.
        weight: name of its weight in the model's state.
        axis: of the weight, along which its filters lie.
        shape: of the weight.
        sparse: whether it has zeros that are to stay.
    """

    name: str
    weight: str
    axis: int
    shape: tuple[int, ...]
    sparse: bool = False

    @property
    def widths(self) -> tuple[Width, ...]:
        """Those that it may have: with zeros in it none that knows no zero.

        Example:
            >>> WeightLayer("stem", "stem.weight", 0, (8, 3), sparse=True).widths[:2]
            ('ternary', 2)
        """
        return tuple(width for width in WIDTHS if not self.sparse or any(grid.has_zero for grid in grids(width)))

    @property
    def count(self) -> int:
        """Numbers that it holds."""
        return torch.Size(self.shape).numel()

    @property
    def filters(self) -> int:
        """How many scales it has."""
        return self.shape[self.axis]

    def bytes(self, width: Width) -> int:
        """What it takes in a file: its numbers packed, and its scales.

        Example:
            >>> WeightLayer("stem", "stem.weight", 0, (8, 3, 3, 3)).bytes(4)
            140
        """
        return packed_bytes(width, self.count) + _SCALE_BYTES * self.filters


def weight_layers(
    model: nn.Module, coupling: Coupling, spares: Callable[[str], bool] = lambda layer: False
) -> tuple[tuple[WeightLayer, ...], Mapping[str, str]]:
    """The layers whose weights get few bits, in the order of the model, and why other weights stay floating.

    Args:
        model: whose state holds the weights.
        coupling: of the model's own program.
        spares: whether a layer of this name stays floating.

    Example:
        >>> from pfa_gate.graph import record_model, trace_program
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
        >>> coupling = trace_program(record_model(net, (torch.zeros(2, 4),), {}))
        >>> layers, floating = weight_layers(net, coupling, lambda layer: layer == "2")
        >>> [layer.weight for layer in layers], floating
        (['0.weight'], {'2': 'pfa.yaml leaves it out'})
    """
    own = dict(model.named_parameters(remove_duplicate=False))
    found: dict[str, WeightLayer] = {}
    floating: dict[str, str] = {}
    held: set[str] = set()
    for layer, name, axis in _weights(coupling):
        weight = own.get(name)
        if weight is None or weight.ndim < 2 or not weight.is_floating_point():
            floating[layer] = "its weight is computed from others"
        elif spares(layer):
            floating[layer] = EXCLUDED
            held.add(name)
        else:
            sparse = is_sparse(weight.detach().movedim(axis, 0))
            found.setdefault(name, WeightLayer(layer, name, axis, tuple(weight.shape), sparse))
    layers = tuple(layer for layer in found.values() if layer.weight not in held)
    return layers, dict(sorted((floating | dict(_others(own, {*found, *held}))).items()))


def _weights(coupling: Coupling) -> Iterator[tuple[str, str, int]]:
    """Layers, their weights, and the axis of their filters: those of a table that is looked up are its rows."""
    program = coupling.program
    looked_up = [
        program.aliases.get(node_of(node.args[0])) for node in program.nodes if operator_name(node) == _LOOK_UP
    ]
    tables = dict.fromkeys(alias.name for alias in looked_up if alias is not None and alias.whole)
    yield from ((table.removesuffix(".weight"), table, 0) for table in tables)
    for layer in coupling.layers:
        yield layer.name, layer.weight, 0 if layer.weight in tables else layer.axis


def _others(own: Mapping[str, Tensor], known: set[str]) -> Iterator[tuple[str, str]]:
    """Tables that no layer multiplies by."""
    storages = {own[name].data_ptr() for name in known if name in own}
    for name, tensor in own.items():
        if tensor.ndim > 1 and name not in known and tensor.data_ptr() not in storages:
            yield name, "it is no weight of a convolution, linear layer or embedding"
