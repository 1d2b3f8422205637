"""What a whole process holds: random generators, defaults, freed memory; as they were after use."""

import ctypes
import gc
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class _GeneratorStates:
    python: tuple[Any, ...]
    numpy: dict[str, Any]
    torch: torch.Tensor


def _capture() -> _GeneratorStates:
    return _GeneratorStates(random.getstate(), np.random.get_state(legacy=False), torch.get_rng_state())


def _restore(state: _GeneratorStates) -> None:
    random.setstate(state.python)
    np.random.set_state(state.numpy)
    torch.set_rng_state(state.torch)


def _states_of_seed(seed: int) -> _GeneratorStates:
    """Give the state that a seed stands for, and leave the generators as they are."""
    outer = _capture()
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)
        # Not torch.manual_seed: that would also seed accelerators, whose state is not restored.
        torch.default_generator.manual_seed(seed)
        return _capture()
    finally:
        _restore(outer)


class Randomness:
    """A sequence of random numbers that the user's code draws from inside `borrowed` blocks.

    Inside a block, Python's, NumPy's and torch's global generators continue where the last block stopped; after
    it they are as if nothing had been drawn.

    Args:
        seed: where the sequence starts.

    Example:
        >>> randomness = Randomness(0)
        >>> with randomness.borrowed():
        ...     first = random.random()
        >>> with randomness.borrowed():
        ...     second = random.random()
        >>> with Randomness(0).borrowed():
        ...     print(first == random.random(), second == random.random())
        True True
    """

    def __init__(self, seed: int) -> None:
        self._state = _states_of_seed(seed)

    @contextmanager
    def borrowed(self) -> Iterator[None]:
        """Run a block on this sequence."""
        outer = _capture()
        _restore(self._state)
        try:
            yield
        finally:
            self._state = _capture()
            _restore(outer)


def chance() -> tuple[Any, ...]:
    """Where the generators of Python and NumPy stand: another value after either was drawn from.

    Example:
        >>> before = chance()
        >>> before == chance(), random.random() < 0, before == chance()
        (True, False, False)
    """
    numpy = np.random.get_state(legacy=False)["state"]
    return random.getstate(), numpy["pos"], numpy["key"].tobytes()


_DEFAULTS: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, torch.set_default_device),
    (torch.get_num_threads, torch.set_num_threads),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    (torch.is_grad_enabled, torch.set_grad_enabled),
)


@contextmanager
def defaults_restored() -> Iterator[None]:
    """Restore torch's defaults after the block, so that those a factory sets do not outlive it.

    Example:
        >>> with defaults_restored():
        ...     torch.set_default_dtype(torch.float64)
        >>> torch.get_default_dtype()
        torch.float32
    """
    before = [read() for read, _ in _DEFAULTS]
    try:
        yield
    finally:
        for (read, write), value in zip(_DEFAULTS, before, strict=True):
            if read() != value:
                write(value)


# Of glibc's mallopt: what is kept of freed memory, what is mapped for itself, and how many such maps there are. The
# numbers to return to are those at which a process arrives by itself that frees 32 MiB at once.
_TRIM, _MAP_FROM, _MAPS = -1, -3, -4
_KEPT = {_TRIM: 2**31 - 1, _MAPS: 0}
_USUAL = {_TRIM: 64 * 2**20, _MAP_FROM: 32 * 2**20, _MAPS: 65536}


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep freed memory for what is made next, and give it back to the system after the block.

    A forward pass frees large values as it makes others. glibc hands them back to the system, which clears every page
    of the next one anew: up to two thirds of the time of a pass. Nothing is done where another library allocates, or
    the environment has settings of its own.

    Example:
        >>> with freed_memory_kept():
        ...     total = sum(torch.ones(1000).sum() for _ in range(3))
    """
    libc = None if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ) else ctypes.CDLL(None)
    if libc is None or not hasattr(libc, "mallopt"):
        yield
        return
    for setting, value in _KEPT.items():
        libc.mallopt(setting, value)
    try:
        yield
    finally:
        for setting, value in _USUAL.items():
            libc.mallopt(setting, value)
        libc.malloc_trim(0)


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Suspend garbage collection where many objects are made and few freed: it takes a sixth of the exporter's time.

    Example:
        >>> with without_garbage_collection():
        ...     gc.isenabled()
        False
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
