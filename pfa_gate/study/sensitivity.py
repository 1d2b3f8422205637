"""`pfa-gate sensitivity`: every group of a gate cut alone, printed, and written as JSON and as a page."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pfa_gate.artifacts.folders import write_sensitivity
from pfa_gate.config import Document, load
from pfa_gate.config.paths import from_root
from pfa_gate.errors import TraceError
from pfa_gate.graph.fingerprint import model_fingerprint
from pfa_gate.model import load as load_subject
from pfa_gate.model.device import exact_arithmetic
from pfa_gate.model.global_state import defaults_restored, freed_memory_kept
from pfa_gate.pipeline.findings import versions
from pfa_gate.pipeline.job import GateJob, Stages
from pfa_gate.pipeline.measure_and_cut import Measured, measure, trace
from pfa_gate.pipeline.plan import MeasuredGraph, evidence_of, plan_recipe
from pfa_gate.pipeline.run import OUTPUT, only_gate
from pfa_gate.pipeline.sensitivity import Sensitivity
from pfa_gate.pipeline.trace import ModelGraph
from pfa_gate.record import finite
from pfa_gate.record.sensitivity import (
    SHARES,
    CutGroup,
    SensitivityRecord,
    counts_at,
    dumps_sensitivity,
    sensitivity_file,
)
from pfa_gate.report.formatting import shows_unicode
from pfa_gate.report.result_folders import require_sensitivity
from pfa_gate.report.sensitivity import page, terminal
from pfa_gate.report.text import printable
from pfa_gate.study.progress import StudyProgress


@dataclass(frozen=True)
class SensitivityCommand:
    """What `pfa-gate sensitivity` is asked for.

    Attributes:
        config: the pfa.yaml.
        gate: which of its gates; may be left out where there is one.
        output: folder of the files; `.pfa/NAME.sensitivity` beside the config unless given.
    """

    config: Path
    gate: str | None = None
    output: Path | None = None


def sensitivity(order: SensitivityCommand) -> int:
    """Measure every group, print the table, write the files; gives the exit status.

    Raises:
        PFAGateError: the gate cannot be loaded or followed, or nothing written.
    """
    document = load(order.config)
    gate = document.gate(order.gate or only_gate(document)).name
    folder = order.output or sensitivity_file(document.path.parent / OUTPUT, gate).parent
    require_sensitivity(folder)
    with StudyProgress() as bar:
        found = measured_sensitivity(document, gate, bar.show)
    texts = {"sensitivity.json": dumps_sensitivity(found), "sensitivity.html": page(found)}
    files = write_sensitivity(folder, texts)
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    unicode = shows_unicode(sys.stdout.encoding)
    shown = terminal(found, width=shutil.get_terminal_size().columns, colour=colour, unicode=unicode)
    print(printable(shown, styled=True), end="")
    print(printable(f"\nFiles: {', '.join(files)}"))
    return 0


@defaults_restored()
@freed_memory_kept()
def measured_sensitivity(
    document: Document, gate: str, progress: Callable[[str, int, int], None] | None = None
) -> SensitivityRecord:
    """Cut every group of a gate alone.

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
    config = document.gate(gate)
    if config.selection == "auto":  # it tries three; this is the one that is never the worst
        config = config.model_copy(update={"selection": "reconstruction"})
    job = GateJob(config, subject, stages)
    with exact_arithmetic(subject.device):
        traced = trace(job)
        if traced.graph is None:
            place = document.place("gates", gate, "model", "factory")
            raise traced.error.at(str(place)) if traced.error else TraceError("The model cannot be followed.")
        measured = measure(job, traced)
        return _of_groups(job, traced.graph, measured, from_root(document.path))


def _of_groups(job: GateJob, graph: ModelGraph, measured: Measured, config: str) -> SensitivityRecord:
    whole = MeasuredGraph(graph, measured.spectra, measured.cost)
    with job.stages.stage("deciding", "recipe"):
        recipe = plan_recipe(job.config, job.subject, whole)
    evidence = evidence_of(job.config, job.subject, whole)
    groups = {group.name: group for group in evidence.groups}
    kept = {name: recipe.counts.get(name, group.width) for name, group in groups.items()}
    counts = {name: _counts(group.width, kept[name]) for name, group in groups.items()}
    with job.stages.stage("cutting group by group", "selection"):
        cuts = Sensitivity(evidence, graph.coupling, job.config.selection)
        curves = cuts.curves(counts, lambda done, total: job.stages.report("cutting group by group", done, total))
    return SensitivityRecord(
        gate=job.config.name,
        config=config,
        versions=versions(),
        measure="divergence" if cuts.measure == "divergence" else "output error",
        selection=job.config.selection,
        samples=cuts.samples,
        fitted=cuts.split.fitted.samples,
        model=model_fingerprint(job.subject.model, graph.program),
        probe=job.subject.probe.sha256,
        groups=tuple(
            CutGroup(
                name,
                tuple(group.layers),
                group.width,
                kept[name],
                {str(count): finite(effect.distance) for count, effect in curves[name].items()},
            )
            for name, group in groups.items()
        ),
        whole={group.name: group.frozen for group in graph.coupling.groups if group.frozen},
        written=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _counts(width: int, recipe: int) -> list[int]:
    """Filters at which a group is cut: the recipe's, and those at shares; never all of them."""
    return sorted({*counts_at(width, SHARES), *([recipe] if recipe < width else [])}, reverse=True)
