"""`pfa-gate sensitivity --bits`: every layer of a gate's model alone with few bits, printed, and written as files."""

import os
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from pfa_gate.artifacts.folders import write_bits
from pfa_gate.compress.quantize import WIDTHS, WeightLayer, Width, weight_layers
from pfa_gate.config import Document, load
from pfa_gate.config.paths import from_root
from pfa_gate.errors import TraceError
from pfa_gate.graph.cost import stored
from pfa_gate.graph.fingerprint import model_fingerprint
from pfa_gate.model import load as load_subject
from pfa_gate.model.device import exact_arithmetic
from pfa_gate.model.global_state import defaults_restored, freed_memory_kept
from pfa_gate.pipeline.answer_distance import Effect
from pfa_gate.pipeline.bit_sensitivity import BitSensitivity
from pfa_gate.pipeline.findings import versions
from pfa_gate.pipeline.job import GateJob, Stages
from pfa_gate.pipeline.measure_and_cut import trace
from pfa_gate.pipeline.run import OUTPUT, only_gate
from pfa_gate.pipeline.trace import ModelGraph
from pfa_gate.record import finite
from pfa_gate.record.bit_sensitivity import BitSensitivityRecord, LayerWidths, dumps_bits
from pfa_gate.record.sensitivity import sensitivity_file
from pfa_gate.report.bit_sensitivity import page, terminal
from pfa_gate.report.formatting import shows_unicode
from pfa_gate.report.result_folders import require_bits
from pfa_gate.report.text import printable
from pfa_gate.study.progress import StudyProgress
from pfa_gate.study.sensitivity import SensitivityCommand

_STAGE = "few bits layer by layer"


def bit_sensitivity(order: SensitivityCommand) -> int:
    """Measure every layer at every width, print the table, write the files; gives the exit status.

    Raises:
        PFAGateError: the gate cannot be loaded or followed, or nothing written.
    """
    document = load(order.config)
    gate = document.gate(order.gate or only_gate(document)).name
    folder = order.output or sensitivity_file(document.path.parent / OUTPUT, gate).parent
    require_bits(folder)
    with StudyProgress() as bar:
        found = measured_bits(document, gate, bar.show)
    files = write_bits(folder, {"bits.json": dumps_bits(found), "bits.html": page(found)})
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    unicode = shows_unicode(sys.stdout.encoding)
    shown = terminal(found, width=shutil.get_terminal_size().columns, colour=colour, unicode=unicode)
    print(printable(shown, styled=True), end="")
    print(printable(f"\nFiles: {', '.join(files)}"))
    return 0


@defaults_restored()
@freed_memory_kept()
def measured_bits(
    document: Document, gate: str, progress: Callable[[str, int, int], None] | None = None
) -> BitSensitivityRecord:
    """Give the weights of every layer of the full model, alone, each width.

    Args:
        document: the config.
        gate: the gate's name.
        progress: called as (stage, done, total).

    Raises:
        PFAGateError: the gate cannot be loaded, or its model not be followed.
    """
    stages = Stages(document, gate, progress)
    with stages.stage("loading"):
        subject = load_subject(document, gate)
    job = GateJob(document.gate(gate), subject, stages)
    with exact_arithmetic(subject.device):
        traced = trace(job)
        if traced.graph is None:
            place = document.place("gates", gate, "model", "factory")
            raise traced.error.at(str(place)) if traced.error else TraceError("The model cannot be followed.")
        return _of_layers(job, traced.graph, from_root(document.path))


def _of_layers(job: GateJob, graph: ModelGraph, config: str) -> BitSensitivityRecord:
    model = graph.program.stored if graph.program.stored is not None else job.subject.model
    layers, floating = weight_layers(model, graph.coupling)
    with job.stages.stage(_STAGE, "probe"):
        sensitivity = BitSensitivity(job.subject, model, graph.program)
        table = sensitivity.table(layers, WIDTHS, lambda done, total: job.stages.report(_STAGE, done, total))
    return BitSensitivityRecord(
        gate=job.config.name,
        config=config,
        versions=versions(),
        measure="divergence" if sensitivity.measure == "divergence" else "output error",
        widths=tuple(map(str, WIDTHS)),
        samples=sensitivity.samples,
        model=model_fingerprint(job.subject.model, graph.program),
        probe=job.subject.probe.sha256,
        bytes=stored(job.subject.model, graph.program.unpacked).bytes,
        layers=tuple(_layer(layer, table[layer.name]) for layer in layers),
        floating=floating,
        written=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _layer(layer: WeightLayer, effects: dict[Width, Effect]) -> LayerWidths:
    return LayerWidths(
        layer.name,
        layer.count,
        {str(width): layer.bytes(width) for width in WIDTHS},
        {str(width): finite(effect.distance) for width, effect in effects.items()},
    )
