"""A model in eval mode for a while: whatever its forward passes keep in it is taken back."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

Table = dict[Any, Any]


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator["Kept"]:
    """The model in eval mode; afterwards each of its modules is restored, whatever happens.

    Not the training flags alone: some models register hooks or set attributes in their first forward pass. What is
    given restores all but the flags between two passes.
    """
    flags = [(module, module.training) for module in model.modules()]
    model.eval()
    kept = Kept(model)
    try:
        yield kept
    finally:
        kept.restore()
        for module, training in flags:
            vars(module)["training"] = training


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
        self._modules = [(vars(module), _portrait(vars(module))) for module in model.modules()]
        buffers = [each for each in model.buffers() if not each.is_meta and not each.is_inference()]
        self._buffers = [(each, each._version, each.detach().clone()) for each in buffers]

    def restore(self) -> None:
        """Bring everything back; may be called several times."""
        for attributes, portrait in self._modules:
            _restore(attributes, portrait)
        for buffer, version, before in self._buffers:
            if buffer._version != version:
                buffer.data.copy_(before)


def _portrait(attributes: Mapping[str, Any]) -> tuple[Table, list[tuple[Table, Table]]]:
    """The attributes, and those that are tables (parameters, buffers, hooks) with what stands in them."""
    return dict(attributes), [(each, each.copy()) for each in attributes.values() if isinstance(each, dict)]


def _restore(attributes: Table, portrait: tuple[Table, list[tuple[Table, Table]]]) -> None:
    former, tables = portrait
    for table, entries in tables:
        if (table or entries) and not _same(table, entries):
            table.clear()
            table.update(entries)
    if not _same(attributes, former):
        attributes.clear()
        attributes.update(former)


def _same(table: Table, entries: Table) -> bool:
    """Whether two tables hold the same objects under the same keys, in the same order."""
    return len(table) == len(entries) and all(
        key == other and table[key] is entries[other] for key, other in zip(table, entries, strict=True)
    )
