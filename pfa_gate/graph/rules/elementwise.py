"""Operators that work on each element by itself: labels pass through, or join where they meet."""

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.graph.computed_weights import sources_of
from pfa_gate.graph.labels import LabelFlow, rule
from pfa_gate.graph.partition import UNTRACKED, aligned, narrowed, varying
from pfa_gate.graph.program import argument, is_tensor, node_of, operator_name, shape_of
from pfa_gate.graph.rules.spread import goes_along
from pfa_gate.graph.silent import note_written


@rule(
    "relu relu_ relu6 relu6_ gelu gelu_ silu silu_ sigmoid sigmoid_ tanh tanh_ hardtanh hardtanh_ hardswish",
    "hardswish_ hardsigmoid hardsigmoid_ leaky_relu leaky_relu_ elu elu_ selu selu_ celu celu_ mish mish_ softplus",
    "log_sigmoid erf exp expm1 log log1p neg sqrt rsqrt square abs reciprocal sin cos sign floor clamp clamp_",
    "clamp_min clamp_max dropout dropout_ feature_dropout alpha_dropout clone contiguous to _to_copy alias detach",
    "detach_ lift_fresh lift_fresh_copy logical_not bitwise_not pow rrelu zeros_like ones_like full_like",
    "rand_like randn_like threshold hardshrink softshrink tanhshrink round isnan isinf isfinite nan_to_num softsign",
    "ceil trunc atan real imag conj resolve_conj resolve_neg angle neg_ sqrt_ rsqrt_ square_ abs_ reciprocal_ sin_",
    "cos_ sign_ floor_ ceil_ round_ trunc_ clamp_min_ clamp_max_ exp_ expm1_ log_ log1p_ pow_ erf_ erfc erfinv exp2",
    "log2 log10 sinh cosh tan asin acos asinh acosh atanh logit sgn positive frac threshold_ nan_to_num_ sinc lgamma",
    "special_expit special_logit empty_like",
)
def same(flow: LabelFlow, node: Node) -> Tensor:
    """One tensor in, the same labels out."""
    tensors = [source for source in node.args if is_tensor(source)]
    if len(tensors) > 1:
        return meeting(flow, node)
    return flow.loose(tensors[0])  # type: ignore[arg-type]


@rule(
    "add add_ sub sub_ subtract mul mul_ multiply div div_ divide true_divide maximum minimum where rsub lerp",
    "addcmul eq ne lt gt le ge __and__ __or__ logical_and logical_or bitwise_and bitwise_or remainder",
    "floor_divide masked_fill masked_fill_ atan2 fmod complex polar",
    "addcdiv addcmul_ addcdiv_ lerp_ hypot logaddexp logaddexp2 copysign xlogy logical_xor bitwise_xor fmax fmin",
)
def meeting(flow: LabelFlow, node: Node) -> Tensor:
    """Several tensors of one broadcast shape: labels that stand at the same place become one."""
    shape = shape_of(node)
    sources = [source for source in node.all_input_nodes if is_tensor(source)]
    if _is_padded_sum(flow, node, sources):
        flow.scattered.append(node)
        return torch.full((1,) * len(shape), UNTRACKED).expand(shape)
    labels = joined(flow, node, sources)
    full = [source for source in sources if shape_of(source) == shape and flow.tensor(source) is None]
    if len(full) > 1 and operator_name(node) in ("add", "add_") and len(varying(narrowed(labels))) == 1:
        flow.sums.append(node)
    return labels


def joined(flow: LabelFlow, node: Node, sources: list[Node]) -> Tensor:
    """The labels of operands of one broadcast shape, made one where they meet; at the shape of the node."""
    shape = shape_of(node)
    unlabelled = [source for source in sources if _not_yet_used(flow, source)]
    # Where nothing is spread over axes, several of them may keep their filters apart until a product reads them.
    alike = all(shape_of(source) in (shape, ()) for source in sources)
    read = flow.loose if alike else flow.of
    operands = {source: _aligned(read(source), len(shape)) for source in sources if source not in unlabelled}
    if not operands and len(sources) == 1:
        return torch.full((1,) * len(shape), UNTRACKED).expand(shape)  # what a buffer is, that it meets what it is for
    labels = _joined(flow, node, operands)
    for source in unlabelled:
        labels = _adopted(flow, source, labels, _alone(source, sources))
    return labels.expand(shape)


def _alone(source: Node, sources: list[Node]) -> list[int]:
    """Axes, from the end, along which only this operand has a size: all others are spread over them."""
    shape = shape_of(source)
    others = [shape_of(other) for other in sources if other is not source]
    return [
        axis
        for axis in range(-len(shape), 0)
        if shape[axis] > 1 and all(len(other) < -axis or other[axis] == 1 for other in others)
    ]


def _adopted(flow: LabelFlow, source: Node, labels: Tensor, alone: list[int]) -> Tensor:
    """A parameter takes the labels of what it meets; along an axis of its own it starts new ones."""
    shape = shape_of(source)
    adopted = _reduced(labels, shape)
    free = len(alone) == 1 and len(shape) > 1 and not bool((labels != UNTRACKED).any())
    if free and _is_trained(flow, source):
        axis = len(shape) + alone[0]
        adopted = flow.sets.fresh(shape[axis]).reshape([-1 if place == axis else 1 for place in range(len(shape))])
        labels = _aligned(adopted, labels.ndim)
    flow.adopt(flow.held(source), adopted)
    return labels


def _is_trained(flow: LabelFlow, source: Node) -> bool:
    """Whether a held tensor is a parameter or computed from some; a mask, say, has no filters of its own."""
    program, name = flow.program, flow.held(source).name
    names = sources_of(program, program.folded[name]) if name in program.folded else [name]
    return any(each in program.parameters for each in names)


def meet_operand(flow: LabelFlow, reader: Node, labels: Tensor, operand: Node) -> None:
    """What is added to a value of these labels [full shape], such as a mask or a bias: joined where it is as wide."""
    shape, small = shape_of(operand), narrowed(labels)
    if _not_yet_used(flow, operand):
        _adopted(flow, operand, small, [])
        return
    own = _aligned(flow.of(operand), labels.ndim)
    wide = (1,) * (labels.ndim - len(shape)) + shape
    if all(wide[axis] == 1 for axis in varying(small)):
        flow.pin(own, "it is spread over the heads of attention")
    elif not _goes_along(flow, reader, operand, small):
        flow.meet(small, own, "meets a value whose filters cannot be cut")


def _goes_along(flow: LabelFlow, reader: Node, source: Node, labels: Tensor) -> bool:
    """Whether an operand of which no filter is known goes with those that it meets."""
    lead = labels.ndim - len(shape_of(source))
    if bool((flow.loose(source) != UNTRACKED).any()) or any(axis < lead for axis in varying(labels)):
        return False
    return goes_along(flow, reader, source, labels.reshape(labels.shape[lead:]))


def _is_padded_sum(flow: LabelFlow, node: Node, sources: list[Node]) -> bool:
    """With `residual: pad`, a sum is always as wide as it was: what is left of its operands is scattered into it."""
    if flow.residual != "pad" or operator_name(node) not in ("add", "add_") or len(sources) != 2:
        return False
    if node in flow.near_output:
        return False
    full_width = [source for source in sources if shape_of(source) == shape_of(node) and flow.tensor(source) is None]
    return len(full_width) == 2 and any(len(varying(flow.of(source))) == 1 for source in full_width)


def _joined(flow: LabelFlow, node: Node, operands: dict[Node, Tensor]) -> Tensor:
    shape = shape_of(node)
    operands = _along_one_axis(flow, operands, shape)
    apart = {axis for labels in operands.values() for axis in varying(labels)}
    result = torch.zeros((1,) * len(shape), dtype=torch.int64)
    started = False
    # Those with filters come first: what has none may be the same along their axis, and go with them.
    for source, labels in sorted(operands.items(), key=lambda item: not bool((item[1] != UNTRACKED).any())):
        if _broadcasts(source, shape, apart):
            # One channel spread over many is no filter of theirs: it must simply stay.
            flow.pin(labels, "it is spread over the channels of another value")
            continue
        if started and bool((result != UNTRACKED).any()) and _goes_along(flow, node, source, narrowed(result)):
            continue
        if started:
            flow.meet(result, labels, "meets a value whose filters cannot be cut")
        result = torch.maximum(*aligned(flow.sets.canonical(result), flow.sets.canonical(labels)))
        started = True
    return result


def _along_one_axis(flow: LabelFlow, operands: dict[Node, Tensor], shape: tuple[int, ...]) -> dict[Node, Tensor]:
    """Of operands that are spread over each other's filters, as in an outer product, those of the axis of the most."""
    sets: dict[int, int] = {}
    for labels in operands.values():
        for axis in varying(labels):
            sets[axis] = max(sets.get(axis, 0), len(torch.unique(labels)))
    spread = (varying(labels) and _broadcasts(source, shape, {*sets}) for source, labels in operands.items())
    if len(sets) < 2 or not any(spread):
        return operands
    along = max(sets, key=lambda axis: (sets[axis], axis))
    for labels in operands.values():
        if varying(labels) not in ([], [along]):
            flow.pin(labels, "it is multiplied with filters along another axis")
    return {source: labels for source, labels in operands.items() if varying(labels) in ([], [along])}


def _broadcasts(source: Node, shape: tuple[int, ...], apart: set[int]) -> bool:
    size = (1,) * (len(shape) - len(shape_of(source))) + shape_of(source)
    if all(length == 1 for length in size):
        return any(length > 1 for length in shape)
    return any(size[axis] == 1 and shape[axis] > 1 for axis in apart)


def _not_yet_used(flow: LabelFlow, source: Node) -> bool:
    alias = flow.tensor(source)
    if alias is None:
        return False
    if alias.name in flow.matrices:
        flow.pin_value(source, "its weight is used elementwise too")
    return alias.name not in flow.aligned and alias.name not in flow.matrices


def _aligned(labels: Tensor, axes: int) -> Tensor:
    return labels.reshape((1,) * (axes - labels.ndim) + tuple(labels.shape))


def _reduced(labels: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Labels of the result, seen from an operand of `shape` that was broadcast to it."""
    lead = labels.ndim - len(shape)
    wide = (1,) * lead + shape
    if not labels.numel() or any(labels.shape[axis] > size for axis, size in enumerate(wide)):
        return torch.full((1,) * len(shape), UNTRACKED)
    labels = labels.reshape(labels.shape[lead:])
    if all(size == 1 for size in shape):
        return torch.full((1,) * len(shape), UNTRACKED)
    return labels


def _note_sum(flow: LabelFlow, node: Node, operands: dict[Node, Tensor], labels: Tensor) -> None:
    full_width = [source for source in operands if shape_of(source) == shape_of(node)]
    if len(full_width) > 1 and len(varying(labels)) == 1:
        flow.sums.append(node)


@rule("copy_ fill_ zero_")
def written(flow: LabelFlow, node: Node) -> Tensor:
    """One value written into the memory of another, or of a part of it: their labels meet."""
    note_written(flow, node)
    return meeting(flow, node)


@rule("type_as")
def typed(flow: LabelFlow, node: Node) -> Tensor:
    """The first tensor in the dtype of the second, of which nothing else is read."""
    return flow.of(node_of(node.args[0]))


@rule("new_zeros new_ones new_full new_empty")
def made(flow: LabelFlow, node: Node) -> Tensor:
    """A new tensor of a dtype and device: no filter is read."""
    return torch.full((1,) * len(shape_of(node)), UNTRACKED)


@rule("prelu")
def prelu(flow: LabelFlow, node: Node) -> Tensor:
    """A slope for each channel (axis 1), or one for all."""
    value, slope = (node_of(given) for given in node.args)
    if shape_of(slope) != (1,):
        flow.adopt_vector(slope, flow.along(value, 1))
    return flow.of(value)


@rule("glu")
def glu(flow: LabelFlow, node: Node) -> Tensor:
    """The first half of an axis times the sigmoid of the second: filter j meets filter j + n / 2."""
    first, second = flow.full(node_of(node.args[0])).chunk(2, argument(node, 1, "dim", -1))
    flow.meet(first, second, "its gate cannot be cut")
    return flow.sets.canonical(first)
