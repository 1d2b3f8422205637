"""A part of the probe that is held out from all measuring and fitting, so that answers can be judged on it."""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pfa_gate.errors import TooFewSamplesError
from pfa_gate.model.batch import Batch
from pfa_gate.model.batches import Batches

BLOCK = 5
"""Of so many consecutive samples one is held out."""
_CHUNK = 4096
FEWEST = 40
"""Samples on which answers are judged at least."""


def held_out_apart(probe: Batches) -> tuple[Batches, Batches]:
    """A probe without the samples that are held out, and these: one of every five, drawn by the probe's seed.

    Which of five consecutive samples it is depends on the seed and on their place alone, so that both parts are the
    same in every pass, whatever the batch size; a data set in the order of its classes has each class in both.

    Args:
        probe: gives the same samples in the same order in every pass.

    Example:
        >>> from pfa_gate.model.data import Sampling, batches_of
        >>> rest, held = held_out_apart(batches_of(torch.arange(12.0)[:, None], "twelve", Sampling()))
        >>> rest.samples, held.samples
        (10, 2)
    """

    def part(held: bool) -> Batches:
        def source() -> Iterator[Batch]:
            start = 0
            for batch in probe.source():
                rows = torch.nonzero(_held(start, batch.size, probe.seed) == held).flatten()
                start += batch.size
                if len(rows):
                    yield batch.take(rows)

        return replace(probe, source=source)

    return part(False), part(True)


def _held(start: int, count: int, seed: int) -> Tensor:
    """Whether each of some samples is held out, bool [count]; in a last block of fewer than five none may be."""
    numbers = np.arange(start, start + count)
    blocks, places = numbers // BLOCK, numbers % BLOCK
    chunks = [_places(seed, chunk) for chunk in range(blocks[0] // _CHUNK, blocks[-1] // _CHUNK + 1)]
    drawn = np.concatenate(chunks)[blocks - blocks[0] // _CHUNK * _CHUNK]
    return torch.from_numpy(places == drawn)


@lru_cache(maxsize=8)
def _places(seed: int, chunk: int) -> npt.NDArray[np.int64]:
    """Which sample of each block is held out, for many blocks at a time."""
    return np.random.default_rng((seed, chunk)).integers(BLOCK, size=_CHUNK)


def require_enough_held_out(held_out: Batches, rest: int) -> None:
    """Refuse to judge answers on a handful of samples.

    Args:
        held_out: the samples that are.
        rest: how many samples the probe has beside them.

    Raises:
        TooFewSamplesError: there are fewer than 40.

    Example:
        >>> from pfa_gate.model.data import Sampling, batches_of
        >>> rest, held = held_out_apart(batches_of(torch.arange(12.0)[:, None], "twelve", Sampling()))
        >>> require_enough_held_out(held, rest.samples)
        Traceback (most recent call last):
        pfa_gate.errors.TooFewSamplesError: Without an evaluation, answers are judged on a fifth of the probe, ...
          Raise probe.samples to 200, or add the section evaluation.
    """
    found = held_out.samples
    if found < FEWEST:
        raise TooFewSamplesError(
            f"Without an evaluation, answers are judged on a fifth of the probe, that nothing is fitted on: "
            f"{found} of {found + rest} samples. At least {FEWEST} are needed.",
            remedy=f"Raise probe.samples to {FEWEST * BLOCK}, or add the section evaluation.",
            where=held_out.where,
        )
