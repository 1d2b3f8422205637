"""What a selection looks at, and what it gives: an order in which filters go, and the indices that stay."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import torch

from pfa_gate.analysis.spectrum import Spectrum
from pfa_gate.compress.full_rows import FullRows
from pfa_gate.graph import Group, Program
from pfa_gate.graph.group import Indices
from pfa_gate.model.batch import Batch, batch_of
from pfa_gate.model.device import CPU


@dataclass(frozen=True)
class Evidence:
    """The full model as selections see it.

    Attributes:
        program: of the full model.
        groups: the groups that are to be cut.
        spectra: group name -> spectrum, for at least these groups.
        batches: the probe's batches, the same at each reading; only `taylor` reads their labels.
        seed: of whatever is drawn.
        device: where the model runs over the batches; the program's own tensors stay where they are.
        kept: where `reconstruction` keeps values of its pass that compensation would compute again.
    """

    program: Program
    groups: Sequence[Group]
    spectra: Mapping[str, Spectrum]
    batches: Iterable[Any] = field(repr=False)
    seed: int = 0
    device: torch.device = CPU
    kept: FullRows | None = field(default=None, repr=False)

    @cached_property
    def running(self) -> Program:
        """The program on the device."""
        return self.program.on(self.device)

    def runs(self, batch: Any) -> Iterator[Any]:
        """A batch, or its parts of the one size that a program with a fixed batch takes; a rest is left out."""
        size = self.program.batch
        whole = None if self.program.dynamic else batch if isinstance(batch, Batch) else batch_of(batch)
        if whole is None or whole.size == size:
            yield batch
            return
        for start in range(0, whole.size - size + 1, size):
            yield whole.take(slice(start, start + size))


# For every group all its filters in the order in which they are removed, int64 [C].
Orders: TypeAlias = Mapping[str, Indices]
Criterion: TypeAlias = Callable[[Evidence], Orders]


@dataclass(frozen=True, eq=False)
class Selection:
    """Which filters each group keeps.

    Args:
        indices: group name -> int64 [keep], ascending indices into the group's filters.

    Example:
        >>> Selection({"stem": np.array([0, 2])}).indices["stem"].tolist()
        [0, 2]
    """

    indices: dict[str, Indices]


def keep_last(orders: Orders, counts: dict[str, int]) -> Selection:
    """The selection that removal orders and counts make.

    Args:
        orders: group name -> removal order, int64 [C], for at least the groups of `counts`.
        counts: group name -> how many filters stay.

    Example:
        >>> keep_last({"stem": np.array([2, 0, 1])}, {"stem": 2}).indices["stem"].tolist()
        [0, 1]
    """
    return Selection({name: np.sort(orders[name][len(orders[name]) - count :]) for name, count in counts.items()})
