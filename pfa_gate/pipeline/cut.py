"""What became of a model that was cut: what budgets, files and record are made from."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pfa_gate.budget import Answers
from pfa_gate.compress.prune import PrunedModel
from pfa_gate.graph import Coupling
from pfa_gate.graph.cost import Cost
from pfa_gate.model.evaluation import Score
from pfa_gate.pipeline.job import GateJob
from pfa_gate.record import FactorizedRecord, RecoveryStep, RoundedForecast, TimingRecord

if TYPE_CHECKING:
    from pfa_gate.compress.quantize import Width
    from pfa_gate.pipeline.answer_distance import Effect
    from pfa_gate.pipeline.plan import CutPlan


@dataclass(frozen=True)
class Cut:
    """What became of the model: the recipe, the smaller model, and what it costs and scores.

    Its job is the gate with the samples that its scores are of. Its `full_macs` are those of the full model, and
    `rounded` gives what `round_to: auto` would, where that can be said beforehand. `bit_effects` has how far its
    answers move when a weight alone has a width, as far as it was measured: several files may be made of one model.
    """

    coupling: Coupling
    plan: "CutPlan"
    compressed: PrunedModel
    cost: Cost
    scores: tuple[Score, Score] | None
    job: GateJob
    full_macs: int
    rounded: Callable[[], RoundedForecast | None]
    recovery: tuple[RecoveryStep, ...] = ()
    answers: Answers | None = None
    factorized: FactorizedRecord | None = None
    bit_effects: "dict[tuple[str, Width], Effect]" = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class FileLatencies:
    """How long the compressed model and its int8 file take.

    Attributes:
        compressed: None where no budget asks for it.
        quantized: None where no budget asks for it, or for the reason `untimed`.
        rounded: what `round_to: auto` would give, where the MACs fall and the time does not.
    """

    compressed: TimingRecord | None = None
    quantized: TimingRecord | None = None
    untimed: str = ""
    rounded: RoundedForecast | None = None
