"""Whose operator runs, and operators that run whole: what watching a forward pass takes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

# Where autograd takes no part, it takes no operator apart. Unlike inference mode, tensors that code of the model caches
# for good may be used everywhere afterwards.
_below_autograd = getattr(torch._C, "_AutoDispatchBelowAutograd", torch.inference_mode)


class Owners:
    """The module whose forward runs; modules without a name belong to the one that calls them.

    Args:
        modules: of the model, by qualified name.

    Example:
        >>> net, seen = nn.Sequential(nn.ReLU()), []
        >>> owners = Owners(dict(net.named_modules()))
        >>> _ = net[0].register_forward_pre_hook(lambda *_: seen.append(owners.current))
        >>> with owners.followed():
        ...     _ = net(torch.zeros(1))
        >>> seen, owners.current
        (['0'], '')
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self._names = {id(module): name for name, module in modules.items()}
        self._running = [""]

    @property
    def current(self) -> str:
        """Qualified name of the innermost module that runs; empty for the model itself."""
        return self._running[-1]

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Follow which module runs inside the block."""

        def entered(module: nn.Module, *_: Any) -> None:
            self._running.append(self._names.get(id(module), self._running[-1]))

        def left(*_: Any) -> None:
            self._running.pop()

        before = register_module_forward_pre_hook(entered)
        after = register_module_forward_hook(left, always_call=True)
        try:
            yield
        finally:
            after.remove()
            before.remove()


@contextmanager
def whole_operators() -> Iterator[None]:
    """Have operators run whole, and without gradients."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it fuses a whole layer into one operator
    try:
        with torch.no_grad(), _below_autograd():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
