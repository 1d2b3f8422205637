"""The recovery step `finetune`: the user's own training, on a copy."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from pfa_gate.errors import FactoryError
from pfa_gate.model.batch import batch_usage
from pfa_gate.model.copies import copied
from pfa_gate.model.user_frames import raised

Training = Callable[[nn.Module, Iterable[Any]], Any]


def finetune(model: nn.Module, batches: Iterable[Any], training: Training, seed: int = 0) -> nn.Module:
    """Run the user's callable(model, batches) -> None on a copy of the model.

    Args:
        model: not changed.
        batches: the probe's, with their labels where it has any.
        training: changes the model it is given, which lies on the CPU and may be moved; what it returns is not used.
        seed: of torch's global generator while it runs.

    Returns:
        The trained copy in eval mode.

    Raises:
        FactoryError: the callable raises, or leaves another size of parameter behind.

    Example:
        >>> finetune(nn.Linear(1, 1), [], lambda model, batches: nn.init.ones_(model.weight)).weight.item()
        1.0
    """
    trained = copied(model)
    shapes = {name: tensor.shape for name, tensor in trained.state_dict().items()}
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.default_generator.manual_seed(seed)
            training(trained, batches)
    except Exception as error:  # a user's training may raise anything
        fact = f"The finetune step raised {raised(error)}."
        raise FactoryError(fact, remedy=batch_usage(error, getattr(training, "__name__", "finetune"))) from error
    if {name: tensor.shape for name, tensor in trained.state_dict().items()} != shapes:
        raise FactoryError(
            "The finetune step changed the shapes of the model.", remedy="Train its weights and leave their sizes."
        )
    return trained.cpu().eval()
