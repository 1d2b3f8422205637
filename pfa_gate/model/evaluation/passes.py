"""The data that a metric of the user's own reads: each pass over it is watched, and it is cut into equal parts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from torch import nn

from pfa_gate.errors import DataError, MetricError
from pfa_gate.model import Batch, Batches, Fingerprint

_AGAIN = "Give the same data in the same order every time it is read; a generator is spent after the first time."


@dataclass
class DataPass:
    """One reading of the data.

    Attributes:
        seen: the fingerprint of what was read so far, inputs and labels.
        complete: whether it was read to the end.
    """

    seen: Fingerprint = field(default_factory=lambda: Fingerprint(labels=True))
    complete: bool = False


def with_passes(batches: Batches) -> tuple[Batches, list[DataPass]]:
    """The same data, and a list to which each pass over it is added.

    Example:
        >>> import torch
        >>> from pfa_gate.model import Sampling, batches_of
        >>> data, passes = with_passes(batches_of(torch.zeros(5, 2), "zeros", Sampling(batch_size=2)))
        >>> [batch.size for batch in data], [(each.seen.samples, each.complete) for each in passes]
        ([2, 2, 1], [(5, True)])
    """
    passes: list[DataPass] = []

    def source() -> Iterator[Batch]:
        data_pass = DataPass()
        passes.append(data_pass)
        for batch in batches.source():
            data_pass.seen.update(batch)
            yield batch
        data_pass.complete = True

    copy = replace(batches, source=source)
    vars(copy).update({name: value for name, value in vars(batches).items() if name == "_measured"})
    return copy, passes


def data_read(passes: Sequence[DataPass], metric: str, batches: Batches) -> tuple[int, str]:
    """How many samples a metric read, and their fingerprint; an incomplete pass counts only where there is no other.

    Raises:
        MetricError: it read none.
        DataError: a complete pass gave no sample, or others than the first.
    """
    complete = [data_pass for data_pass in passes if data_pass.complete]
    for number, data_pass in enumerate(complete, 1):
        require_samples(data_pass.seen.samples, batches, number)
        if data_pass.seen.hexdigest() != complete[0].seen.hexdigest():
            fact = (
                f"'{batches.name}' gave other samples, labels or another order when it was read for the {number}. time."
            )
            raise DataError(fact, remedy=_AGAIN, where=batches.where)
    most = max(complete or passes, key=lambda data_pass: data_pass.seen.samples, default=None)
    if most is None or not most.seen.samples:
        raise MetricError(
            f"The metric '{metric}' read no sample of the evaluation.", remedy="Let it read the batches it is given."
        )
    return most.seen.samples, most.seen.hexdigest()


def require_samples(samples: int, batches: Batches, number: int = 1) -> None:
    """Refuse a pass over the evaluation that gave nothing.

    Raises:
        DataError: it gave no sample.
    """
    if samples:
        return
    when = f" when it was read for the {number}. time" if number > 1 else ""
    raise DataError(f"'{batches.name}' gave no samples{when}.", remedy=_AGAIN, where=batches.where)


@contextmanager
def calls_of(model: nn.Module) -> Iterator[list[bool]]:
    """A list that is not empty once the model, or a part of it, was called.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Linear(2, 3))
        >>> with calls_of(net) as called:
        ...     before = bool(called)
        ...     output = net(torch.zeros(1, 2))
        >>> before, bool(called)
        (False, True)
    """
    called: list[bool] = []

    def note(_module: nn.Module, _inputs: object) -> None:
        if not called:
            called.append(True)

    handles = [module.register_forward_pre_hook(note) for module in model.modules()]
    try:
        yield called
    finally:
        for handle in handles:
            handle.remove()


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


def _part(batches: Batches, held: tuple[Batch, ...]) -> Batches:
    return Batches(batches.name, lambda: iter(held), batches.seed, batches.where)
