"""What a rank other than 0 does: what rank 0 calls for, and nothing else."""

import io
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from pfa_gate.analysis.covariance import Moments, merge_by_sums
from pfa_gate.config import load
from pfa_gate.distributed.collect_shard import load_and_trace, measure_part
from pfa_gate.distributed.rank_leader import evaluation_answer, hits_and_times, measurement_answer, score_part
from pfa_gate.errors import PFAGateError
from pfa_gate.model.device import exact_arithmetic
from pfa_gate.pipeline.backend import ProbePass
from pfa_gate.pipeline.stages import Stages
from pfa_gate.torchrun.calls import DroppedError, Facts, Ranks, failure


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
        self._hits: npt.NDArray[np.float64] = np.empty(0)

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
            found = score_part(subject, model, self._ranks)
        self._hits = found.hits
        return evaluation_answer(found)

    def _gather(self, call: Facts) -> Facts:
        self._ranks.total(hits_and_times(self._hits))
        return {}
