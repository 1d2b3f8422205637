"""Which layers of a model a forward pass calls, and of which it reads the weights without calling them.

nn.MultiheadAttention, for one, never calls its out_proj: it hands the weights to an operator.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pfa_gate.model.batch import Batch
from pfa_gate.model.device import input_device, inputs_on
from pfa_gate.model.forward import forward


@dataclass(frozen=True)
class LayerUses:
    """What became of some layers in one or more forward passes.

    Attributes:
        called: names of those that were called.
        read: names of those of whose weights an operator read some.
        untold: names of those of which neither is known.
    """

    called: frozenset[str]
    read: frozenset[str]
    untold: frozenset[str] = frozenset()

    @property
    def possible(self) -> frozenset[str]:
        """Those that may not be said to be unused."""
        return self.called | self.read | self.untold


def layer_uses(model: nn.Module, batches: Iterable[Batch], names: Collection[str]) -> LayerUses:
    """Run the model until each of these layers was used, or the batches end.

    Args:
        model: in eval mode; left as it was.
        batches: of inputs.
        names: of modules.

    Raises:
        DataError: the model does not run on a batch.

    Example:
        >>> attention = nn.MultiheadAttention(4, 2).eval()
        >>> tokens = torch.zeros(3, 1, 4)
        >>> layer_uses(attention, [Batch((tokens, tokens, tokens), {})], ["out_proj"])
        Uses(called=frozenset(), read=frozenset({'out_proj'}), untold=frozenset())
    """
    called: set[str] = set()
    read: set[str] = set()
    untold: set[str] = set()
    with _noting(model, names, called):
        for batch in batches:
            args, kwargs = inputs_on((batch.args, batch.kwargs), input_device(model))
            there = Batch(args, kwargs)
            try:
                with torch.no_grad(), _Reads(_owners(model, names), read):
                    model(*there.args, **there.kwargs)
            except Exception:  # the model does not run while somebody looks on; if it runs alone, nothing is known
                forward(model, there)
                untold.update(names)
            if read | called | untold >= set(names):
                break
    return LayerUses(frozenset(called), frozenset(read), frozenset(untold - read - called))


@contextmanager
def _noting(model: nn.Module, names: Collection[str], called: set[str]) -> Iterator[None]:
    def note(name: str) -> Any:
        return lambda _module, _inputs: called.add(name)

    handles = [model.get_submodule(name).register_forward_pre_hook(note(name)) for name in names]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _owners(model: nn.Module, names: Collection[str]) -> dict[int, set[str]]:
    """The layers whose weights lie in each piece of memory."""
    owners: dict[int, set[str]] = {}
    for name in names:
        for parameter in model.get_submodule(name).parameters():
            owners.setdefault(_memory(parameter), set()).add(name)
    owners.pop(0, None)  # weights that are fetched when they are needed
    return owners


def _memory(tensor: Tensor) -> int:
    try:
        return tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):  # a tensor without memory of its own
        return 0


class _Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes whose weights operators read."""

    supports_higher_order_operators = True

    def __init__(self, owners: Mapping[int, set[str]], read: set[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._owners, self._read = owners, read

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor):
                self._read.update(self._owners.get(_memory(leaf), ()))
        return func(*args, **(kwargs or {}))
