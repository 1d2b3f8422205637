"""torchrun's ranks: rank 0 decides alone, and measures and scores with all; the others do what it calls for."""

import io
import traceback
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from pfa_gate.analysis.covariance import Moments, merge_by_sums
from pfa_gate.budget import Context
from pfa_gate.config import Document, load
from pfa_gate.distributed.collect_shard import ProbeShard, identity, load_and_trace, measure_part
from pfa_gate.errors import PFAGateError, RankError
from pfa_gate.model import Batch, Subject
from pfa_gate.model.device import exact_arithmetic, model_on
from pfa_gate.model.evaluation import Comparison, KeptOutputs, Outcomes, Score, score_of, watched_outcomes
from pfa_gate.model.global_state import freed_memory_kept
from pfa_gate.pipeline.job import LocalBackend, ProbePass, Stages, evaluation_of
from pfa_gate.pipeline.run import run_with_backend
from pfa_gate.pipeline.spectra import Shards
from pfa_gate.record import Record
from pfa_gate.record.manifest import Wait
from pfa_gate.torchrun.calls import DroppedError, Facts, Ranks, failure

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
        self._kept = KeptOutputs()

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

    def score(
        self, subject: Subject, model: nn.Module, *, in_parts: bool = False, kept: KeptOutputs | None = None
    ) -> Score:
        """As one process scores; the user's own metric sees all batches, so this rank asks it alone."""
        alone = callable(subject.metric) or (model is not subject.model and not self._shared(model))
        if alone:
            return super().score(subject, model, in_parts=in_parts, kept=kept)
        self._ranks.call("score", full=model is subject.model)
        with self._ranks.measuring():
            mine = score_part(subject, model, self._ranks, self._kept)
        _require_alike([evaluation_answer(mine), *self._ranks.answers()])
        self._ranks.call("gather")
        hits, times, *answered = self._ranks.total(scored_rows(mine))
        self._ranks.answers()
        _require_whole(int((times == 1).sum()), len(mine.hits), "evaluation")
        return score_of(replace(mine, hits=hits, comparison=_together(mine, answered)))

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


def score_part(subject: Subject, model: nn.Module, ranks: Ranks, kept: KeptOutputs) -> Outcomes:
    """What a model hits of this rank's batches of the evaluation, and which of its answers there changed."""
    if not isinstance(subject.metric, str):
        raise TypeError("A metric of the user's own is not shared out.")
    evaluation, full = (evaluation_of(subject), subject.metric), model is subject.model
    return watched_outcomes(model_on(model, subject.device), evaluation, kept, full=full, runs_here=ranks.has)


def evaluation_answer(found: Outcomes) -> Facts:
    """What a rank answers of the evaluation that it has read."""
    return {"evaluation": [len(found.hits), found.data]}


def scored_rows(found: Outcomes) -> npt.NDArray[np.float64]:
    """What a rank adds to the whole, f64 [6, N]; 0 for samples left to others.

    The rows: hits and misses; how often each sample was scored; the full model's answer, this model's, and their
    divergence; how often they were compared.
    """
    here = ~np.isnan(found.hits)
    rows = np.zeros((6, len(found.hits)))
    rows[0, here], rows[1] = found.hits[here], here
    made = found.comparison
    if made is not None and made.answers is not None and made.divergences is not None:
        for row, values in enumerate((*made.answers, made.divergences), 2):
            rows[row, here] = values[here]
        rows[5] = here
    return rows


def _together(mine: Outcomes, rows: Sequence[npt.NDArray[np.float64]]) -> Comparison | None:
    """The comparison of all ranks' samples; None where one could not be made of each of them."""
    full, other, apart, times = rows
    if mine.comparison is None or not (times == 1).all():
        return None
    answers = full.astype(np.int64), other.astype(np.int64)
    return replace(mine.comparison, answers=answers, divergences=apart)


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


@freed_memory_kept()
def run_as_worker(ranks: Ranks, root: Path) -> int:
    """Answer rank 0's calls until it ends the run; gives the exit status of all.

    Args:
        ranks: all of them.
        root: pytest's rootdir here.
    """
    follower = _Follower(ranks, root)
    for call in ranks.calls():
        if call["name"] == "end":
            return int(call["status"])
        try:
            with ranks.measuring(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a project's `error` filter is meant for its tests
                facts = follower.do(call)
        except DroppedError:
            continue
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # an exit of user code must be told to rank 0 as well
            if not isinstance(error, PFAGateError):
                ranks.say("".join(traceback.format_exception(error)))
            facts = failure(error)
        ranks.answer(facts)
    raise AssertionError("Calls never end by themselves.")


class _Follower:
    """What is held between two calls."""

    def __init__(self, ranks: Ranks, root: Path) -> None:
        self._ranks, self._root = ranks, root
        self._probe_pass: ProbePass | None = None
        self._moments: Mapping[str, tuple[Moments, ...]] = {}
        self._model: nn.Module | None = None
        self._kept = KeptOutputs()
        self._rows: npt.NDArray[np.float64] = np.empty((6, 0))

    def do(self, call: Facts) -> Facts:
        """Do what is asked, and give the answer."""
        known = {
            "present": lambda call: {},
            "measure": self._measure,
            "merge": self._merge,
            "receive": self._receive,
            "score": self._score,
            "gather": self._gather,
        }
        return known[call["name"]](call)

    def _measure(self, call: Facts) -> Facts:
        self._probe_pass = self._model = None  # what the last gate held, before the next one is loaded
        document = load(self._root / call["config"], self._root)
        stages = Stages(document, call["gate"], lambda stage, done, total: self._ranks.tick())
        probe_pass = load_and_trace(document, call["gate"], stages)
        with stages.stage("probing", "probe", "data"):
            shard = measure_part(probe_pass, probe_pass.subject.probe, self._ranks.has)
            answer = measurement_answer(probe_pass, shard)
        self._probe_pass, self._moments = probe_pass, shard.moments
        return answer

    def _merge(self, call: Facts) -> Facts:
        widths = {place: (shards, filters) for place, (shards, filters) in call["widths"].items()}
        merge_by_sums(self._moments, widths, self._ranks.total)
        self._moments = {}
        return {}

    def _receive(self, call: Facts) -> Facts:
        content = self._ranks.broadcast(None, call["size"])
        try:
            # From rank 0 of the same job, which ran the same code to make it.
            self._model = torch.load(io.BytesIO(content), weights_only=False)
        except Exception:  # whatever a class of the user's raises in its own unpickling
            return {"read": False}
        return {"read": True}

    def _score(self, call: Facts) -> Facts:
        if self._probe_pass is None:
            raise RuntimeError("Rank 0 asked for a score before it asked to measure.")
        subject = self._probe_pass.subject
        model = subject.model if call["full"] else self._model
        if model is None:
            raise RuntimeError("Rank 0 asked for the score of a model that it has not sent.")
        with exact_arithmetic(subject.device):
            found = score_part(subject, model, self._ranks, self._kept)
        self._rows = scored_rows(found)
        return evaluation_answer(found)

    def _gather(self, call: Facts) -> Facts:
        self._ranks.total(self._rows)
        return {}
