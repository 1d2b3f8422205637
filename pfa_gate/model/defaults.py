"""What torch holds for the whole process, and users' code may set for itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

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
    """Leave torch's defaults as they were before the block: what runs after it must not meet a factory's.

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
