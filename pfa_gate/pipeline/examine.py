"""The first half of the program: trace, measure, decide, cut, prove, recover, score."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pfa_gate.model.evaluation import Score
from pfa_gate.pipeline.answers import compare_answers
from pfa_gate.pipeline.cut import Cut
from pfa_gate.pipeline.demands import demands
from pfa_gate.pipeline.findings import Findings
from pfa_gate.pipeline.job import GateJob
from pfa_gate.pipeline.measure_and_cut import (
    Measured,
    compressed_cost,
    cut_and_prove,
    measure,
    score_both,
    score_model,
    trace,
)
from pfa_gate.pipeline.trace import ModelGraph, Traced
from pfa_gate.record import SparsityRecord

if TYPE_CHECKING:
    from pfa_gate.compress.full_rows import FullRows
    from pfa_gate.pipeline.plan import CutPlan, Planner, StoredBytes


def examine(job: GateJob) -> Findings:
    """Trace and measure the model, and compress it where it can be followed; or measure a candidate against it.

    Args:
        job: the gate.
    """
    found = _examine_model(job) if job.config.candidate is None else _examine_candidate(job)
    smaller = found.cut.compressed.model if found.cut else None
    made_elsewhere = found.candidate.candidate if found.candidate else None
    return replace(found, demands=demands(job, smaller, made_elsewhere), sparsity=_sparsity(job, found))


def _sparsity(job: GateJob, found: Findings) -> SparsityRecord:
    """The zeros of both models."""
    from pfa_gate.pipeline.sparsified import Smaller, sparsity_record  # noqa: PLC0415  not before a model is measured

    candidate = found.candidate.candidate.model if found.candidate else None
    smaller = None if candidate is None else Smaller(candidate, 0, {})
    if found.cut is not None:
        spared = {
            layer: why for step in found.cut.recovery if step.step == "sparsify" for layer, why in step.spared.items()
        }
        smaller = Smaller(found.cut.compressed.model, found.cut.cost.bytes, spared)
    with job.stages.stage("counting", "budgets"):
        return sparsity_record(job, found.measured.layers, smaller)


def _examine_model(job: GateJob) -> Findings:
    """Trace and measure the model, and compress it where it can be followed."""
    traced = trace(job)
    kept = _kept(job, traced)
    measured = measure(job, traced, kept.observe if kept else None)
    if traced.graph is None:
        return Findings(job.config, measured, None, traced.reason, score_model(job, job.subject.model, in_parts=True))
    return Findings(job.config, measured, _compress(job, traced.graph, measured, kept))


def _kept(job: GateJob, traced: Traced) -> "FullRows | None":
    if traced.graph is None or not job.config.recovery:
        return None
    from pfa_gate.pipeline.recovery_steps import kept_of_probe  # noqa: PLC0415  for gates with such a step

    return kept_of_probe(job, traced.graph.program)


def _examine_candidate(job: GateJob) -> Findings:
    """Measure the full model as ever, and a model that was made elsewhere against it."""
    from pfa_gate.pipeline.judged_candidate import judged, loaded  # noqa: PLC0415  for gates with one

    candidate = loaded(job)  # what does not run is said before anything is measured
    measured = measure(job, trace(job))
    return Findings(job.config, measured, None, candidate=judged(job, candidate))


def _compress(job: GateJob, graph: ModelGraph, measured: Measured, known: "FullRows | None" = None) -> Cut:
    """Decide, cut and prove, recover, count and score."""
    from pfa_gate.pipeline.plan import MeasuredGraph, Planner  # noqa: PLC0415  for models that can be followed
    from pfa_gate.pipeline.recovery_steps import kept_for_compensation  # noqa: PLC0415

    kept = kept_for_compensation(job, graph.program, known)
    whole = MeasuredGraph(graph, measured.spectra, measured.cost, stored=_forecast(job, graph))
    planner = Planner(job, whole, measured.chosen, kept)
    job, plan = _decided(job, planner)
    return carry_out(job, planner, plan)


def carry_out(job: GateJob, planner: "Planner", plan: "CutPlan", full_score: Score | None = None) -> Cut:
    """Cut as planned and prove it, recover, count and score.

    Args:
        job: the gate.
        planner: of the full model.
        plan: the cut.
        full_score: of the full model; it is scored unless given.
    """
    from pfa_gate.pipeline.factorized import factorizing  # noqa: PLC0415  for models that can be followed
    from pfa_gate.pipeline.recovery_steps import recover  # noqa: PLC0415

    graph, spectra = planner.measured.graph, planner.measured.spectra
    coupling, proved = cut_and_prove(job, graph.coupling, plan.selection.indices, spectra.inactive)
    full_score = full_score or score_model(job, job.subject.model, in_parts=True)
    recovered = recover(job, graph.program, proved, planner.kept, factorizing(job, planner, plan))
    compressed = recovered.compressed
    cost = compressed_cost(job, compressed.model)
    scores = score_both(job, compressed.model, recovered.score, full_score)
    answers = compare_answers(job, compressed.model, scores)
    full_macs, rounded = planner.measured.full.macs, partial(planner.rounded, plan, cost.macs)
    found = Cut(coupling, plan, compressed, cost, scores, job, full_macs, rounded, recovered.steps, answers)
    return replace(found, factorized=recovered.factorized)


def _forecast(job: GateJob, graph: ModelGraph) -> "StoredBytes | None":
    """What the file with few bits stores, where the recipe has its bytes for a target."""
    if job.config.quantize is None:
        return None
    if job.config.int8:
        from pfa_gate.pipeline.int8_forecast import int8_inventory  # noqa: PLC0415  for gates with this section

        return int8_inventory(job, graph)
    from pfa_gate.pipeline.bit_forecast import few_bits_inventory  # noqa: PLC0415  for gates with fewer bits

    return few_bits_inventory(job, graph)


def _fitted(job: GateJob, planner: "Planner", plan: "CutPlan") -> "CutPlan":
    if plan.forecast is None or not job.config.int8:
        return plan
    from pfa_gate.pipeline.int8_forecast import fitted  # noqa: PLC0415  for gates with the section quantize

    return fitted(job, planner, plan)


def _decided(job: GateJob, planner: "Planner") -> tuple[GateJob, "CutPlan"]:
    """The plan of the cut, and the gate with its selection and with the samples that its own scores are of."""
    if job.config.selection == "auto" and job.subject.apart is not None:
        from pfa_gate.pipeline.auto_selection import choose_selection  # noqa: PLC0415  for gates with this selection

        job, planner = choose_selection(planner, job.subject.apart)
    if job.config.recipe.strategy != "score":
        return job, _fitted(job, planner, planner.plan(job.config.recipe))
    from pfa_gate.pipeline.score_search import search, searching  # noqa: PLC0415  for gates with this strategy

    looking, reporting, data = searching(job)
    return reporting, search(looking, planner, data)
