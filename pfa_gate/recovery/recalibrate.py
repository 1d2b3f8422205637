"""Recalibrate: batch-norm statistics taken anew from the probe."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pfa_gate.coupling import inputs_of
from pfa_gate.loading.copying import copied
from pfa_gate.loading.device import inputs_on, where


def recalibrate(model: nn.Module, batches: Iterable[Any]) -> tuple[nn.Module, int]:
    """Running means and variances as the mean over the batches of each batch's own; labels are not used.

    Args:
        model: not changed.
        batches: of inputs.

    Returns:
        A new model in eval mode, and how many batch norms were set anew.

    Example:
        >>> model, count = recalibrate(nn.BatchNorm1d(1).eval(), [torch.tensor([[1.0], [3.0]])])
        >>> model.running_mean, count
        (tensor([2.]), 1)
    """
    model = copied(model)
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a plain mean over batches
        norm.train()
    with torch.no_grad():
        for batch in batches if norms else ():
            args, kwargs = inputs_on(inputs_of(batch), where(model))
            model(*args, **kwargs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval(), len(norms)
