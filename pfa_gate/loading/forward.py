"""One call of the model."""

from typing import Any

import torch
from torch import nn

from pfa_gate.errors import DataError
from pfa_gate.loading.batch import Batch
from pfa_gate.loading.blame import raised


def forward(model: nn.Module, batch: Batch) -> Any:
    """Call the model on a batch, without gradients.

    Args:
        model: in eval mode.
        batch: its labels are not used.

    Returns:
        What the model gives.

    Raises:
        DataError: the model raises, which most often means data of the wrong shape or type.

    Example:
        >>> forward(nn.Linear(2, 3), Batch((torch.zeros(4, 2),), {})).shape
        torch.Size([4, 3])
        >>> forward(nn.Linear(2, 3), Batch((torch.zeros(4, 5),), {}))
        Traceback (most recent call last):
        pfa_gate.errors.DataError: The model does not take float32 [4, 5]: it raised RuntimeError: ...
    """
    try:
        with torch.no_grad():
            return model(*batch.args, **batch.kwargs)
    except Exception as error:
        given = ", ".join(f"{str(t.dtype).removeprefix('torch.')} {list(t.shape)}" for t in batch.tensors())
        raise DataError(
            f"The model does not take {given}: it raised {raised(error)}.",
            remedy="Give the data in the shape and type that the model was trained on.",
        ) from error
