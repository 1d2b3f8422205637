"""The cut of the full model: constant filters are folded first, and what cannot be proved is put back."""

from collections.abc import Mapping

import numpy.typing as npt

from pfa_gate.compress.prune import PrunedModel, compress, fold_constants, removed_and_inactive
from pfa_gate.graph import Coupling, inputs_of
from pfa_gate.pipeline.backend import GateJob
from pfa_gate.pipeline.trace import ModelGraph

Filters = Mapping[str, npt.ArrayLike]


def cut_and_prove(job: GateJob, coupling: Coupling, keep: Filters, inactive: Filters) -> tuple[Coupling, PrunedModel]:
    """Cut the full model and prove the cut; see `cut_exactly`."""
    with job.stages.stage("cutting and proving", "recipe"):
        return cut_exactly(job, coupling, keep, inactive)


def cut_exactly(job: GateJob, coupling: Coupling, keep: Filters, inactive: Filters) -> tuple[Coupling, PrunedModel]:
    """Cut the full model; filters that are constant go into the biases of their readers first.

    Args:
        job: the gate.
        coupling: of the full model.
        keep: group name -> the filters that stay, ascending.
        inactive: group name -> bool [C], the filters that never move on the probe.

    Returns:
        The coupling of the model that was cut (the full one, or the one whose constants are folded), and the cut.
    """
    model, inputs = job.subject.model, inputs_of(job.subject.example)
    constant = dict(removed_and_inactive(keep, inactive))
    folded = fold_constants(model, coupling, constant, inputs) if constant else None
    if folded is None:
        return coupling, compress(model, coupling, keep, inputs)
    coupling = ModelGraph.of(folded.model, job.subject.example, job.config.recipe.residual).coupling
    return coupling, compress(folded.model, coupling, keep, inputs)
