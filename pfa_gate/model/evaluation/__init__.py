"""How well a model does: a score, whether it is above chance, the interval of a drop, and which answers changed."""

from pfa_gate.model.evaluation.answers import Comparison, compare
from pfa_gate.model.evaluation.kept_outputs import KeptOutputs, watched_outcomes
from pfa_gate.model.evaluation.recall import ClassRecall
from pfa_gate.model.evaluation.score import Outcomes, Score, outcomes, score, score_of
from pfa_gate.model.evaluation.significance import at_chance, drop_interval, interval_basis
from pfa_gate.model.evaluation.watched_metric import score_with_answers
from pfa_gate.model.outputs import class_scores

__all__ = [
    "ClassRecall",
    "Comparison",
    "KeptOutputs",
    "Outcomes",
    "Score",
    "at_chance",
    "class_scores",
    "compare",
    "drop_interval",
    "interval_basis",
    "outcomes",
    "score",
    "score_of",
    "score_with_answers",
    "watched_outcomes",
]
