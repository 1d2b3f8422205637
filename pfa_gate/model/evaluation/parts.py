"""A data set cut into equal parts, on each of which a metric can be asked alone."""

from collections.abc import Iterator

from pfa_gate.model import Batch, Batches

_MOST_PARTS = 20
_FEWEST_IN_PART = 8
_FEWEST_PARTS = 8
FEWEST_SAMPLES = _FEWEST_IN_PART * _FEWEST_PARTS


def parts_of(batches: Batches) -> Iterator[Batches]:
    """Cut a data set into 8 to 20 parts of consecutive samples, equal up to one sample; its batches are cut with them.

    Args:
        batches: of at least 64 samples. They are read once, and one part at a time is held in memory.

    Example:
        >>> import torch
        >>> from pfa_gate.model import Sampling, batches_of
        >>> whole = batches_of((torch.zeros(100, 2), torch.zeros(100)), "zeros", Sampling(batch_size=30))
        >>> [part.samples for part in parts_of(whole)]
        [8, 8, 9, 8, 8, 9, 8, 8, 9, 8, 8, 9]
    """
    total = batches.samples
    count = min(_MOST_PARTS, total // _FEWEST_IN_PART)
    ends = [total * (part + 1) // count for part in range(count)]
    held: list[Batch] = []
    seen = 0
    for batch in batches:
        start = 0
        while start < batch.size:
            stop = min(batch.size, start + ends[0] - seen)
            held.append(batch.take(slice(start, stop)))
            seen += stop - start
            start = stop
            if seen == ends[0]:
                yield _part(batches, tuple(held))
                held.clear()
                ends.pop(0)


def _part(whole: Batches, held: tuple[Batch, ...]) -> Batches:
    return Batches(whole.name, lambda: iter(held), whole.seed, whole.where)
