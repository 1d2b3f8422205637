"""Whether a score says anything at all: chance is what a model reaches that never looks at its inputs."""

import numpy as np
from scipy.special import bdtrc

from pfa_gate.model.evaluation.score import HITS, Score

LEVEL = 0.01
"""Of the one-sided test: a score is above chance where it would be reached by chance less often than this."""


def at_chance(score: Score, metric: str) -> str:
    """Say why a score is not above chance; empty where it is, or where chance is not known.

    Chance is the share of the commonest class (for top5, of the five commonest): a model that always answers it reaches
    that much. The score is above it where a binomial with this share gives as many hits with a probability of at most
    0.01 (one-sided, exact).

    Args:
        score: of the full model.
        metric: `accuracy` or `top5`; of any other metric chance is not known.

    Example:
        >>> labels = np.repeat([0, 1], [60, 40])
        >>> at_chance(Score(0.62, np.repeat([1.0, 0.0], [62, 38]), 100, labels=labels), "accuracy")[:75]
        'The accuracy of the full model, 62%, is not above chance: the commonest cla'
        >>> at_chance(Score(0.75, np.repeat([1.0, 0.0], [75, 25]), 100, labels=labels), "accuracy")
        ''
    """
    if score.outcomes is None or score.labels is None or metric not in HITS:
        return ""
    classes, counts = np.unique(score.labels, return_counts=True)
    order = np.argsort(-counts, kind="stable")[: HITS[metric]]
    hits, samples, answered = int(score.outcomes.sum()), score.samples, int(counts[order].sum())
    if answered == samples:
        held = f"only class {classes[0]}" if len(classes) == 1 else f"{len(classes)} classes"
        return f"The evaluation holds {held}, so one answer for all inputs scores 100%."
    share = answered / samples
    probability = float(bdtrc(hits - 1, samples, share)) if hits else 1.0
    if probability <= LEVEL:
        return ""
    common = f"commonest class ({classes[order[0]]}) is" if len(order) == 1 else f"{len(order)} commonest classes are"
    fact = f"The {metric} of the full model, {_percent(score.value)}, is not above chance: the {common}"
    return f"{fact} {_percent(share)} of the {samples:,} samples (one-sided binomial test, p = {probability:.3g})."


def _percent(share: float) -> str:
    return f"{round(100 * share, 2):g}%"
