"""The answers in the passes of any metric: what the model gives while a metric of the user's own calls it."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch import nn

from pfa_gate.errors import PFAGateError
from pfa_gate.model import Batch, Batches, Metric
from pfa_gate.model.evaluation.kept_outputs import AgainstKept, KeptOutputs
from pfa_gate.model.evaluation.score import Score, score


def score_with_answers(
    model: nn.Module, evaluation: tuple[Batches, Metric], kept: KeptOutputs, *, full: bool, in_parts: bool
) -> Score:
    """Score a model by any metric, with the comparison of its answers where the metric calls it once for each batch.

    Args:
        model: in eval mode.
        evaluation: the batches, and the metric.
        kept: what is kept of the full model.
        full: whether this is the full model, which is kept.
        in_parts: see `score`.

    Example:
        >>> import torch
        >>> from pfa_gate.model import Sampling, batches_of
        >>> eye = batches_of((torch.eye(3), torch.tensor([0, 1, 1])), "eye", Sampling(batch_size=2))
        >>> mean = lambda model, batches: sum(float(model(batch.args[0]).mean()) for batch in batches)
        >>> kept, evaluation = KeptOutputs(), (eye, mean)
        >>> score_with_answers(nn.Identity(), evaluation, kept, full=True, in_parts=False).comparison
        >>> found = score_with_answers(nn.Softmax(dim=1), evaluation, kept, full=False, in_parts=False)
        >>> found.comparison.samples, found.comparison.agreement.value
        (3, 1.0)
    """
    batches, metric = evaluation
    watch = _Watch(batches, kept, full)
    handle = model.register_forward_hook(watch.called)
    try:
        found = score(model, watch.batches, metric, in_parts=in_parts)
    finally:
        handle.remove()
    if not watch.matched:
        if full:
            kept.clear()
        return found
    if full:
        kept.data = found.data
        return found
    return replace(found, comparison=watch.against.comparison(found.data))


class _Watch:
    """Pairs the batches that a metric reads with the calls of the model, in the first pass in which they pair off.

    A batch may be read ahead of its call; a pass with more calls than batches, or fewer, is none of these.
    """

    def __init__(self, batches: Batches, kept: KeptOutputs, full: bool) -> None:
        self.batches = replace(batches, source=self._source)
        vars(self.batches).update({name: value for name, value in vars(batches).items() if name == "_measured"})
        self.against = AgainstKept(kept)
        self._kept, self._full, self._read = kept, full, batches.source
        self._waiting: deque[Batch] = deque()
        self._number, self._whole, self._pairs = 0, False, False

    @property
    def matched(self) -> bool:
        """Whether a whole pass was read, with one call for each batch."""
        return self._pairs and self._whole and self._number > 0 and not self._waiting

    def _source(self) -> Iterator[Batch]:
        if self.matched:
            yield from self._read()
            return
        self._waiting.clear()
        self._number, self._whole, self._pairs = 0, False, True
        self.against = AgainstKept(self._kept)
        if self._full:
            self._kept.clear()
        for batch in self._read():
            self._waiting.append(batch)
            yield batch
        self._whole = True

    def called(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        """Take in what the model gave."""
        if self.matched:
            return
        if not self._waiting:
            self._pairs = False  # more calls than batches
        if not self._pairs:
            return
        batch = self._waiting.popleft()
        try:
            if self._full:
                self._kept.keep(self._number, output)
            else:
                self.against.update(self._number, batch, output)
        except PFAGateError:
            self._pairs = False  # said where the answers get a pass of their own
        self._number += 1
