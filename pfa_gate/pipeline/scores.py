"""Scores of both models, and how the record has them: direction, unit, and whether a drop can be judged."""

from torch import nn

from pfa_gate.config import GateConfig
from pfa_gate.model.evaluation import Score, at_chance, drop_interval
from pfa_gate.pipeline.backend import GateJob
from pfa_gate.record import Scores

Interval = tuple[float, float] | None


def score_model(job: GateJob, model: nn.Module, *, in_parts: bool = False) -> Score | None:
    """Score a model; None where the gate has no evaluation.

    Args:
        job: the gate.
        model: full or compressed, anywhere.
        in_parts: the score of each part of the evaluation is wanted too, for an interval.
    """
    if job.subject.evaluation is None:
        return None
    with job.stages.stage("scoring", "evaluation", "metric"):
        return job.backend.score(job.subject, model, in_parts=in_parts)


def score_both(job: GateJob, compressed: nn.Module, known: Score | None) -> tuple[Score, Score] | None:
    """Score both models; None where the gate has no evaluation.

    Args:
        job: the gate.
        compressed: the smaller model.
        known: its score, where recovery has taken it already.
    """
    full = score_model(job, job.subject.model, in_parts=True)
    small = known or score_model(job, compressed, in_parts=True)
    return None if full is None or small is None else (full, small)


def scores_record(config: GateConfig, full: Score | None, smaller: Score | None) -> Scores | None:
    """The scores of both models; None where the gate has no evaluation.

    Args:
        config: the gate.
        full: of the full model; None without an evaluation.
        smaller: of the compressed model; None where there is none.

    Raises:
        DataError: the two scores are not of the same samples in the same order.
    """
    asked = config.evaluation
    if full is None or asked is None:
        return None
    found = Scores(
        metric=asked.metric,
        full=full.value,
        compressed=None if smaller is None else smaller.value,
        drop=None,
        interval=None if smaller is None else _worse(drop_interval(full, smaller), asked.lower),
        direction="lower" if asked.lower else "higher",
        unit="share" if asked.share else "plain",
        chance=_chance(config, full),
    )
    return Scores(**{**vars(found), "drop": found.measure().fall})


def _worse(interval: Interval, lower: bool) -> Interval:
    """The interval of full minus compressed as that of how much worse the compressed model is."""
    return interval if interval is None or not lower else (-interval[1], -interval[0])


def _chance(config: GateConfig, full: Score) -> str:
    """Why no drop is judged; empty where one may be."""
    asked = config.evaluation
    fact = "" if asked is None or asked.allow_chance else at_chance(full, asked.metric)
    if not fact:
        return ""
    checkpoint = config.model.checkpoint
    weights = f"that {checkpoint} holds trained weights" if checkpoint else "model.checkpoint, which is not set"
    meant = "if this is meant, write evaluation: {allow_chance: true}"
    return f"{fact} A drop from there says nothing. Check {weights}, and inputs and labels; {meant}."
