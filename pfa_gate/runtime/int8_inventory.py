"""What the int8 file of a cut model will store, from that of the full model and the axes that the cut shortens."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from pfa_gate.graph import Coupling
from pfa_gate.runtime.weight_nodes import WeightNode


@dataclass(frozen=True)
class StoredWeight:
    """A parameter of the model as the int8 file stores it.

    Attributes:
        parameter: its name in the model.
        element: bytes of each element: one with 8 bits.
        axis: along which its filters lie; None where nothing is stored for each filter.
        filter: bytes for each filter: of its scale and its zero point, and of the bias with its own.
    """

    parameter: str
    element: int
    axis: int | None = None
    filter: int = 0


@dataclass(frozen=True)
class Int8Inventory:
    """Everything that the int8 file of the full model stores.

    Attributes:
        weights: what becomes smaller with the model.
        fixed: bytes of all else: scales and zero points of activations, constants.
        whole: bytes of all.
        unknown: tables among all else, positions say, which a cut may shorten: of what parameter they are is not known.
    """

    weights: tuple[StoredWeight, ...]
    fixed: int
    whole: int
    unknown: tuple[str, ...] = ()

    def with_more(self, extra: int) -> "Int8Inventory":
        """The same with more bytes, or fewer, that no count moves."""
        return replace(self, fixed=self.fixed + extra)

    def bytes(self, coupling: Coupling, counts: Mapping[str, int]) -> int:
        """What the file of a cut model stores.

        Args:
            coupling: of the model that is cut.
            counts: filters that each group keeps; groups that are not named stay whole.
        """
        widths = {group.name: group.width for group in coupling.groups} | dict(counts)
        axes = {volume.name: volume.axes for volume in coupling.volumes if volume.name}
        total: float = self.fixed
        for weight in self.weights:
            lengths = [axis.length(widths) for axis in axes[weight.parameter]]
            total += weight.element * prod(lengths)
            total += weight.filter * lengths[weight.axis] if weight.axis is not None else 0
        return round(total)


def inventory(floating: Any, quantized: Any, nodes: Sequence[WeightNode], coupling: Coupling) -> Int8Inventory:
    """Take stock of the int8 file of the full model.

    Args:
        floating: the floating file as a ModelProto.
        quantized: the int8 file as a ModelProto.
        nodes: the operators with weights of the floating file.
        coupling: of the model.
    """
    stock = _Stock(floating, quantized, coupling)
    weights = [weight for node in nodes for weight in stock.of_node(node)]
    whole = sum(map(_bytes, quantized.graph.initializer))
    return Int8Inventory((*weights, *stock.plain()), stock.rest(), whole, stock.tables())


class _Stock:
    """The tensors of an int8 file, each counted once.

    Args:
        floating: the floating file.
        quantized: the int8 file.
        coupling: of the model.
    """

    def __init__(self, floating: Any, quantized: Any, coupling: Coupling) -> None:
        self._shapes = {each.name: tuple(each.dims) for each in floating.graph.initializer}
        self._left = {each.name: (_bytes(each), tuple(each.dims)) for each in quantized.graph.initializer}
        self._nodes = {node.name: node for node in quantized.graph.node}
        self._scaled = {
            node.output[0]: list(node.input) for node in quantized.graph.node if node.op_type == "DequantizeLinear"
        }
        self._parameters = {name: tuple(tensor.shape) for name, tensor in coupling.program.state.items()}
        self._known = _by_what_they_are(coupling)
        self._claimed: dict[str, StoredWeight] = {}

    def of_node(self, node: WeightNode) -> Iterator[StoredWeight]:
        """The weights of an operator, the first with all that is stored for each filter."""
        sources = self._sources(node.name)
        for name in node.weights:
            weight = self._claimed.get(name)
            if weight is not None:  # shared with an operator before, but for its bias
                weight = replace(weight, element=0)
            else:
                held = next((each for each in sources if self._left[each][1] == self._shapes[name]), None)
                weight = None if held is None else self._claim(node, name, held)
            if weight is not None and weight.axis is not None:
                filters = self._shapes[name][node.axis or 0]
                weight = replace(weight, filter=sum(self._per_filter(source, filters) for source in sources))
            if weight is not None:
                yield weight

    def _claim(self, node: WeightNode, name: str, held: str) -> StoredWeight | None:
        """A stored tensor as the parameter that it is; None where that is not known."""
        parameter = self._parameter(node.layer, name)
        if parameter is None:
            return None
        size, shape = self._left.pop(held)
        same = self._parameters[parameter] == shape
        axis = None if node.axis is None else node.axis if same else 0
        self._claimed[name] = StoredWeight(self._known[parameter], size // prod(shape), axis)
        return self._claimed[name]

    def _sources(self, name: str) -> list[str]:
        """The stored tensors that an operator reads, as they are or through their scale."""
        given = [source for each in self._nodes[name].input for source in (each, *self._scaled.get(each, ()))]
        # Rows of a table meet their scale after they are taken.
        return [each for each in dict.fromkeys(given) if each in self._left]

    def _per_filter(self, name: str, filters: int) -> int:
        """Bytes for each filter of a tensor that has as many elements as there are filters, or a multiple of it."""
        if name not in self._left:
            return 0
        size, shape = self._left[name]
        count = prod(shape)
        if not shape or count % filters or prod(shape[:-1]) != 1:
            return 0
        del self._left[name]
        return size // filters

    def _parameter(self, layer: str, tensor: str) -> str | None:
        """The model's own name of a weight: the exporter turns some, and names them anew."""
        size = prod(self._shapes[tensor])
        inside = [name for name in self._known if name.rpartition(".")[0] == layer]
        fitting = [name for name in (tensor, *inside) if name in self._known and prod(self._parameters[name]) == size]
        taken = {weight.parameter for weight in self._claimed.values()}
        free = (name for name in fitting if self._known[name] not in taken)
        return next(free, fitting[0] if fitting else None)

    def plain(self) -> Iterator[StoredWeight]:
        """Parameters that are stored as they are."""
        for name in list(self._left):
            size, shape = self._left[name]
            if shape and name in self._known and self._parameters[name] == shape:
                del self._left[name]
                yield StoredWeight(self._known[name], size // prod(shape))

    def tables(self) -> tuple[str, ...]:
        """What is left with several axes."""
        return tuple(name for name, (_, shape) in self._left.items() if sum(size > 1 for size in shape) > 1)

    def rest(self) -> int:
        """Bytes of what is left."""
        return sum(size for size, _ in self._left.values())


def _by_what_they_are(coupling: Coupling) -> dict[str, str]:
    """Each name of a stored tensor -> the one by which its axes are known; tied tensors have several."""
    state = coupling.program.state
    named = {volume.name for volume in coupling.volumes if volume.name}
    places = {(state[name].data_ptr(), state[name].shape): name for name in named if name in state}
    known = {name: places.get((tensor.data_ptr(), tensor.shape)) for name, tensor in state.items()}
    return {name: found for name, found in known.items() if found is not None}


def _bytes(tensor: Any) -> int:
    onnx = importlib.import_module("onnx")
    size: int = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    count: int = prod(tensor.dims)
    return size * count
