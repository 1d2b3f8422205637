"""How well a model does: a score on labelled data, and the interval of a drop between two scores."""

from pfa_gate.evaluation.interval import drop_interval
from pfa_gate.evaluation.score import Score, class_scores, outcomes, score, score_of

__all__ = ["Score", "class_scores", "drop_interval", "outcomes", "score", "score_of"]
