"""How well a model does: a score on labelled data, whether it is above chance, and the interval of a drop."""

from pfa_gate.model.evaluation.score import Outcomes, Score, class_scores, outcomes, score, score_of
from pfa_gate.model.evaluation.significance import at_chance, drop_interval

__all__ = ["Outcomes", "Score", "at_chance", "class_scores", "drop_interval", "outcomes", "score", "score_of"]
