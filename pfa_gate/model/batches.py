"""The batches of a data set: read any number of times, always in the same order."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from pfa_gate.errors import DataError, PFAGateError
from pfa_gate.model.batch import Batch, joined
from pfa_gate.model.device import CPU, prefetched
from pfa_gate.model.global_state import Randomness
from pfa_gate.model.user_frames import about_devices, raised


@dataclass(frozen=True)
class Batches:
    """A data set as batches.

    Each pass starts from the same seed, so that shuffling and random transforms give the same again.

    Args:
        name: what pfa.yaml calls the data.
        source: begins a pass.
        seed: of the user's random numbers.
        where: the place in pfa.yaml, for errors while reading.
        total: how many samples the data has, those left out by the sampling too; None where it has no length.
        interpretation: how a list of tensors was understood, for errors; empty for data that can mean one thing only.

    Raises (while iterating):
        DataError: the user's code raises, or gives what is no batch.

    Example:
        >>> from pfa_gate.model.batch import batch_of
        >>> parts = batch_of(torch.zeros(3, 5)), batch_of(torch.zeros(1, 5))
        >>> batches = Batches("zeros", lambda: iter(parts))
        >>> batches.samples, [batch.size for batch in batches], batches.sha256[:8]
        (4, [3, 1], 'cc6d9892')
    """

    name: str
    source: Callable[[], Iterator[Batch]]
    seed: int = 0
    where: tuple[str, ...] = ()
    total: int | None = None
    interpretation: str = ""

    def __iter__(self) -> Iterator[Batch]:
        randomness = Randomness(self.seed)
        with data_errors(self.name, self.where), randomness.borrowed():
            batches = self.source()
        while True:
            with data_errors(self.name, self.where), randomness.borrowed():
                batch = next(batches, None)
                if batch is None:
                    return
                filled = batch.size > 0
            if filled:
                yield batch

    def on(self, device: torch.device) -> "Batches":
        """The same data, on a device."""
        return self if device == CPU else replace(self, source=lambda: prefetched(self.source(), device))

    @cached_property
    def samples(self) -> int:
        """Number of samples of one pass."""
        return self._measured[0]

    @cached_property
    def sha256(self) -> str:
        """Fingerprint of the inputs (bytes, shapes, types, order), whatever the batch size; not of labels."""
        return self._measured[1]

    @cached_property
    def _measured(self) -> tuple[int, str]:
        for _ in self.first_pass():
            pass
        return self._measured

    def first_pass(self) -> Iterator[Batch]:
        """A pass that also computes `samples` and `sha256`, so that they need no pass of their own."""
        fingerprint = Fingerprint()
        for batch in self:
            fingerprint.update(batch)
            yield batch
        vars(self)["_measured"] = fingerprint.samples, fingerprint.hexdigest()

    def example(self, samples: int = 2) -> Batch:
        """Give the first samples as one batch, without labels.

        Raises:
            DataError: there are fewer.
        """
        parts: list[Batch] = []
        wanted = samples
        for batch in self:
            parts.append(batch.take(slice(wanted)))
            wanted -= parts[-1].size
            if wanted == 0:
                return joined(parts)
        raise DataError(
            f"'{self.name}' gives no samples."
            if wanted == samples
            else f"'{self.name}' gives one sample; a spectrum needs at least {samples}.",
            remedy="Point it at more data.",
            where=self.where,
        )


@contextmanager
def data_errors(name: str, where: tuple[str, ...] = ()) -> Iterator[None]:
    """Turn what the user's data raises inside the block into a `DataError`.

    Args:
        name: what pfa.yaml calls the data.
        where: the place in pfa.yaml.

    Example:
        >>> with data_errors("net:probe"):
        ...     [][3]
        Traceback (most recent call last):
        pfa_gate.errors.DataError: Reading 'net:probe' raised IndexError: list index out of range.
    """
    try:
        yield
    except PFAGateError as error:
        for place in where:
            error.at(place)
        raise
    # pytest.skip and sys.exit become errors too: only the user's own Ctrl-C passes.
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        fact = f"Reading '{name}' raised {raised(error)}."
        raise DataError(fact, remedy=about_devices(error), where=where) from error


class Fingerprint:
    """What distinguishes one pass from another: a digest of each input that does not depend on the batch size.

    Args:
        labels: whether labels count too.

    Example:
        >>> from pfa_gate.model.batch import batch_of
        >>> ones, others = Fingerprint(labels=True), Fingerprint(labels=True)
        >>> ones.update(batch_of((torch.zeros(2, 3), [0, 1])))
        >>> others.update(batch_of((torch.zeros(2, 3), [1, 1])))
        >>> ones.hexdigest() == others.hexdigest()
        False
    """

    def __init__(self, *, labels: bool = False) -> None:
        self.samples = 0
        self._labels = labels
        self._inputs: dict[int | str, _Input] = {}

    def update(self, batch: Batch) -> None:
        """Take in the next batch of a pass."""
        self.samples += batch.size
        for position, tensor in enumerate(batch.tensors()):
            self._inputs.setdefault(position, _Input()).update(tensor)
        for position, leaf in enumerate(tree_leaves(batch.labels) if self._labels else ()):
            key = f"label {position if isinstance(leaf, Tensor) else ''}"
            self._inputs.setdefault(key, _Input()).take(leaf)

    def hexdigest(self) -> str:
        """Give the fingerprint of all batches so far."""
        parts = [str(self.samples), *(part.hexdigest() for part in self._inputs.values())]
        return sha256("\n".join(parts).encode()).hexdigest()


class _Input:
    def __init__(self) -> None:
        self._digest = sha256()
        self._kind = ""

    def update(self, tensor: Tensor) -> None:
        kind = f"{tensor.dtype} {list(tensor.shape[1:])}"
        if kind != self._kind:
            self._digest.update(kind.encode())
            self._kind = kind
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        self._digest.update(flat.view(torch.uint8).numpy().data)

    def take(self, label: Any) -> None:
        """A label may be any object; one without a text of its own counts by its type alone."""
        if isinstance(label, Tensor):
            self.update(label)
            return
        if isinstance(label, np.ndarray):
            for entry in label.ravel().tolist():
                self.take(entry)
            return
        value = label.item() if isinstance(label, np.generic) else label
        text = repr(value) if isinstance(value, str | bytes | int | float | complex | None) else ""
        self._digest.update(f"{type(label).__name__} {text}\n".encode())

    def hexdigest(self) -> str:
        return self._digest.hexdigest()
