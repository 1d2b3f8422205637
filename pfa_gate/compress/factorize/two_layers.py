"""Two layers in the place of one: in a model's own class a `Sequential` of two modules, in a graph two operators."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from pfa_gate.compress.factorize.low_rank import Factors
from pfa_gate.errors import SurgeryError
from pfa_gate.graph.calls import Call, matrix_of, weight_of
from pfa_gate.graph.editing import register
from pfa_gate.graph.program import argument
from pfa_gate.model.copies import copied

aten = torch.ops.aten
_POINTWISE: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: nn.Conv1d,
    nn.Conv2d: nn.Conv2d,
    nn.Conv3d: nn.Conv3d,
    nn.ConvTranspose1d: nn.Conv1d,
    nn.ConvTranspose2d: nn.Conv2d,
    nn.ConvTranspose3d: nn.Conv3d,
}
_CONVOLUTIONS = {1: aten.conv1d.default, 2: aten.conv2d.default, 3: aten.conv3d.default}


@dataclass(frozen=True, eq=False)
class WeightPair:
    """The two weights in the place of a layer's one, as they are stored.

    Attributes:
        call: of the layer.
        first: of k filters, otherwise shaped as the layer's.
        second: of a linear layer [O, k], or of a convolution of one tap.
        shape: of the weight that they stand for.
    """

    call: Call
    first: Tensor
    second: Tensor
    shape: tuple[int, ...]

    @classmethod
    def of(cls, call: Call, factors: Factors, weight: Tensor) -> "WeightPair":
        """The weights of some factors, in the precision and place of the weight that they stand for."""
        shape = tuple(weight.shape)
        few = list(shape)
        few[call.outputs] = factors.rank
        first = weight_of(call, factors.first[None], tuple(few))
        second = factors.second.T.reshape(-1, factors.rank, *(1 for _ in shape[2:]))
        return cls(call, first.to(weight).contiguous(), second.to(weight).contiguous(), shape)

    @property
    def rank(self) -> int:
        """How many values lie between the two layers."""
        return self.second.shape[1]

    @property
    def product(self) -> Tensor:
        """The weight that they stand for, exactly: float64, shaped as the layer's."""
        matrix = matrix_of(self.call, self.first.double()) @ self.second.double().flatten(1).T
        return weight_of(self.call, matrix, self.shape)


def pair_fault(module: nn.Module) -> str | None:
    """Why two modules cannot stand in the place of one, or None.

    Example:
        >>> pair_fault(nn.Linear(2, 3)), pair_fault(nn.Bilinear(2, 2, 3))
        (None, 'its class Bilinear is none of torch.nn that becomes two')
    """
    kinds: tuple[type[nn.Module], ...] = (nn.Linear, *_POINTWISE)
    kind = next((kind for kind in kinds if isinstance(module, kind)), None)
    name = type(module).__name__
    if kind is None:
        return f"its class {name} is none of torch.nn that becomes two"
    methods = ("forward", "_conv_forward", "__call__")
    if any(getattr(type(module), each, None) is not getattr(kind, each, None) for each in methods):
        return f"its class {name} has a forward of its own"
    if module._forward_hooks or module._forward_pre_hooks:
        return "hooks are registered on it"
    return None


def two_layers(module: nn.Module, rank: int) -> nn.Sequential:
    """Two layers of a rank in the place of one, their weights not set; no random number is drawn.

    Raises:
        SurgeryError: the module is no layer that can become two.

    Example:
        >>> two_layers(nn.Conv2d(3, 8, 3, padding=1), 2)
        Sequential(
          (0): Conv2d(3, 2, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
          (1): Conv2d(2, 8, kernel_size=(1, 1), stride=(1, 1))
        )
    """
    fault = pair_fault(module)
    if fault is not None:
        raise SurgeryError(f"A layer cannot become two: {fault}.")
    first, second = _linear(module, rank) if isinstance(module, nn.Linear) else _convolution(module, rank)
    return nn.Sequential(first, second).train(module.training)


def _linear(module: nn.Linear, rank: int) -> tuple[nn.Module, nn.Module]:
    first = _made(module, nn.Linear, module.in_features, rank, bias=False)
    return first, _made(module, nn.Linear, rank, module.out_features, bias=module.bias is not None)


def _made(module: nn.Module, kind: type[nn.Module], *sizes: Any, **options: Any) -> nn.Module:
    """A module of torch in the place and precision of another, its weights not set: on `meta` none is drawn."""
    weight: Tensor = module.weight  # type: ignore[assignment]
    made = kind(*sizes, **options, device="meta", dtype=weight.dtype)
    return made.to_empty(device=weight.device)


def _convolution(module: nn.Module, rank: int) -> tuple[nn.Module, nn.Module]:
    kind = next(kind for kind in _POINTWISE if isinstance(module, kind))
    own = {name: getattr(module, name) for name in ("stride", "padding", "dilation", "padding_mode")}
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        own["output_padding"] = module.output_padding
    first = _made(module, kind, module.in_channels, rank, module.kernel_size, bias=False, **own)
    return first, _made(module, _POINTWISE[kind], rank, module.out_channels, 1, bias=module.bias is not None)


def with_two_layers(model: nn.Module, ranks: Mapping[str, int]) -> nn.Module:
    """The model itself, each of some modules replaced by two layers whose weights are not set.

    Raises:
        SurgeryError: one of them is no layer that can become two, or is not there.

    Example:
        >>> list(with_two_layers(nn.Sequential(nn.Linear(8, 8)), {"0": 2}).state_dict())
        ['0.0.weight', '0.1.weight', '0.1.bias']
    """
    for name, rank in ranks.items():
        try:
            module = model.get_submodule(name)
        except AttributeError as error:
            raise SurgeryError(f"The model has no layer '{name}'.") from error
        pair = two_layers(module, rank)
        for parent in model.modules():
            for key, child in parent._modules.items():
                if child is module:
                    parent._modules[key] = pair
    return model


def is_flat(model: nn.Module) -> bool:
    """Whether a model is a graph of operators; one that calls modules is treated by these.

    Example:
        >>> is_flat(torch.fx.symbolic_trace(nn.Sequential(nn.Linear(2, 2)))), is_flat(nn.Linear(2, 2))
        (False, False)
    """
    return isinstance(model, GraphModule) and all(node.op != "call_module" for node in model.graph.nodes)


def replaced(model: nn.Module, pairs: Mapping[str, WeightPair]) -> nn.Module:
    """A copy of a model with two layers in the place of each of some; a bias goes to the second.

    Args:
        model: in its own class, or a graph that has each of these layers as one operator; it is not changed.
        pairs: layer -> its two weights.

    Raises:
        SurgeryError: one of them cannot become two.
    """
    model = copied(model)
    if isinstance(model, GraphModule) and is_flat(model):
        return _replaced_in_graph(model, pairs)
    whole = {name: model.get_submodule(name) for name in pairs}
    model = with_two_layers(model, {name: pair.rank for name, pair in pairs.items()})
    for name, pair in pairs.items():
        first, second = model.get_submodule(name).children()
        _take(first, pair.first, whole[name])
        _take(second, pair.second, whole[name])
        second.bias = whole[name].bias
    return model.eval()


def _take(module: nn.Module, weight: Tensor, whole: nn.Module) -> None:
    trained: Tensor = whole.weight  # type: ignore[assignment]
    module.weight = nn.Parameter(weight.clone(), requires_grad=trained.requires_grad)


def _replaced_in_graph(model: GraphModule, pairs: Mapping[str, WeightPair]) -> GraphModule:
    for name, pair in pairs.items():
        held = [node for node in model.graph.nodes if node.op == "get_attr" and node.target == pair.call.weight]
        users = [(node, user) for node in held for user in node.users]
        if len(users) != 1 or users[0][1].args[1] is not users[0][0]:
            raise SurgeryError(f"The graph does not read the weight of '{name}' in one place.")
        _split(model, users[0][1], users[0][0], pair)
    model.graph.eliminate_dead_code()
    model.graph.lint()
    model.recompile()
    return model


def _split(model: GraphModule, node: Node, held: Node, pair: WeightPair) -> None:
    """Put an operator of few filters before one of a single tap, which takes the place and the name of the old one."""
    graph, name = model.graph, pair.call.layer
    names = (f"{name}.0.weight", f"{name}.1.weight")
    with graph.inserting_before(node):
        first, second = (graph.get_attr(each) for each in _registered(model, pair, names))
        few = graph.node_copy(node, lambda each: first if each is held else each)
    bias = argument(node, 2, "bias")
    few.args = (*few.args[:2], None, *few.args[3:])
    few.kwargs = {key: value for key, value in few.kwargs.items() if key != "bias"}
    few.meta = {**node.meta, "val": _of_few(pair, node.meta["val"])}
    few.meta.pop("call", None)  # it is no operator of the model as it was recorded
    node.args, node.kwargs = (few, second, bias), {}
    if pair.call.geometry is not None:
        node.target = _CONVOLUTIONS[len(pair.call.geometry.kernel)]
    graph.erase_node(held)


def _registered(model: GraphModule, pair: WeightPair, names: tuple[str, str]) -> tuple[str, str]:
    """The names themselves, the two weights being stored at them, and the one no more."""
    owner, _, attribute = pair.call.weight.rpartition(".")
    table = model.get_submodule(owner)._parameters
    trained = bool(model.get_parameter(pair.call.weight).requires_grad)
    del table[attribute]
    for name, weight in zip(names, (pair.first, pair.second), strict=True):
        register(model, name, nn.Parameter(weight.clone(), trained))
    return names


def _of_few(pair: WeightPair, made: Tensor) -> Tensor:
    """An output of as many filters as lie between the two, without values."""
    shape = list(made.shape)
    shape[1 if pair.call.geometry is not None else -1] = pair.rank
    return made.new_empty(shape)
