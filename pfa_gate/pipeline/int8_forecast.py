"""A forecast of the int8 file's bytes, for recipes whose target they are."""

import importlib
from typing import Any

import numpy as np
from torch import nn

from pfa_gate.artifacts.export import ExportFailedError
from pfa_gate.artifacts.onnx_model import onnx_content
from pfa_gate.artifacts.program import program_of, trials
from pfa_gate.artifacts.sizes import free_sizes
from pfa_gate.errors import CandidateError, TargetError
from pfa_gate.graph import inputs_of
from pfa_gate.pipeline.job import GateJob
from pfa_gate.pipeline.measure_and_cut import cut_exactly
from pfa_gate.pipeline.plan import CutPlan, MeasuredGraph, Planner
from pfa_gate.pipeline.quantized import int8_of
from pfa_gate.pipeline.trace import ModelGraph
from pfa_gate.runtime.int8_inventory import Int8Inventory, inventory
from pfa_gate.runtime.onnx_size import onnx_stored
from pfa_gate.runtime.quantize import Int8Model, NotQuantizedError

_ATTEMPTS = 3


def int8_inventory(job: GateJob, graph: ModelGraph) -> Int8Inventory | None:
    """What the int8 file of the full model stores; None where no recipe asks for its bytes.

    Args:
        job: the gate.
        graph: of the full model.

    Raises:
        TargetError: the full model has no such file.
    """
    if not job.config.int8 or job.config.recipe.strategy != "bytes":
        return None
    with job.stages.stage("forecasting", "recipe", "bytes"):
        try:
            content, made = _files_of(job, job.subject.model)
        except (ExportFailedError, NotQuantizedError, CandidateError) as error:
            reason = error.fact.rstrip(".") if isinstance(error, CandidateError) else str(error)
            raise TargetError(
                f"The bytes of the int8 file cannot be forecast: the full model has none ({reason}).",
                remedy="Write strategy: parameters, or remove quantize.",
            ) from error
        return inventory(_proto(content), _proto(made.content), made.nodes, graph.coupling)


def _files_of(job: GateJob, model: nn.Module) -> tuple[bytes, Int8Model]:
    """The floating and the int8 file of a model; what that stores does not depend on the samples."""
    inputs = inputs_of(job.subject.example)
    export = program_of(model, inputs, free_sizes(model, inputs))
    content = onnx_content(export, model, trials(export, model, inputs))
    return content, int8_of(job, content, 1)[0]


def _proto(content: bytes) -> Any:
    return importlib.import_module("onnx").load_from_string(content)


def fitted(job: GateJob, planner: Planner, plan: CutPlan, stored: Int8Inventory | None = None) -> CutPlan:
    """The plan whose int8 file has the bytes that were forecast for it, where a cut changes more than widths.

    Indices of what is scattered to full width, and biases that take up constant filters, are stored beside the weights;
    a table of positions may be stored as the exporter computed it. Such a cut is made and counted, and the recipe is
    made anew with what there was more.

    Args:
        job: the gate.
        planner: of the plan.
        plan: with a forecast; one without it stays as it is.
        stored: what the file of the full model stores, where the planner does not know it.
    """
    known = planner.measured.stored
    stored = known if stored is None and isinstance(known, Int8Inventory) else stored
    for _ in range(_ATTEMPTS):
        if stored is None or plan.forecast is None or not _changes_more(planner.measured, plan, stored):
            break
        with job.stages.stage("forecasting", "recipe", "bytes"):
            found = _bytes_of(job, planner, plan)
        if found is None or found == plan.forecast:
            break
        stored = stored.with_more(found - plan.forecast)
        plan = planner.plan(job.config.recipe, stored)
    return plan


def _changes_more(measured: MeasuredGraph, plan: CutPlan, stored: Int8Inventory) -> bool:
    coupling, inactive = measured.graph.coupling, measured.spectra.inactive
    computed = any(volume.once_cut for volume in coupling.volumes)
    constant = any(np.asarray(inactive[name]).any() for name in plan.recipe.counts if name in inactive)
    return bool(coupling.scattered or stored.unknown) or computed or constant


def _bytes_of(job: GateJob, planner: Planner, plan: CutPlan) -> int | None:
    """Bytes of the int8 file of the model as it is cut; None where it has none, which is said when it is written."""
    full = planner.measured
    _, cut = cut_exactly(job, full.graph.coupling, plan.selection.indices, full.spectra.inactive)
    try:
        _, made = _files_of(job, cut.model)
    except (ExportFailedError, NotQuantizedError, CandidateError):
        return None
    return onnx_stored(_proto(made.content)).bytes
