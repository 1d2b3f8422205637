"""Which layers are measured: those that pfa.yaml chooses and the forward pass uses, and why one of them cannot be.

A layer may be used without being called: nn.MultiheadAttention hands the weights of its out_proj to an operator.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pfa_gate.errors import LayerNotCalledError, LayerPatternError
from pfa_gate.graph import Layer, Tap, inputs_of
from pfa_gate.model.batch import Batch
from pfa_gate.model.device import input_device, inputs_on
from pfa_gate.model.torch_module import forward


@dataclass(frozen=True)
class LayerUses:
    """How one or more forward passes used some layers.

    Attributes:
        called: names of those that were called.
        read: names of those of whose weights an operator read some.
        unknown: names of those of which neither is known.
    """

    called: frozenset[str]
    read: frozenset[str]
    unknown: frozenset[str] = frozenset()

    @property
    def possible(self) -> frozenset[str]:
        """Layers that may have been used."""
        return self.called | self.read | self.unknown


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
        LayerUses(called=frozenset(), read=frozenset({'out_proj'}), unknown=frozenset())
    """
    called: set[str] = set()
    read: set[str] = set()
    unknown: set[str] = set()
    with _noting(model, names, called):
        for batch in batches:
            args, kwargs = inputs_on((batch.args, batch.kwargs), input_device(model))
            moved = Batch(args, kwargs)
            try:
                with torch.no_grad(), _Reads(_owners(model, names), read):
                    model(*moved.args, **moved.kwargs)
            except Exception:  # it does not run under a dispatch mode; if it runs without one, its uses are unknown
                forward(model, moved)
                unknown.update(names)
            if read | called | unknown >= set(names):
                break
    return LayerUses(frozenset(called), frozenset(read), frozenset(unknown - read - called))


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


_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED, nn.Linear)


USE_UNKNOWN = "whether the forward pass uses it cannot be known"


def chosen_layers(
    model: nn.Module, layers: Sequence[Layer], include: Sequence[str], exclude: Sequence[str], example: Any
) -> tuple[Layer, ...]:
    """The convolutions and linears whose names match, in the order of the forward pass.

    Args:
        model: the model itself, to know of layers that are never called.
        layers: those whose calls are followed.
        include: patterns on module names; `*` matches any characters, dots too.
        exclude: patterns of layers to leave out all the same.
        example: a batch of inputs, on which a layer that is not followed is looked for.

    Returns:
        The layers; last those that are used and cannot be measured: without taps, and with the reason.

    Raises:
        LayerPatternError: a pattern matches no layer.
        LayerNotCalledError: layers that match are never called, nor are their weights read.
    """
    called = {layer.name: layer for layer in layers if layer.kind != "embedding"}
    silent = _uncalled(model, called)
    if not called and not silent:
        raise LayerPatternError(
            f"The model ({type(model).__name__}) has no convolution and no linear module that could be measured.",
            remedy="Build it of torch.nn's layers.",
        )
    names = {name: _names(layer) for name, layer in called.items()} | {name: {name} for name in silent}
    for pattern in (*include, *exclude):
        if not any(_matches(known, [pattern]) for known in names.values()):
            raise LayerPatternError(
                f"The pattern '{pattern}' matches no layer.",
                remedy=f"The layers are: {_listed([*called, *silent])}.",
            )
    wanted = [name for name, known in names.items() if _matches(known, include) and not _matches(known, exclude)]
    unfollowed = [name for name in wanted if name not in called]
    used = layer_uses(model, [Batch(*inputs_of(example))], unfollowed) if unfollowed else None
    reasons = {name: _unfollowed(name, used) for name in unfollowed if name in used.possible} if used else {}
    require_used([name for name in unfollowed if name not in reasons])
    return tuple(called.get(name) or unmeasured(model, name, reasons[name]) for name in wanted)


def _unfollowed(name: str, used: LayerUses) -> str:
    if name in used.unknown:
        return USE_UNKNOWN
    if name in used.called:
        return "it is called, but nothing that it makes of the input is followed to an output"
    return "its weights are read without calling it, in a way that is not followed"


def unmeasured(model: nn.Module, name: str, reason: str) -> Layer:
    """A layer of the model that is used and cannot be measured: it has no taps, and the reason."""
    return replace(_hooked(name, model.get_submodule(name), reason), taps=())


def _uncalled(model: nn.Module, called: Collection[str]) -> list[str]:
    """Layers of whose weights the program reads none; a module registered twice counts once."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, _LAYERS) and name not in called and not _has_namesake(model, module, called)
    ]


def _has_namesake(model: nn.Module, module: nn.Module, called: Collection[str]) -> bool:
    names = (name for name, other in model.named_modules(remove_duplicate=False) if other is module)
    owned = {id(parameter) for parameter in module.parameters(recurse=False)}
    tied = (
        name.rpartition(".")[0]
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if id(parameter) in owned
    )
    return any(name in called for name in (*names, *tied))


def _names(layer: Layer) -> set[str]:
    """What a pattern may call a layer: its name, or the module that holds its weight, which may hold several."""
    return {layer.name, layer.weight.rpartition(".")[0] or layer.name}


def _matches(names: Iterable[str], patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


def _listed(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "")


def hooked_layers(model: nn.Module) -> tuple[Layer, ...]:
    """The convolutions and linears of a model that cannot be followed: they are read by hooks, and none is cut."""
    reason = "the model cannot be followed, so nothing of it is cut"
    return tuple(_hooked(name, module, reason) for name, module in model.named_modules() if isinstance(module, _LAYERS))


def _hooked(name: str, module: nn.Module, reason: str) -> Layer:
    linear = isinstance(module, nn.Linear)
    axis = 1 if isinstance(module, _TRANSPOSED) else 0
    filters = int(module.out_features if linear else module.out_channels)  # type: ignore[arg-type]
    tap = Tap(name, -1 if linear else 1, np.arange(filters))
    kind = "linear" if linear else "convolution"
    return Layer(name, kind, filters, f"{name}.weight", axis, (tap,), (), reason)


def require_used(never: Sequence[str]) -> None:
    """Refuse layers that are never called and whose weights are not read.

    Raises:
        LayerNotCalledError: there are some; it names them all.
    """
    if not never:
        return
    names = ", ".join(f"'{name}'" for name in never)
    one = len(never) == 1
    raise LayerNotCalledError(
        f"Layer {names} is never called in the forward pass."
        if one
        else f"{len(never)} layers are never called in the forward pass: {names}.",
        remedy=f"Remove {'it' if one else 'them'} from the model, or exclude {'it' if one else 'them'}: "
        f"layers: {{exclude: [{', '.join(never)}]}}.",
    )
