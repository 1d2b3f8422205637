"""A compressed model that is a graph takes other sizes of its inputs where the full model's recordings show how."""

from collections.abc import Callable

from torch import nn
from torch.fx import GraphModule

from pfa_gate.artifacts.sizes import Axis, axis_sets, pairs_of_sizes, resized
from pfa_gate.graph.program import Program
from pfa_gate.graph.size_edit import follow_in
from pfa_gate.graph.size_flow import SizeFlow, size_flow
from pfa_gate.model.batch import Inputs


def let_follow(module: GraphModule, program: Program, model: nn.Module, inputs: Inputs) -> Callable[[Inputs], bool]:
    """Let a graph take inputs of other sizes.

    Args:
        module: cut from `program`; integers that follow a size are made to do so in place.
        program: of the full model.
        model: the full model.
        inputs: that the program was recorded at.

    Returns:
        Whether the full model does at inputs of other sizes what the graph has it do.
    """
    try:
        flow = size_flow(program.stored or model, inputs)
    except Exception:  # a forward that keeps something may raise anything when it is called again
        return lambda other: False
    more = followed(flow)
    return (more if follow_in(module, program, more) else flow).holds


def followed(flow: SizeFlow) -> SizeFlow:
    """The same with every size that the model's recordings follow.

    Args:
        flow: of the full model, in which nothing is followed yet.
    """
    found: dict[Axis, int] = {}
    for axes in axis_sets(flow.inputs, found):
        for sizes in pairs_of_sizes(flow.inputs, axes):
            more = flow.following(frozenset(axes), [resized(flow.inputs, each) for each in sizes])
            if more is not None:
                flow = more
                found |= sizes[0]
                break
    return flow
