"""A model in eval mode for a while: whatever its forward passes keep in it is taken back."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[nn.Module]:
    """The model in eval mode; afterwards each of its modules is restored, whatever happens.

    Not the training flags alone: some models register hooks or set attributes in their first forward pass.
    """
    kept = Kept(model)
    try:
        model.eval()
        yield model
    finally:
        kept.restore()


class Kept:
    """What a model keeps, to restore it after forward passes: attributes, hooks, and buffers that are written into.

    Example:
        >>> import torch
        >>> norm = nn.BatchNorm1d(2)
        >>> kept = Kept(norm)
        >>> _ = norm(torch.ones(4, 2))
        >>> kept.restore()
        >>> norm.num_batches_tracked
        tensor(0)
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = [(module, _portrait(module)) for module in model.modules()]
        self._buffers = [
            (each, each._version, each.detach().clone())
            for each in model.buffers()
            if not each.is_meta and not each.is_inference()
        ]

    def restore(self) -> None:
        """Bring everything back; may be called several times."""
        for module, portrait in self._modules:
            _restore(module, *portrait)
        for buffer, version, before in self._buffers:
            if buffer._version != version:
                buffer.data.copy_(before)


def _portrait(module: nn.Module) -> tuple[dict[str, Any], list[tuple[dict[Any, Any], dict[Any, Any]]]]:
    """Each attribute, and for those that are tables (parameters, buffers, hooks) what stands in them."""
    attributes = vars(module)
    return attributes.copy(), [(table, dict(table)) for table in attributes.values() if isinstance(table, dict)]


def _restore(
    module: nn.Module, attributes: Mapping[str, Any], tables: Sequence[tuple[dict[Any, Any], Mapping[Any, Any]]]
) -> None:
    for table, entries in tables:
        if len(table) != len(entries) or not _same_entries(table, entries):
            table.clear()
            table.update(entries)
    vars(module).clear()
    vars(module).update(attributes)


def _same_entries(value: Mapping[Any, Any], entries: Mapping[Any, Any]) -> bool:
    return not entries or (value.keys() == entries.keys() and all(value[key] is entries[key] for key in entries))
