"""Rank 0 where torchrun started several processes: it decides alone, and measures and scores with all."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from pfa_gate.analysis.covariance import merge_by_sums
from pfa_gate.budget import Context
from pfa_gate.config import Document
from pfa_gate.distributed.collect_shard import ProbeShard, identity, measure_part
from pfa_gate.errors import RankError
from pfa_gate.model import Batch, Subject
from pfa_gate.model.device import model_on
from pfa_gate.model.evaluation import Outcomes, Score, outcomes, score_of
from pfa_gate.pipeline.backend import LocalBackend, ProbePass, evaluation_of
from pfa_gate.pipeline.run import run_with_backend
from pfa_gate.pipeline.spectra import Shards
from pfa_gate.pipeline.stages import Stages
from pfa_gate.record import Record
from pfa_gate.record.progress import Wait
from pfa_gate.torchrun.calls import Facts, Ranks

_ALIKE = "Give all ranks the same checkout, data and packages."


def run_as_leader(
    ranks: Ranks, root: Path, task: tuple[Document, str, Context], output: Path | None, wait: Wait
) -> Record:
    """Run a gate with all ranks.

    Args:
        ranks: all of them.
        root: pytest's rootdir; the config lies at the same place in that of the others.
        task: the config, the gate's name, and the context of the verdict.
        output: folder for the results; `.pfa` beside the config if None.
        wait: since when somebody waits, and who is told how far it is.

    Raises:
        RankError: another rank is gone, or measures something else.
        PFAGateError: what could not be measured, by whichever rank.
    """
    document, gate, context = task
    path = document.path.relative_to(root) if document.path.is_relative_to(root) else document.path
    stages = Stages(document, gate, wait.progress, wait.since)
    ranks.call("measure", config=path.as_posix(), gate=gate)  # the others load and trace while this one does
    return run_with_backend(document, context, stages, output, RankBackend(ranks)).record


class RankBackend(LocalBackend):
    """All ranks: each runs the model on every n-th batch.

    Args:
        ranks: all of them; the others load the gate already.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks

    def moments(self, probe_pass: ProbePass, batches: Iterable[Batch]) -> Mapping[str, Shards]:
        """Those of the whole probe, the same as of one process.

        Raises:
            RankError: the ranks do not measure one thing.
        """
        with self._ranks.measuring():
            mine = measure_part(probe_pass, batches, self._ranks.has)
        answers = [measurement_answer(probe_pass, mine), *self._ranks.answers()]
        _require_alike([answer["identity"] for answer in answers])
        _require_whole(sum(answer["samples"] for answer in answers), probe_pass.subject.probe.samples, "probe")
        widths = _widths([answer["widths"] for answer in answers])
        self._ranks.call("merge", widths=widths)
        found = merge_by_sums(mine.moments, widths, self._ranks.total)
        self._ranks.answers()
        return found

    def score(self, subject: Subject, model: nn.Module, *, in_parts: bool = False) -> Score:
        """As one process scores; the user's own metric sees all batches, so this rank asks it alone."""
        alone = callable(subject.metric) or (model is not subject.model and not self._shared(model))
        if alone:
            return super().score(subject, model, in_parts=in_parts)
        self._ranks.call("score", full=model is subject.model)
        with self._ranks.measuring():
            mine = score_part(subject, model, self._ranks)
        _require_alike([evaluation_answer(mine), *self._ranks.answers()])
        self._ranks.call("gather")
        hits, times = self._ranks.total(hits_and_times(mine.hits))
        self._ranks.answers()
        _require_whole(int((times == 1).sum()), len(mine.hits), "evaluation")
        return score_of(replace(mine, hits=hits))

    def _shared(self, model: nn.Module) -> bool:
        """Whether all have the model now; one that cannot be pickled, or not read there, is scored here alone."""
        buffer = io.BytesIO()
        try:
            torch.save(model, buffer)
        except Exception:  # whatever a class of the user's raises in its own pickling
            return False
        content = buffer.getvalue()
        self._ranks.call("receive", size=len(content))
        self._ranks.broadcast(content, len(content))
        return all(answer["read"] for answer in self._ranks.answers())


def measurement_answer(probe_pass: ProbePass, shard: ProbeShard) -> Facts:
    """What a rank answers of its part of the probe."""
    widths = {place: [len(shards), shards[0].filters] for place, shards in shard.moments.items()}
    return {"identity": identity(probe_pass), "samples": shard.samples, "widths": widths}


def score_part(subject: Subject, model: nn.Module, ranks: Ranks) -> Outcomes:
    """What a model hits of this rank's batches of the evaluation; see `outcomes`."""
    if not isinstance(subject.metric, str):
        raise TypeError("A metric of the user's own is not shared out.")
    return outcomes(model_on(model, subject.device), evaluation_of(subject), subject.metric, ranks.has)


def evaluation_answer(found: Outcomes) -> Facts:
    """What a rank answers of the evaluation that it has read."""
    return {"evaluation": [len(found.hits), found.data]}


def hits_and_times(hits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Hits and misses, and how often each sample was scored, f64 [2, N]; 0 for those left to others."""
    here = ~np.isnan(hits)
    return np.stack([np.where(here, hits, 0.0), here.astype(np.float64)])


def _require_alike(found: Sequence[Facts]) -> None:
    for rank, other in enumerate(found):
        for word, value in found[0].items():
            if other[word] != value:
                raise RankError(f"Rank {rank} and rank 0 differ in their {word}.", remedy=_ALIKE)


def _require_whole(found: int, wanted: int, name: str) -> None:
    if found != wanted:
        raise RankError(
            f"The ranks together saw {found:,} of the {wanted:,} samples of the {name} once.", remedy=_ALIKE
        )


def _widths(answers: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, tuple[int, int]]:
    """Place -> shards and filters; a rank without a batch knows of none."""
    together: dict[str, tuple[int, int]] = {}
    for rank, answer in enumerate(answers):
        for place, (shards, filters) in answer.items():
            if together.setdefault(place, (shards, filters)) != (shards, filters):
                raise RankError(f"Rank {rank} and rank 0 differ in the filters at {place}.", remedy=_ALIKE)
    return together
