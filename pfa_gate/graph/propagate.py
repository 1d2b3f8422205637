"""From a model to its groups: labels pass through the program, each operator by its rule or pinned."""

import math
from typing import Any

from torch import Tensor, nn
from torch.fx import Node

import pfa_gate.graph.rules  # noqa: F401  registers every operator's rule
from pfa_gate.graph.build_groups import coupling_of
from pfa_gate.graph.editing import with_ancestors
from pfa_gate.graph.follow import record_model
from pfa_gate.graph.group import Coupling
from pfa_gate.graph.labels import RULES, Contraction, LabelFlow, Labels, NoRuleError, Residual, UntrackedCall
from pfa_gate.graph.partition import UNTRACKED
from pfa_gate.graph.program import Program, is_tensor, operator_name, shape_of, writes
from pfa_gate.graph.silent import note_silent
from pfa_gate.model.batch import Inputs


def propagate_labels(program: Program, residual: Residual = "project") -> LabelFlow:
    """Send labels through the whole program and return the state of the trace."""
    flow = LabelFlow(
        program,
        near_attention=near_attention(program),
        near_output=near_output(program),
        residual=residual,
    )
    read = _read_at_all(program)
    for node in program.nodes:
        if node.op == "output":
            for source in node.all_input_nodes:
                flow.pin_value(source, "it feeds the model's output")
        elif node in read:
            _apply(flow, node)
    return flow


def _read_at_all(program: Program) -> set[Node]:
    """The values on which the output or something written in place depends: not the weights of attention, say."""
    nodes = list(program.graph.nodes)
    return with_ancestors(
        node for node in nodes if node.op == "output" or (node.op == "call_function" and writes(node))
    )


PASSING = frozenset(
    """
    view reshape _unsafe_view permute transpose unsqueeze squeeze select split split_with_sizes chunk getitem cat
    expand unflatten flatten contiguous clone mul div add sub neg to _to_copy slice unbind repeat_interleave repeat
    movedim float softmax _softmax dropout masked_fill where layer_norm rms_norm pow mean rsqrt cos sin stack alias
    detach flip roll narrow expand_as broadcast_to view_as reshape_as swapaxes type_as rsub tanh sigmoid relu silu gelu
    elu exp square sqrt reciprocal clamp clamp_min linalg_vector_norm addcmul lerp view_as_complex view_as_real
    """.split()
)


def near_attention(program: Program) -> frozenset[Node]:
    """Values on their way into attention: upstream of a product of two activations, with what their layers made."""
    near: set[Node] = set()
    waiting: list[Node] = []
    for node in program.nodes:
        name = operator_name(node)
        products = name in ("matmul", "bmm", "baddbmm", "einsum") and not _held_operand(program, node)
        if name == "scaled_dot_product_attention" or products:
            waiting += node.all_input_nodes
    while waiting:
        node = waiting.pop()
        if node in near or node.op != "call_function":
            continue
        near.add(node)
        if operator_name(node) in PASSING:
            waiting += node.all_input_nodes
    return frozenset(near)


PRODUCTS = frozenset(
    """
    conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear addmm matmul bmm mm baddbmm
    scaled_dot_product_attention einsum _grouped_mm lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell
    rnn_relu_cell
    """.split()
)


def near_output(program: Program) -> frozenset[Node]:
    """Values that reach the output without another product in between: all of their channels are shown."""
    shown: set[Node] = set()
    waiting = [source for node in program.nodes if node.op == "output" for source in node.all_input_nodes]
    while waiting:
        node = waiting.pop()
        if node in shown or node.op != "call_function":
            continue
        shown.add(node)
        if operator_name(node) not in PRODUCTS:
            waiting += node.all_input_nodes
    return frozenset(shown)


def _held_operand(program: Program, node: Node) -> bool:
    operands = node.args[1:3] if operator_name(node) == "baddbmm" else node.all_input_nodes
    return any(source in program.aliases for source in operands)


def _apply(flow: LabelFlow, node: Node) -> None:
    name = operator_name(node)
    known = RULES.get(name)
    try:
        if known is None:
            if _touches(flow, node):
                raise NoRuleError("has no rule")
            return
        labels = known(flow, node)
    except NoRuleError as error:
        _leave_untracked(flow, node, f"operator {name} {error}")
        return
    except Exception as error:  # a rule that meets arguments it was not written for: pinning is never wrong
        _leave_untracked(flow, node, f"operator {name} is used in an unknown way ({type(error).__name__})")
        return
    if labels is not None:
        flow.settle(node, labels)
        note_silent(flow, node)


def _touches(flow: LabelFlow, node: Node) -> bool:
    sources = node.all_input_nodes
    if any(_may_be_cut(flow, source) for source in sources):
        return True
    carried = (flow.values.get(source) for source in sources)
    return any(bool((part != UNTRACKED).any()) for labels in carried if labels is not None for part in _parts(labels))


def _may_be_cut(flow: LabelFlow, source: Node) -> bool:
    alias = flow.tensor(source)
    if alias is None:
        return False
    tensor = flow.program.tensors[alias.name]
    return isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.ndim > 0


def _parts(labels: Labels) -> list[Tensor]:
    return labels if isinstance(labels, list) else [labels]


# Where the weight of an operator stands among its arguments, and along which axis of it the filters lie.
_WEIGHTS = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "linear"), (1, 0)),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "matmul", "mm"), (1, 1)),
    "addmm": (2, 1),
}


def _leave_untracked(flow: LabelFlow, node: Node, reason: str) -> None:
    """Pin what an operator touches; a layer's call is measured all the same, and its work counts."""
    _pin_inputs(flow, node, reason)
    position, axis = _WEIGHTS.get(operator_name(node), (0, 0))
    alias = flow.tensor(node.args[position]) if position and len(node.args) > position else None
    if alias is None or len(alias.axes) < 2 or not is_tensor(node):
        return
    flow.untracked.append(UntrackedCall(node, alias.name, (alias.axes[axis],), flow.layer_name(alias), reason))
    flow.contractions.append(Contraction(node, None, work=_work(flow, node) * flow.program.tensors[alias.name].numel()))


def _work(flow: LabelFlow, node: Node) -> float:
    """Multiply-adds of one sample for each element of the weight: one at each place of the output."""
    name, shape = operator_name(node), shape_of(node)
    if name.startswith("conv_transpose") and isinstance(node.args[0], Node):
        shape = shape_of(node.args[0])
    places = math.prod(shape[2:]) * shape[0] if name.startswith("conv") else math.prod(shape[:-1])
    return places / flow.batch


def _pin_inputs(flow: LabelFlow, node: Node, reason: str) -> None:
    flow.unknown[reason] = flow.unknown.get(reason, 0) + 1
    for source in node.all_input_nodes:
        if is_tensor(source) or source in flow.values:
            flow.pin_value(source, reason)


def trace(model: nn.Module, example: Any, residual: Residual = "project") -> Coupling:
    """Follow the filters of `model` through its forward pass; the model is left as it was.

    Args:
        model: any module; traced in eval mode.
        example: a batch of inputs: a tensor, a tuple of positional inputs, or a mapping of keyword inputs.
        residual: at a sum, `project` cuts all that feed it alike (paper, App. C.3); `pad` lets each be cut freely
            and scatters what is left of it back to full width (App. C.2).

    Raises:
        TraceError: the model cannot be followed.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> [(group.name, group.width, group.frozen) for group in trace(net, torch.zeros(2, 4)).groups]
        [('0', 8, None), ('2', 2, "it feeds the model's output")]
    """
    return trace_program(record_model(model, *inputs_of(example)), residual)


def trace_program(program: Program, residual: Residual = "project") -> Coupling:
    """The coupling of a model that is recorded already."""
    return coupling_of(propagate_labels(program, residual))


def inputs_of(example: Any) -> Inputs:
    """Positional and keyword inputs of an example batch."""
    if isinstance(example, Tensor):
        return (example,), {}
    if isinstance(example, dict):
        return (), dict(example)
    if hasattr(example, "args") and hasattr(example, "kwargs"):
        return tuple(example.args), dict(example.kwargs)
    return tuple(example), {}
