"""What the full model gave in the pass that scored it, kept so that its answers need no pass of their own."""

import io
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from os import SEEK_END
from typing import IO, Any

import torch
from torch import Tensor, nn

from pfa_gate.errors import MetricError
from pfa_gate.model import Batch, Batches
from pfa_gate.model.evaluation.answers import Answering, Comparison
from pfa_gate.model.evaluation.output_error import OutputErrors
from pfa_gate.model.evaluation.score import Outcomes, outcomes
from pfa_gate.model.outputs import class_scores, floating_outputs

_IN_MEMORY = 2**28
_Kept = tuple[Tensor, list[Tensor]]


class KeptOutputs:
    """The outputs of a model, batch by batch; in memory up to 256 MB, beyond that in a file without a name.

    Args:
        everything: keep all floating outputs, for their error; else class scores alone.
        of_any_metric: keep them in the passes of any metric, where budgets ask for answers; else of accuracy and top5.

    Example:
        >>> kept = KeptOutputs()
        >>> kept.keep(0, torch.tensor([[0.25, 0.75]]))
        >>> kept.of(0), kept.of(1)
        (tensor([[0.2500, 0.7500]]), None)
    """

    def __init__(self, everything: bool = False, of_any_metric: bool = False) -> None:
        self.everything, self.of_any_metric = everything, of_any_metric
        self.clear()

    def clear(self) -> None:
        """Forget what was kept, and what data it was of."""
        self.data = ""
        self._bytes = 0
        self._held: dict[int, _Kept] = {}
        self._places: dict[int, tuple[int, int]] = {}
        self._file: IO[bytes] | None = None

    def keep(self, number: int, output: Any) -> None:
        """Keep what a model gave for a batch.

        Raises:
            MetricError: there is no floating output.
        """
        outputs = floating_outputs(output) if self.everything else []
        # Copies: a part of a larger tensor would be kept with all of it.
        scores, *rest = [each.detach().cpu().clone() for each in (class_scores(output), *outputs)]
        self._bytes += sum(each.nbytes for each in (scores, *rest))
        if self._bytes <= _IN_MEMORY:
            self._held[number] = scores, rest
        else:
            self._write(number, (scores, rest))

    def _write(self, number: int, kept: _Kept) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed when nobody can read it any more
            weakref.finalize(self, self._file.close)
        content = io.BytesIO()
        torch.save(kept, content)
        start = self._file.seek(0, SEEK_END)
        self._places[number] = start, self._file.write(content.getbuffer())

    def of(self, number: int) -> Any:
        """What was kept of a batch: the class scores, with all floating outputs where these are kept; else None."""
        found = self._held.get(number) or self._read(number)
        if found is None:
            return None
        return {"logits": found[0], "outputs": found[1]} if self.everything else found[0]

    def _read(self, number: int) -> _Kept | None:
        if self._file is None or number not in self._places:
            return None
        start, length = self._places[number]
        self._file.seek(start)
        scores, rest = torch.load(io.BytesIO(self._file.read(length)), weights_only=True)
        return scores, rest


@dataclass
class AgainstKept:
    """Compares a model with what was kept of the full one, while it is scored.

    Attributes:
        kept: of a pass over the same data in the same batches; where it is not, there is no comparison.
    """

    kept: KeptOutputs
    _answering: Answering = field(default_factory=Answering)
    _errors: OutputErrors = field(default_factory=OutputErrors)
    _whole: bool = True

    def update(self, number: int, batch: Batch, output: Any) -> None:
        """Take in a batch; the output is None where another rank runs it."""
        if output is None:
            self._answering.elsewhere(batch)
            return
        full: Any = self.kept.of(number)
        self._whole &= full is not None and _size(full) == batch.size
        if not self._whole:
            return
        if self.kept.everything:
            self._errors.update(full["outputs"], _on_cpu(floating_outputs(output)), self._answering.samples)
        self._answering.update(batch, full, class_scores(output).detach().cpu())

    def comparison(self, data: str) -> Comparison | None:
        """What was taken in, with the fingerprint of its data; None where the full model had other data."""
        if not self._whole or data != self.kept.data or not self._answering.samples:
            return None
        return self._answering.comparison(data, self._errors.largest() if self.kept.everything else None)


def watched_outcomes(
    model: nn.Module,
    evaluation: tuple[Batches, str],
    kept: KeptOutputs,
    *,
    full: bool,
    runs_here: Callable[[int], bool] = lambda number: True,
) -> Outcomes:
    """Hits and misses, with the comparison of the answers where the full model's were kept before; see `outcomes`.

    Args:
        model: in eval mode.
        evaluation: the batches, and `accuracy` or `top5`.
        kept: what is kept of the full model.
        full: whether this is the full model, which is kept.
        runs_here: see `outcomes`.
    """
    batches, metric = evaluation
    if not full:
        against = AgainstKept(kept)
        found = outcomes(model, batches, metric, runs_here, against.update)
        return replace(found, comparison=against.comparison(found.data))
    kept.clear()

    def keep(number: int, _batch: Batch, output: Any) -> None:
        if output is not None:
            kept.keep(number, output)

    found = outcomes(model, batches, metric, runs_here, keep)
    kept.data = found.data
    return found


def _size(full: Any) -> int:
    try:
        return len(class_scores(full))
    except MetricError:
        return -1


def _on_cpu(outputs: list[Tensor]) -> list[Tensor]:
    return [each.detach().cpu() for each in outputs]
