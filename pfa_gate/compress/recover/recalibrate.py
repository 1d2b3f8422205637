"""Recalibrate: batch-norm statistics taken anew from the probe."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node
from torch.nn.modules.batchnorm import _BatchNorm

from pfa_gate.graph import inputs_of
from pfa_gate.graph.program import operator_name
from pfa_gate.model.copies import copied
from pfa_gate.model.device import input_device, inputs_on

_TRAINING, _MOMENTUM = 5, 6  # places of the operator's arguments


def recalibrate(model: nn.Module, batches: Iterable[Any]) -> tuple[nn.Module, int]:
    """Running means and variances as the mean over the batches of each batch's own; labels are not used.

    Args:
        model: not changed. One in the form of a graph has its batch norms as operators.
        batches: of inputs.

    Returns:
        A new model in eval mode, and how many batch norms were set anew.

    Example:
        >>> model, count = recalibrate(nn.BatchNorm1d(1).eval(), [torch.tensor([[1.0], [3.0]])])
        >>> model.running_mean, count
        (tensor([2.]), 1)
    """
    model = copied(model)
    norms = batch_norms(model)
    momenta = [norm.momentum for norm in norms]
    operators = _operators(model)
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a plain mean over batches
        norm.train()
    with torch.no_grad():
        for number, batch in enumerate(batches if norms or operators else (), start=1):
            _set(operators, training=True, momentum=1 / number)  # the same mean, as an operator takes it
            args, kwargs = inputs_on(inputs_of(batch), input_device(model))
            model(*args, **kwargs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    _set(operators, training=False, momentum=0.1)
    return model.eval(), len(norms) + len(operators)


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """The batch norms of a model that hold running statistics.

    Example:
        >>> len(batch_norms(nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2))))
        1
    """
    return [each for each in model.modules() if isinstance(each, _BatchNorm) and each.track_running_stats]


def _operators(model: nn.Module) -> list[tuple[GraphModule, Node]]:
    """The batch norms of graphs that use running statistics, which stand in their arguments 3 and 4."""
    graphs = [module for module in model.modules() if isinstance(module, GraphModule)]
    found = [(graph, node) for graph in graphs for node in graph.graph.nodes if operator_name(node) == "batch_norm"]
    return [(graph, node) for graph, node in found if isinstance(node.args[3], Node) and node.args[5] is False]


def _set(operators: Sequence[tuple[GraphModule, Node]], training: bool, momentum: float) -> None:
    for _, node in operators:
        node.update_arg(_TRAINING, training)
        node.update_arg(_MOMENTUM, momentum)
    for graph in {graph for graph, _ in operators}:
        graph.recompile()
