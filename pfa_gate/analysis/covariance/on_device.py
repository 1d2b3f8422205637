"""Moments of responses that lie on an accelerator: taken there in float64, and fetched once."""

from math import sqrt
from typing import Any

import torch
from torch import Tensor

from pfa_gate.analysis.covariance.moments import Moments
from pfa_gate.analysis.covariance.rows import as_samples, refuse_not_finite
from pfa_gate.errors import DataError

Sums = tuple[int, Tensor, Tensor]


def device_tensor(responses: Any) -> Tensor | None:
    """Responses that are a tensor on another device than the CPU; None if they are anything else.

    Example:
        >>> device_tensor([[1.0]])
    """
    device = getattr(responses, "device", None)
    return responses if getattr(device, "type", "cpu") != "cpu" else None


class DeviceFolds:
    """As `JackknifeFolds`, of tensors on one device; the buffer, the products and the sums stay there.

    Args:
        filters: C.
        folds: how many.
        device: of the responses.

    Example:
        >>> folds = DeviceFolds(1, 2, torch.device("cpu"))
        >>> folds.add(torch.tensor([[1.0], [5.0], [3.0]]))
        >>> [(fold.count, fold.mean.tolist()) for fold in folds.moments()]
        [(2, [2.0]), (1, [5.0])]
    """

    def __init__(self, filters: int, folds: int, device: torch.device) -> None:
        kind: Any = {"dtype": torch.float64, "device": device}
        zeros = torch.zeros(filters, **kind), torch.zeros(filters, filters, **kind)
        self._sums: list[Sums] = [(0, *zeros)] * folds
        self._block = torch.empty(folds * max(128, filters // 4), 1, filters, **kind)
        self._waiting, self._next = 0, 0

    def add(self, responses: Any) -> None:
        """Take the next samples of the stream, [n, C] or [n, m, C], m responses of each sample; any real dtype.

        Raises:
            DataError: not real numbers, of another shape, or of another number of filters.
            NotFiniteError: NaN or infinity in the samples that have waited; names the filters.
        """
        if responses.ndim not in (2, 3) or responses.is_complex():
            as_samples(responses)  # says what is wrong
        samples = responses if responses.ndim == 3 else responses[:, None]
        if samples.shape[2] != self._block.shape[2]:
            raise DataError(
                f"A batch has {samples.shape[2]} filters; the batches before it had {self._block.shape[2]}.",
                remedy="Give every batch of a layer the same number of filters.",
            )
        if samples.shape[1] != self._block.shape[1] and samples.numel():
            self._pass_on()
            self._resize(samples.shape[1])
        while samples.numel():
            taken = min(len(samples), len(self._block) - self._waiting)
            self._block[self._waiting : self._waiting + taken] = samples[:taken]
            self._waiting += taken
            samples = samples[taken:]
            if self._waiting == len(self._block):
                self._pass_on()

    def moments(self) -> tuple[Moments, ...]:
        """Moments of each fold so far, fetched; reading them changes nothing."""
        return tuple(
            Moments(count, mean.cpu().numpy(), ((scatter + scatter.T) / 2).cpu().numpy())
            for count, mean, scatter in self._with_waiting()
        )

    def _resize(self, per_sample: int) -> None:
        """Resize the buffer for samples of so many responses."""
        number, filters = len(self._sums), self._block.shape[2]
        self._block = self._block.new_empty(number * max(1, max(128, filters // 4) // per_sample), per_sample, filters)

    def _pass_on(self) -> None:
        self._sums = self._with_waiting()
        self._next, self._waiting = (self._next + self._waiting) % len(self._sums), 0

    def _with_waiting(self) -> list[Sums]:
        waiting, number = self._block[: self._waiting], len(self._sums)
        # Asked once for a block: each answer makes the host wait for the device.
        if not bool(waiting.isfinite().all()):
            refuse_not_finite(waiting.cpu().numpy())
        rows_of_folds = (waiting[(i - self._next) % number :: number].flatten(0, 1) for i in range(number))
        return [_merged(sums, rows) for sums, rows in zip(self._sums, rows_of_folds, strict=True)]


def _merged(sums: Sums, rows: Tensor) -> Sums:
    """The sums with more rows: the step between old and new mean is one row more, as in `JackknifeFolds`."""
    count, mean, scatter = sums
    if not len(rows):
        return sums
    total, own = count + len(rows), rows.mean(0)
    step = own - mean
    more = torch.vstack((rows - own, step * sqrt(count * len(rows) / total)))
    return total, mean + step * (len(rows) / total), scatter.addmm(more.T, more)
