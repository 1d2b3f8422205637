"""Selection by the kernels that read each filter: their sparsity and entropy (KSE, Li et al. 2019)."""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pfa_gate.compress.select.importance import l1
from pfa_gate.compress.select.readers import columns_of, readers
from pfa_gate.compress.select.selection import Evidence, Orders
from pfa_gate.graph import Group
from pfa_gate.graph.calls import Call, calls, matrix_of

NEIGHBOURS = 5  # of each kernel, as in the paper


def kse(evidence: Evidence) -> Orders:
    """Filters by the indicator of kernel sparsity and entropy, smallest first, averaged over the layers that read them.

    A filter counts where the kernels that read it are large, and unlike in how near their neighbours are. A group that
    no reader mixes is ordered by the L1 norm of its own weights.

    Example:
        >>> from pfa_gate.graph import record_model, trace_program
        >>> net = torch.nn.Sequential(torch.nn.Linear(1, 3), torch.nn.Linear(3, 2, bias=False))
        >>> net[1].weight.data = torch.tensor([[3.0, 0.0, 1.0], [3.0, 0.0, 2.0]])
        >>> program = record_model(net, (torch.zeros(2, 1),), {})
        >>> kse(Evidence(program, trace_program(program).groups[:1], {}, []))["0"].tolist()
        [1, 2, 0]
    """
    every = calls(evidence.program)
    found = {group.name: _indicators(evidence, every, group) for group in evidence.groups}
    unread = [group for group in evidence.groups if not found[group.name]]
    orders = {name: torch.stack(each).mean(0).argsort(stable=True) for name, each in found.items() if each}
    return {name: order.numpy().astype(np.int64) for name, order in orders.items()} | dict(
        l1(replace(evidence, groups=unread))
    )


def _indicators(evidence: Evidence, every: tuple[Call, ...], group: Group) -> list[Tensor]:
    """Of each layer that reads the group, float64 [C]."""
    matrices = (
        (part, matrix_of(call, evidence.program.tensors[call.weight].double())) for call, part in readers(every, group)
    )
    return [
        indicator(matrix[:, columns_of(part, matrix.shape[1])].permute(1, 0, 3, 2).flatten(1, 2))
        for part, matrix in matrices
    ]


def indicator(kernels: Tensor) -> Tensor:
    """The KSE indicator of each filter: sqrt(s / (1 + e)) of its kernels' sparsity and entropy, each from 0 to 1.

    Args:
        kernels: float64 [C, N, D], the N kernels of D weights that read each of C filters.

    Returns:
        float64 [C], from 0 to 1.

    Source: Li et al. 2019, "Exploiting Kernel Sparsity and Entropy for Interpretable CNN Compression", section 3.

    Example:
        >>> indicator(torch.tensor([[[2.0], [1.0]], [[0.0], [0.0]]], dtype=torch.float64)).tolist()
        [1.0, 0.0]
    """
    sparsity = _from_zero_to_one(kernels.abs().sum((1, 2)))
    entropy = _from_zero_to_one(torch.stack([_entropy(each) for each in kernels]))
    return _from_zero_to_one((sparsity / (1 + entropy)).sqrt())


def _entropy(kernels: Tensor) -> Tensor:
    """Of the distances from each of N kernels [N, D] to its nearest neighbours, in bits."""
    distances = torch.cdist(kernels, kernels, compute_mode="donot_use_mm_for_euclid_dist")
    near = distances.sort(1).values[:, 1 : NEIGHBOURS + 1].sum(1)
    shares = near / near.sum().clamp_min(torch.finfo(torch.float64).tiny)
    entropy: Tensor = torch.special.entr(shares).sum() / math.log(2)
    return entropy


def _from_zero_to_one(values: Tensor) -> Tensor:
    """Shifted and scaled so that the smallest is 0 and the largest 1; zeros where all are alike."""
    spread = values.max() - values.min()
    return (values - values.min()) / spread.clamp_min(torch.finfo(torch.float64).tiny)
