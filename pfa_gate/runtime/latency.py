"""How long a smaller model takes against the full one: by CPU time on one thread, for calls of several sizes.

With one thread ONNX Runtime works in the thread that calls it, so the time of this process is the time of the model.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from pfa_gate.graph.cost import latency_ratio
from pfa_gate.model import Batch
from pfa_gate.model.device import input_device
from pfa_gate.record.timing import BatchTiming
from pfa_gate.runtime.cpu_time import CpuTimes, cpu_times
from pfa_gate.runtime.onnx_module import OnnxModel
from pfa_gate.runtime.session import onnx_session

BESIDE = 15.0  # CPU seconds at most for a size that no budget is judged for
_CALLS = 10  # of both models that a timing takes at least: two to warm up, three pairs

Timer = Callable[[Batch, float], CpuTimes]
"""Times both models on a batch, in at most so many CPU seconds."""


def session_of(content: bytes | str, name: str) -> OnnxModel:
    """A file that runs as it would on a small device: optimised, on the thread that calls it.

    Args:
        content: of an ONNX file, or its path.
        name: of the file, for people.

    Raises:
        CandidateError: the runtime does not take it.
    """
    return OnnxModel(onnx_session(content, name, 1), name)


def files_timer(full: OnnxModel, other: OnnxModel) -> Timer:
    """Times two files; what they are fed is made before."""
    return lambda batch, longest: cpu_times(full.prepared(batch), other.prepared(batch), longest=longest)


def modules_timer(full: nn.Module, other: nn.Module) -> Timer:
    """Times two modules of torch on one thread of the CPU."""

    def timed(batch: Batch, longest: float) -> CpuTimes:
        with torch.no_grad(), one_thread():
            return cpu_times(
                lambda: full(*batch.args, **batch.kwargs), lambda: other(*batch.args, **batch.kwargs), longest=longest
            )

    return timed


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread; its others spin, which is CPU time too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def modules_ratio(full: nn.Module, other: nn.Module, batch: Batch, longest: float = BESIDE) -> float:
    """Time of one module of torch over another's, where both lie: CPU time on one thread, or the clock of a device.

    Example:
        >>> batch = Batch((torch.zeros(8, 256),), {})
        >>> modules_ratio(nn.Linear(256, 256), nn.Linear(256, 128), batch, longest=0.01) > 0
        True
    """
    if input_device(full).type == "cuda":
        return latency_ratio(full, other, batch)
    return modules_timer(full, other)(batch, longest).ratio


def timed_batches(
    timer: Timer, batches: Sequence[Batch], judged: int, seconds: float
) -> tuple[tuple[BatchTiming, ...], dict[str, str]]:
    """Time both models on batches of several sizes.

    Args:
        timer: of the two models.
        batches: one of each size, that of `judged` among them.
        judged: samples of a call for which a budget is judged: it may take all of `seconds`.
        seconds: most CPU seconds for it; the others may take a quarter of them, and 15 s at most.

    Returns:
        The times by size, and the sizes that would take too long, with the reason.
    """
    ordered = sorted(batches, key=lambda batch: (batch.size != judged, batch.size))
    found: list[BatchTiming] = []
    skipped: dict[str, str] = {}
    for batch in ordered:
        limit = seconds if batch.size == judged else min(seconds / 4, BESIDE)
        expected = _CALLS * batch.size * _seconds_of_a_sample(found) / 2
        if found and expected > limit:
            skipped[str(batch.size)] = f"it would take about {expected:,.0f} s"
        else:
            found.append(_timing(timer(batch, limit), batch.size))
    return tuple(sorted(found, key=lambda each: each.samples)), skipped


def _seconds_of_a_sample(found: Sequence[BatchTiming]) -> float:
    """Of both models, as the fastest size has it."""
    return min(((each.full or 0.0) + (each.smaller or 0.0) for each in found), default=0.0) / 1e3


def _timing(times: CpuTimes, samples: int) -> BatchTiming:
    full, smaller = (1e3 * seconds / samples for seconds in (times.first, times.other))
    return BatchTiming(samples, times.ratio, times.error, times.interval, full, smaller, times.pairs)
