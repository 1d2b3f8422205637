"""An evaluation in two halves: one to choose by, and one to report, so that what is reported was not chosen for."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pfa_gate.errors import DataError
from pfa_gate.model import Batch, Batches

Rows = npt.NDArray[np.bool_]
_STREAM = 0x5C02E  # of random numbers, that no other draw with the same seed has
FEWEST = 2


def halves(batches: Batches, seed: int) -> tuple[Batches, Batches]:
    """Two halves of the samples, drawn by a seed; each class is divided alike where every sample has one.

    Args:
        batches: read once to count them, and once at each reading of a half.
        seed: of the draw, which does not depend on the batch size.

    Raises:
        DataError: there are fewer than four samples.

    Example:
        >>> from pfa_gate.model import Sampling, batches_of
        >>> data = batches_of((torch.arange(8.0)[:, None], torch.arange(8) % 2), "eight", Sampling(batch_size=3))
        >>> one, other = halves(data, seed=0)
        >>> one.samples, other.samples, sorted(int(label) for batch in one for label in batch.labels)
        (4, 4, [0, 0, 1, 1])
    """
    classes = [_classes(batch) for batch in batches]
    total = sum(len(each) for each in classes)
    if total < 2 * FEWEST:
        fact = f"'{batches.name}' has {total} samples, too few for a half to search with and a half to report."
        raise DataError(fact, remedy="Give more, or name other samples under recipe.data.", where=batches.where)
    first = _drawn(np.concatenate(classes), seed)
    return _part(batches, first), _part(batches, ~first)


def _classes(batch: Batch) -> npt.NDArray[np.int64]:
    """The class of each sample; -1 where they have none."""
    labels = batch.labels
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.shape != (batch.size,):
        return np.full(batch.size, -1)
    found: npt.NDArray[np.int64] = labels.long().cpu().numpy()
    return found


def _drawn(classes: npt.NDArray[np.int64], seed: int) -> Rows:
    """Which samples are in the first half: every other one of a random order that is sorted by class."""
    order = np.random.default_rng([seed, _STREAM]).permutation(len(classes))
    order = order[np.argsort(classes[order], kind="stable")]
    first = np.zeros(len(classes), dtype=np.bool_)
    first[order[::2]] = True
    return first


def _part(batches: Batches, rows: Rows) -> Batches:
    def source() -> Iterator[Batch]:
        start = 0
        # Each batch of the whole draws as it would without the division, so that a sample is the same in both.
        for batch in batches:
            wanted = np.flatnonzero(rows[start : start + batch.size])
            start += batch.size
            if len(wanted):
                yield batch.take(torch.from_numpy(wanted))

    return Batches(batches.name, source, batches.seed, batches.where)
