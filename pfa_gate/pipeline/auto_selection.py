"""The selection `auto`: three selections are tried on copies, and the one whose answers diverge least is kept."""

from dataclasses import replace
from typing import Literal

from pfa_gate.config.quantity import Limit
from pfa_gate.config.recipe import RecipeConfig
from pfa_gate.errors import MetricError, TooFewSamplesError
from pfa_gate.model import Batches
from pfa_gate.model.device import model_on
from pfa_gate.model.evaluation import Comparison, compare
from pfa_gate.model.evaluation.intervals import Estimate
from pfa_gate.pipeline.job import GateJob
from pfa_gate.pipeline.measure_and_cut import cut_exactly
from pfa_gate.pipeline.plan import Planner
from pfa_gate.pipeline.recovery_steps import compensate_on_device, compensate_settings, compensates
from pfa_gate.record.choice import SelectionChoice, SelectionTrial

CANDIDATES = ("reconstruction", "l1", "correlation")  # the first one's pass keeps what the others compensate with
FEWEST = 40  # samples to compare answers on
_SEARCHED = 0.5  # of the whole size: where a search is to come, selections are compared here


def choose_selection(planner: Planner, apart: Batches) -> tuple[GateJob, Planner]:
    """Try each selection and keep the best.

    Args:
        planner: of the full model, with the selection still open.
        apart: samples of the probe that nothing is measured or fitted on.

    Returns:
        The gate with the selection that was kept, and its planner, which has the record of all.

    Raises:
        TooFewSamplesError: there are fewer than 40 such samples.
        MetricError: the model has no answers and no floating outputs to compare.
    """
    with planner.job.stages.stage("choosing the selection", "selection"):
        _require_enough(apart)
        wanted = _wanted(planner)
        planners = [_with(planner, name) for name in CANDIDATES]
        found = [_compared(each, wanted, apart) for each in planners]
        measure, values = _judged(found)
    trials = tuple(
        SelectionTrial(name, each.value, each.interval) for name, each in zip(CANDIDATES, values, strict=True)
    )
    best = min(range(len(trials)), key=lambda index: trials[index].value)
    choice = SelectionChoice(trials, trials[best].name, measure, found[0].samples)
    return planners[best].job, replace(planners[best], choice=choice)


def _require_enough(apart: Batches) -> None:
    if apart.samples < FEWEST:
        raise TooFewSamplesError(
            f"selection: auto compares answers on a fifth of the probe, that nothing is fitted on: {apart.samples} "
            f"samples. At least {FEWEST} are needed.",
            remedy=f"Raise probe.samples to {5 * FEWEST}, or name one selection: reconstruction.",
            where=apart.where,
        )


def _wanted(planner: Planner) -> RecipeConfig:
    """The recipe at which selections are compared."""
    recipe = planner.job.config.recipe
    if recipe.strategy != "score":
        return recipe
    size = Limit(100 * _SEARCHED, "percent", f"{_SEARCHED:.0%}")
    return recipe.model_copy(update={"strategy": "parameters", "parameters": size})


def _with(planner: Planner, name: str) -> Planner:
    """The same with one selection; each keeps its own order of removal."""
    config = planner.job.config.model_copy(update={"selection": name})
    return replace(planner, job=replace(planner.job, config=config))


def _compared(planner: Planner, wanted: RecipeConfig, apart: Batches) -> Comparison:
    """Cut a copy, compensate it where the gate does, and compare its answers with the full model's."""
    job, graph = planner.job, planner.measured.graph
    indices = planner.plan(wanted).selection.indices
    _, smaller = cut_exactly(job, graph.coupling, indices, planner.measured.spectra.inactive)
    model, step = smaller.model, next((step for step in job.config.recovery if compensates(step)), None)
    if step is not None:
        settings = replace(compensate_settings(step, job.config.probe.seed), kept=planner.kept)
        model, _ = compensate_on_device(job.subject, graph.program, smaller, model, settings)
    device = job.subject.device
    return compare(model_on(job.subject.model, device), model_on(model, device), apart)


def _judged(found: list[Comparison]) -> tuple[Literal["divergence", "output_error"], list[Estimate]]:
    divergences = [each.divergence for each in found if each.divergence is not None]
    if len(divergences) == len(found):
        return "divergence", divergences
    errors = [each.outputs for each in found if each.outputs is not None]
    if len(errors) == len(found):
        return "output_error", errors
    reason = next((each.no_answers for each in found if each.no_answers), "the model has no floating output")
    raise MetricError(
        f"selection: auto has no answers to compare: {reason}", remedy="Name one selection: reconstruction."
    )
