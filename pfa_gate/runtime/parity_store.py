"""What a gate stores for other machines: evenly chosen samples, and what the references answer to them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch

from pfa_gate.model import Batch
from pfa_gate.model.batch import joined
from pfa_gate.runtime.pair import Pair
from pfa_gate.runtime.parity_data import MOST_BYTES, About, ParityData, StoredCall, StoredFile

_A_CALL = 32
"""Most samples of a stored call, so that a small device has room for it."""
_Part = tuple[Batch, list[int]]


def chosen(samples: int, most: int) -> list[int]:
    """So many of some samples, evenly spread.

    Example:
        >>> chosen(10, 4), chosen(3, 4)
        ([0, 2, 5, 7], [0, 1, 2])
    """
    count = min(samples, most)
    return [place * samples // count for place in range(count)]


def parity_data(gate: str, source: Literal["evaluation", "probe"], batches: Iterable[Batch], pairs: Sequence[Pair]
                ) -> ParityData | str:  # fmt: skip
    """The content of parity.npz; or why there is none.

    Args:
        gate: its name.
        source: of the samples.
        batches: that the pairs have taken in.
        pairs: of the files that are stored with it.
    """
    samples = pairs[0].difference.samples
    most = int(MOST_BYTES / (_bytes(batches) / samples + sum(pair.stored for pair in pairs)))
    if not most:
        return f"one sample with its outputs takes more than {MOST_BYTES // 10**6} MB"
    size = next((pair.here.batch for pair in pairs if pair.here.batch), None)
    parts = _parts(batches, chosen(samples, most))
    calls = tuple(_call(batch, rows, pairs, size) for batch, rows in _joined(parts, size or _A_CALL))
    files = tuple(_expected(pair) for pair in pairs)
    held = ParityData(About(gate, source, samples, files), calls)
    if not calls:
        return "no batch of inputs that belong together fits into it"
    return held


def _bytes(batches: Iterable[Batch]) -> int:
    return sum(each.nbytes for batch in batches for each in batch.tensors())


def _parts(batches: Iterable[Batch], rows: Sequence[int]) -> Iterator[_Part]:
    """The chosen samples of each batch. Where an input belongs to no sample, as edges do, a batch stays whole."""
    start, room = 0, MOST_BYTES
    wanted = np.array(rows)
    for batch in batches:
        size = batch.size
        local = wanted[(wanted >= start) & (wanted < start + size)] - start
        if _by_sample(batch):
            if len(local):
                yield batch.take(torch.from_numpy(local)), (local + start).tolist()
        else:
            room -= sum(each.nbytes for each in batch.tensors())
            if room >= 0:
                yield batch, list(range(start, start + size))
        start += size


def _joined(parts: Iterable[_Part], most: int) -> Iterator[_Part]:
    """Parts of equal shapes together, up to so many samples; larger ones taken apart."""
    held: list[_Part] = []
    for part in (piece for each in parts for piece in _pieces(each, most)):
        if held and (sum(len(rows) for _, rows in held) + len(part[1]) > most or not _alike(held[0][0], part[0])):
            yield _one(held)
            held = []
        held.append(part)
    if held:
        yield _one(held)


def _pieces(part: _Part, most: int) -> Iterator[_Part]:
    batch, rows = part
    if not _by_sample(batch):
        yield part
        return
    for start in range(0, len(rows), most):
        yield batch.take(slice(start, start + most)), rows[start : start + most]


def _by_sample(batch: Batch) -> bool:
    return all(tensor.ndim and len(tensor) == batch.size for tensor in batch.tensors())


def _alike(one: Batch, two: Batch) -> bool:
    """Whether two batches can be joined: their inputs belong to samples, and these have one shape."""
    shapes = [[tensor.shape[1:] for tensor in batch.tensors()] for batch in (one, two)]
    return shapes[0] == shapes[1] and _by_sample(one) and _by_sample(two)


def _one(parts: Sequence[_Part]) -> _Part:
    if len(parts) == 1:
        return parts[0]
    return joined([batch for batch, _ in parts]), [row for _, rows in parts for row in rows]


def _call(batch: Batch, rows: list[int], pairs: Sequence[Pair], size: int | None) -> StoredCall:
    """One call, filled up with its last sample where the file takes a fixed number of them."""
    count = batch.size
    if size is not None and _by_sample(batch):
        batch = batch.take(torch.arange(size).clamp(max=count - 1))
    inputs = {name: values for pair in pairs for name, values in pair.here.feed(batch).items()}
    outputs = {pair.file.name: pair.kept(pair.reference(batch), batch.size, count) for pair in pairs}
    return StoredCall(inputs, tuple(rows), outputs, batch.size)


def _expected(pair: Pair) -> StoredFile:
    return StoredFile(
        file=pair.file.name,
        sha256=pair.file.sha256,
        reference=pair.file.reference,
        machine=pair.machine,
        allowed=pair.file.allowed,
        tolerance=pair.tolerance,
        scores=pair.scores,
        outputs=tuple(pair.names),
        spreads=pair.difference.spreads,
        whole=pair.whole,
        flips=len(pair.difference.flipped),
    )
