"""The loss of distillation: how far the logits and the outputs of the blocks of two models differ."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from pfa_gate.errors import DataError

Outputs = dict[str, Tensor]


@contextmanager
def block_outputs(model: nn.Module) -> Iterator[Outputs]:
    """While it is open: outputs of the model's blocks, the modules that hold others, in its last run, by name.

    Example:
        >>> net = nn.Sequential(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), nn.Linear(3, 1))
        >>> with block_outputs(net) as outputs:
        ...     output = net(torch.ones(5, 2))
        >>> {name: tuple(one.shape) for name, one in outputs.items()}
        {'0': (5, 3)}
    """
    outputs: Outputs = {}

    def hook(name: str) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            leaf = _floating(output)
            # A block that ends in another one has no output of its own.
            if leaf is not None and all(leaf is not other for other in outputs.values()):
                outputs[name] = leaf

        return keep

    blocks = [(name, module) for name, module in model.named_modules() if name and next(module.children(), None)]
    hooks = [module.register_forward_hook(hook(name)) for name, module in blocks]
    try:
        yield outputs
    finally:
        for each in hooks:
            each.remove()


def logits_of(output: Any) -> Tensor:
    """The logits of what a model gave: what it names so, or its first floating tensor.

    Raises:
        DataError: there is none.

    Example:
        >>> logits_of((torch.tensor([1]), torch.tensor([0.5])))
        tensor([0.5000])
    """
    named = output.get("logits") if isinstance(output, dict) else getattr(output, "logits", None)
    leaf = _floating(output if named is None else named)
    if leaf is None:
        raise DataError(f"The model's output, of type {type(output).__name__}, holds no floating tensor.")
    return leaf


def squared_error(given: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Summed squares of the difference of two outputs, and of the one that was wanted.

    Example:
        >>> squared_error(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 2.0]))
        (tensor(1.), tensor(5.))
    """
    # Half precision is too coarse for what two good models differ by.
    wide = torch.promote_types(wanted.dtype, torch.float32)
    given, wanted = given.to(wide), wanted.to(given.device, wide)
    return _squared(given - wanted), _squared(wanted)


def relative(given: Tensor, wanted: Tensor) -> Tensor:
    """The squared error as a share of the square of what was wanted; as it is where that is zero.

    Example:
        >>> relative(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 2.0]))
        tensor(0.2000)
    """
    error, size = squared_error(given, wanted)
    return error / torch.where(size > 0, size, 1)


def distill_loss(full: nn.Module, student: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
    """The relative error of the logits, plus those of the blocks.

    Blocks count where their outputs have the same shapes in both models.

    Example:
        >>> net = nn.Linear(2, 3)
        >>> distill_loss(net, net, (torch.ones(1, 2),), {}).item()
        0.0
    """
    with block_outputs(full) as theirs, torch.no_grad():
        wanted = logits_of(full(*args, **kwargs))
    with block_outputs(student) as ours:
        loss = relative(logits_of(student(*args, **kwargs)), wanted)
    shared = [name for name, one in ours.items() if name in theirs and one.shape == theirs[name].shape]
    # A model may be spread over several devices.
    hints = [relative(ours[name], theirs[name]).to(loss.device) for name in shared]
    return loss + torch.stack(hints).sum() if hints else loss


def _squared(value: Tensor) -> Tensor:
    # A norm makes no tensor of squares. It adds up in the value's own precision: fit for one sample, not for all.
    norms: Tensor = torch.linalg.vector_norm(value, dim=tuple(range(1, value.ndim)))
    return norms.square().sum()


def _floating(output: Any) -> Tensor | None:
    leaves = (leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor) and leaf.is_floating_point())
    return next(leaves, None)
