"""What became of a model that was cut: what budgets, files and record are made from."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pfa_gate.budget import Answers
from pfa_gate.compress.prune import PrunedModel
from pfa_gate.graph import Coupling
from pfa_gate.graph.cost import Cost
from pfa_gate.model.evaluation import Score
from pfa_gate.pipeline.job import GateJob
from pfa_gate.record import RecoveryStep

if TYPE_CHECKING:
    from pfa_gate.pipeline.plan import CutPlan


@dataclass(frozen=True)
class Cut:
    """What became of the model: the recipe, the smaller model, and what it costs and scores.

    Its job is the gate with the samples that its scores are of.
    """

    coupling: Coupling
    plan: "CutPlan"
    compressed: PrunedModel
    cost: Cost
    scores: tuple[Score, Score] | None
    latency: float | None
    job: GateJob
    recovery: tuple[RecoveryStep, ...] = ()
    answers: Answers | None = None
