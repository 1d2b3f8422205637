"""One call of the model."""

import inspect
from typing import Any

import torch
from torch import nn

from pfa_gate.errors import DataError
from pfa_gate.model.batch import Batch
from pfa_gate.model.user_frames import about_devices, raised
from pfa_gate.model.wrappers import uncompiled


def forward(model: nn.Module, batch: Batch) -> Any:
    """Call the model on a batch, without gradients.

    Args:
        model: in eval mode.
        batch: its labels are not used.

    Returns:
        What the model gives.

    Raises:
        DataError: the model raises, which most often means data of the wrong shape or type.

    What is compiled runs as it was written.

    Example:
        >>> forward(nn.Linear(2, 3), Batch((torch.zeros(4, 2),), {})).shape
        torch.Size([4, 3])
        >>> forward(nn.Linear(2, 3), Batch((torch.zeros(4, 5),), {}))
        Traceback (most recent call last):
        pfa_gate.errors.DataError: The model does not take float32 [4, 5]: it raised RuntimeError: ...
    """
    try:
        with torch.no_grad(), uncompiled():
            return model(*batch.args, **batch.kwargs)
    except Exception as error:
        raise _refused(model, batch, error) from error


def _refused(model: nn.Module, batch: Batch, error: Exception) -> DataError:
    """Tell a call that cannot be from a forward that reaches for another device, and both from all else."""
    misfit = _misfit(model, batch)
    if misfit:
        return DataError(
            f"The data gives {_inputs(batch)}, and the model's forward takes {misfit}.",
            remedy="Each entry of a mapping is an argument of forward, by its name; `labels` is kept apart."
            if batch.kwargs
            else "Give one tensor with all samples for each argument, then the labels.",
        )
    given = ", ".join(f"{str(t.dtype).removeprefix('torch.')} {list(t.shape)}" for t in batch.tensors())
    devices = about_devices(error)
    if devices:
        return DataError(f"The model's forward raised {raised(error)}.", remedy=devices)
    return DataError(
        f"The model does not take {given}: it raised {raised(error)}.",
        remedy="Give the data in the shape and type that the model was trained on.",
    )


def _misfit(model: nn.Module, batch: Batch) -> str:
    """The arguments of forward, where the batch cannot be passed to it; else nothing."""
    try:
        signature = inspect.signature(model.forward)
    except (TypeError, ValueError):
        return ""
    try:
        signature.bind(*batch.args, **batch.kwargs)
    except TypeError as error:
        bare = [each.replace(annotation=each.empty) for each in signature.parameters.values()]
        written = signature.replace(parameters=bare, return_annotation=signature.empty)
        return f"{written}: {error}"
    return ""


def _inputs(batch: Batch) -> str:
    count = len(batch.args)
    parts = [f"{count} input{'s' if count > 1 else ''} a call"] if count else []
    return " and ".join([*parts, *([f"the entries {', '.join(batch.kwargs)}"] if batch.kwargs else [])])
