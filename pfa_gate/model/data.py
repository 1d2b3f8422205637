"""From whatever holds samples to `Batches`."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from pfa_gate.errors import DataError
from pfa_gate.model.batch import Batch, batch_of
from pfa_gate.model.batches import Batches, data_errors
from pfa_gate.model.data_files import MOST_BYTES, SUFFIXES, read_file
from pfa_gate.model.global_state import Randomness
from pfa_gate.model.import_callable import resolve

Source = Callable[[], Iterator[Batch]]


@dataclass(frozen=True)
class Sampling:
    """Which samples are read, and how many at a time.

    Args:
        samples: at most so many; None for all. Of data with a length, a seeded draw without
            replacement, in the order of the data; of a stream, the first.
        batch_size: for data that does not come in batches.
        seed: of the draw, and of the user's random numbers.
        max_bytes: most that a data file may take in memory.
    """

    samples: int | None = None
    batch_size: int = 128
    seed: int = 0
    max_bytes: int = MOST_BYTES

    def rows(self, length: int) -> Tensor:
        """Give the rows to read of data with a length: sorted int64 [at most samples].

        Example:
            >>> Sampling(samples=3).rows(2), len(Sampling(samples=3).rows(100))
            (tensor([0, 1]), 3)
        """
        if self.samples is None or self.samples >= length:
            return torch.arange(length)
        drawn = np.random.default_rng(self.seed).choice(length, self.samples, replace=False)
        return torch.from_numpy(np.sort(drawn))


def open_data(name: str, folder: Path, sampling: Sampling) -> Batches:
    """Open the data that pfa.yaml names.

    Args:
        name: a data file (.npy, .npz, .safetensors), or a callable that gives the data.
        folder: of pfa.yaml.
        sampling: which samples.

    Raises:
        DataError: empty, unreadable, or of an unknown kind.
        FactoryError: the callable does not import, or raises.

    Example:
        >>> open_data("torch:eye", Path(), Sampling())
        Traceback (most recent call last):
        pfa_gate.errors.FactoryError: 'torch:eye' raised TypeError: ...
    """
    if name.endswith(SUFFIXES):
        return batches_of(read_file(folder / name, sampling.max_bytes), name, sampling)
    function = resolve(name, folder)
    with Randomness(sampling.seed).borrowed():
        data = function()
    return batches_of(data, name, sampling)


def batches_of(data: Any, name: str, sampling: Sampling) -> Batches:
    """Give data as batches that can be read any number of times.

    Args:
        data: a Dataset; a DataLoader; a tensor or array [N, …]; a tuple of them (inputs…, labels), all
            of one length; a mapping of them; or an iterable of batches or samples. Labels may be a mapping of arrays.
            A list of tensors counts as such a tuple, unless all are floating and of one rank: then it is a list of
            batches. A labelled item is a sample if its label is a single number.
        name: what to call it in errors.
        sampling: which samples. A DataLoader and an iterable of batches keep their own batch size.

    Raises:
        DataError: empty, or of an unknown kind.

    Example:
        >>> images, labels = torch.zeros(5, 1, 8, 8), torch.arange(5)
        >>> [batch.size for batch in batches_of((images, labels), "digits", Sampling(batch_size=3))]
        [3, 2]
    """
    # A one-shot iterator is read here: it too draws from the seed.
    with data_errors(name), Randomness(sampling.seed).borrowed():
        source = _source(data, sampling)
    batches = Batches(name, source, sampling.seed, total=_total(data), interpretation=_interpretation(data))
    if next(iter(batches), None) is None:
        raise DataError(f"'{name}' gives no samples.", remedy="Point it at more data.")
    return batches


def _source(data: Any, sampling: Sampling) -> Source:
    if isinstance(data, Batch):
        return _from_whole(data, sampling)
    if _is_whole(data):
        return _from_whole(batch_of(data), sampling, _interpretation(data))
    if isinstance(data, DataLoader) and data.batch_size is not None:
        return partial(_first, data, sampling.samples)
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        return _from_dataset(data, sampling)
    if isinstance(data, Iterable) and not isinstance(data, str | bytes):
        return _from_iterable(data, sampling)
    raise DataError(
        f"The data is an object of type {type(data).__name__}.",
        remedy="Give a Dataset, a DataLoader, tensors, or an iterable of batches.",
    )


def _total(data: Any) -> int | None:
    """How many samples there are, where that is known without reading them."""
    if isinstance(data, Batch) or _is_whole(data):
        return data.size if isinstance(data, Batch) else batch_of(data).size
    return len(data) if isinstance(data, Dataset) and hasattr(data, "__len__") else None


def _is_whole(data: Any) -> bool:
    """Tell data that lies in tensors as a whole from a collection of batches."""
    if isinstance(data, Mapping):
        return _holds_arrays({key: value for key, value in data.items() if key != "labels" or not _holds_arrays(value)})
    if not isinstance(data, tuple | list):
        return isinstance(data, Tensor | np.ndarray)
    inputs = data[:-1] if len(data) > 1 and _holds_arrays(data[-1]) else data
    if not data or not all(isinstance(value, Tensor | np.ndarray) for value in inputs):
        return False
    return isinstance(data, tuple) or (len(inputs) == len(data) and not _alike(data))


def _holds_arrays(labels: Any) -> bool:
    """Whether something is a mapping of arrays: labels of several parts."""
    return (
        isinstance(labels, Mapping)
        and bool(labels)
        and all(isinstance(v, Tensor | np.ndarray) for v in labels.values())
    )


def _interpretation(data: Any) -> str:
    """How a list of tensors is understood; nothing for data that can mean one thing only."""
    if not isinstance(data, list) or len(data) < 2 or not all(isinstance(value, Tensor | np.ndarray) for value in data):
        return ""
    kind = f"The list of {len(data)} tensors was taken as"
    if _is_whole(data):
        inputs = f"{len(data) - 1} inputs" if len(data) > 2 else "the inputs"
        return f"{kind} one call, {inputs} and then the labels. If they are samples, give torch.stack of them."
    return f"{kind} {len(data)} batches. If they are samples, give torch.stack of them."


def _alike(tensors: list[Any]) -> bool:
    kinds = {(value.ndim, str(value.dtype)) for value in tensors}
    return len(kinds) == 1 and tensors[0].ndim > 1 and "float" in str(tensors[0].dtype)


def _from_whole(batch: Batch, sampling: Sampling, interpretation: str = "") -> Source:
    length = batch.size
    labels = list(batch.labels.values()) if isinstance(batch.labels, Mapping) else [batch.labels]
    labelled = [each for each in labels if isinstance(each, Tensor)]
    lengths = [len(tensor) for tensor in (*batch.tensors(), *labelled) if tensor.ndim]
    if len(set(lengths)) > 1:
        raise DataError(f"Its arrays are of different lengths: {', '.join(map(str, lengths))}.", remedy=interpretation)

    def source() -> Iterator[Batch]:
        return (batch.take(rows) for rows in torch.split(sampling.rows(length), sampling.batch_size))

    return source


def _from_dataset(dataset: Any, sampling: Sampling) -> Source:
    if not hasattr(dataset, "__len__"):
        raise DataError(
            f"The dataset {type(dataset).__name__} has no length.",
            remedy="Define __len__, or make it an IterableDataset.",
        )
    rows = sampling.rows(len(dataset)).tolist()
    size = sampling.batch_size

    def source() -> Iterator[Batch]:
        starts = range(0, len(rows), size)
        return (_collated([dataset[row] for row in rows[start : start + size]]) for start in starts)

    return source


def _from_iterable(data: Iterable[Any], sampling: Sampling) -> Source:
    iterator = iter(data)
    first = next(iterator, None)
    if first is None:
        return lambda: iter(())
    in_samples = _is_sample(first, unlabelled=isinstance(data, Dataset))
    if iterator is data:
        # A one-shot iterator cannot be read again, so what is wanted of it is kept.
        data = _buffered(first, iterator, in_samples, sampling.samples)
    if not in_samples:
        return partial(_first, data, sampling.samples)
    if hasattr(data, "__len__") and hasattr(data, "__getitem__"):
        return _from_dataset(data, sampling)
    return partial(_collected, data, sampling)


def _is_sample(item: Any, *, unlabelled: bool) -> bool:
    """Tell a sample from a batch by its label: a sample has a single number."""
    if isinstance(item, Mapping):
        label = item.get("labels")
    else:
        label = item[-1] if isinstance(item, tuple | list) and len(item) > 1 else None
    if isinstance(label, Mapping) and label:
        label = next(iter(label.values()))
    if isinstance(label, Tensor | np.ndarray):
        return label.ndim == 0
    return unlabelled if label is None else isinstance(label, int | float | np.generic)


def _buffered(first: Any, iterator: Iterator[Any], in_samples: bool, most: int | None) -> list[Any]:
    buffered = [first]
    read = 1 if in_samples else batch_of(first).size
    while most is None or read < most:
        item = next(iterator, None)
        if item is None:
            break
        buffered.append(item)
        read += 1 if in_samples else batch_of(item).size
    return buffered


def _first(items: Iterable[Any], most: int | None) -> Iterator[Batch]:
    """Give the first samples of an iterable of batches; the last batch is cut to fit."""
    left = most
    for item in items:
        batch = batch_of(item)
        yield batch if left is None else batch.take(slice(left))
        if left is not None:
            left -= min(left, batch.size)
            if left == 0:
                return


def _collected(items: Iterable[Any], sampling: Sampling) -> Iterator[Batch]:
    """Gather the first samples of an iterable into batches."""
    iterator = islice(items, sampling.samples)
    while chunk := list(islice(iterator, sampling.batch_size)):
        yield _collated(chunk)


def _collated(samples: list[Any]) -> Batch:
    try:
        return batch_of(default_collate(samples))
    except (RuntimeError, TypeError) as error:
        raise DataError(
            f"Its samples do not make a batch: {error}",
            remedy="Give tensors of one shape, or a DataLoader with a collate_fn of your own.",
        ) from error
