"""A network cut at every other filter of every free group, and what it must equal, made by hand."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from networks import conditioned
from torch import Tensor, nn

from pfa_gate.compress.prune import PrunedModel, compress
from pfa_gate.graph import Coupling, inputs_of, trace


@dataclass(frozen=True)
class Halved:
    """A network, its groups, the filters kept, and the cut."""

    model: nn.Module
    groups: Coupling
    keep: Mapping[str, np.ndarray]
    result: PrunedModel

    @property
    def left(self) -> float:
        """The share of the parameters that is left."""
        counts = {name: len(kept) for name, kept in self.keep.items()}
        return self.groups.footprint(counts).parameters / self.groups.footprint().parameters

    def silenced(self) -> nn.Module:
        """A copy with zeros in all that makes or reads a filter that is not kept; from the public page alone."""
        silent = copy.deepcopy(self.model)
        tensors = dict(silent.named_parameters(remove_duplicate=False))
        with torch.no_grad():
            for name, kept in self.keep.items():
                for part in self.groups.group(name).slices:
                    if part.parameter in tensors:
                        gone = np.flatnonzero((part.filters >= 0) & ~np.isin(part.filters, kept))
                        tensors[part.parameter].index_fill_(part.axis, torch.from_numpy(gone), 0)
        return silent


def halved(model: nn.Module, example: Tensor) -> Halved:
    """Cut a network, whose weights are drawn so that mistakes show; nothing may be put back."""
    model = conditioned(model)
    groups = trace(model, example)
    keep = {group.name: np.arange(group.width)[::2] for group in groups.free}
    result = compress(model, groups, keep, inputs_of(example))
    assert result.put_back == {}
    return Halved(model, groups, keep, result)


def assert_alike(one: nn.Module, other: nn.Module, example: Tensor) -> None:
    """Both give the same, in double precision, for inputs that no proof has seen, at another batch; not just zeros."""
    fresh = torch.randn(5, *example.shape[1:], generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        found, wanted = one(fresh), other(fresh)
    assert float(wanted.std()) > 1e-3
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
