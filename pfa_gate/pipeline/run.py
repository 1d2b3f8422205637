"""The program: load, examine, export, measure the files, judge, write."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from pfa_gate.budget import Context, judge
from pfa_gate.compress.prune import with_kept
from pfa_gate.config import Document, load
from pfa_gate.config.paths import from_root
from pfa_gate.errors import ConfigError
from pfa_gate.model import Subject
from pfa_gate.model import load as load_subject
from pfa_gate.model.device import device_label, exact_arithmetic
from pfa_gate.model.evaluation import KeptOutputs
from pfa_gate.model.global_state import defaults_restored, freed_memory_kept
from pfa_gate.pipeline.answers import answer_budgets, unmeasured_answers
from pfa_gate.pipeline.examine import examine
from pfa_gate.pipeline.extras import require_extras
from pfa_gate.pipeline.findings import Findings, versions
from pfa_gate.pipeline.job import LOCAL, GateJob, MeasurementBackend, Stages
from pfa_gate.pipeline.known_sensitivity import KnownSensitivity, known_sensitivity
from pfa_gate.pipeline.remedy_size import with_remedy_size
from pfa_gate.record import Probe, Record
from pfa_gate.record.baseline import comparison
from pfa_gate.record.manifest import Progress, Wait
from pfa_gate.report.ownership import require_folder

if TYPE_CHECKING:
    pass

__all__ = ["Progress", "Run", "only_gate", "run"]

OUTPUT = ".pfa"


@dataclass(frozen=True)
class Run:
    """What a gate's run gives: the record of all it found, and the compressed model, if one could be made."""

    record: Record
    model: nn.Module | None


def run(
    config_path: Path | str,
    gate: str | None = None,
    *,
    output: Path | str | None = None,
    progress: Progress | None = None,
    baseline: Path | str | None = None,
) -> Run:
    """Run one gate: measure, compress, prove, score, judge, and write its folder.

    Args:
        config_path: a pfa.yaml.
        gate: which of its gates; may be left out when there is one.
        output: folder for the results; `.pfa` beside the config unless given.
        progress: called as (stage, done, total) while it runs.
        baseline: what to compare with: a file that `--pfa-update-baseline` wrote, or `git:REF`; nothing unless given.

    Raises:
        PFAGateError: what could not be measured, with its place in the config. Nothing is written then.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> code = '''
        ... import torch
        ... def build():
        ...     return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        ... def probe():
        ...     return torch.randn(64, 4)
        ... '''
        >>> config = '''
        ... gates:
        ...   tiny:
        ...     model: {factory: net.py:build}
        ...     probe: {data: net.py:probe}
        ...     budgets: {model: {parameters: 100}}
        ... '''
        >>> with TemporaryDirectory() as folder:
        ...     _ = Path(folder, "net.py").write_text(code), Path(folder, "pfa.yaml").write_text(f"version: 1{config}")
        ...     record = run(Path(folder, "pfa.yaml")).record
        >>> record.model.parameters, [(budget.id, budget.outcome) for budget in record.budgets]
        (58, [('exact', 'kept'), ('model.parameters', 'kept')])
    """
    wait = Wait(progress)
    document = load(config_path)
    name = only_gate(document) if gate is None else gate
    context = _compared_with(baseline, document, name)
    return run_document(document, name, context, output=output, wait=wait)


def _compared_with(baseline: Path | str | None, document: Document, gate: str) -> Context:
    """What the gate is compared with, and today."""
    if baseline is None:
        return Context(today=date.today())
    from pfa_gate.record.baseline_source import absolute, context_of, find_with_history  # noqa: PLC0415  for these runs

    found = find_with_history(document.path, absolute(str(baseline), Path.cwd()), document.gate(gate))
    return context_of(document, gate, found, updating=False)


def run_document(
    document: Document,
    gate: str,
    context: Context,
    *,
    output: Path | str | None = None,
    wait: Wait | None = None,
) -> Run:
    """Run one gate of a config that is read already; as `run`, which says the rest.

    Args:
        document: the config.
        gate: the gate's name.
        context: the baseline to compare with, and the day on which waivers are judged.
        output: folder for the results; `.pfa` beside the config unless given.
        wait: since when the run is waited for, and what is called with its progress; now, and nothing, unless given.
    """
    wait = wait or Wait()
    return run_with_backend(document, context, Stages(document, gate, wait.progress, wait.since), output, LOCAL)


@defaults_restored()
@freed_memory_kept()
def run_with_backend(
    document: Document, context: Context, stages: Stages, output: Path | str | None, backend: MeasurementBackend
) -> Run:
    """Run the gate of these stages, measured by this backend; see `run`."""
    config = document.gate(stages.gate)
    folder = Path(output) if output is not None else document.path.parent / OUTPUT
    require_folder(folder / config.name)  # what cannot be written need not be measured
    require_extras(config, stages)
    with stages.stage("loading"):
        subject = load_subject(document, config.name)
    asked = answer_budgets(config)
    job = GateJob(config, subject, stages, backend, KeptOutputs("output_error" in asked, of_any_metric=bool(asked)))
    with exact_arithmetic(subject.device):
        findings = examine(job)
    with ExitStack() as unfinished:
        with stages.stage("exporting"):
            from pfa_gate.artifacts import replacing, with_files, write_record  # noqa: PLC0415  not before it is needed
            from pfa_gate.pipeline.deployed import deploy  # noqa: PLC0415
            from pfa_gate.pipeline.measure_files import measure_files  # noqa: PLC0415

            fresh = unfinished.enter_context(replacing(folder / config.name))
        with exact_arithmetic(subject.device):
            deployed = deploy(fresh, folder / config.name, findings.cut, findings.compressed_record())
        deployed = measure_files(job, findings, deployed)
        with stages.stage("judging", "budgets"):
            findings = replace(findings, deployed=deployed)
            record = _judge(document, subject, findings, replace(context, device=device_label(subject.device)))
            record = _with_sensitivity(record, known_sensitivity(folder, job, findings.measured))
            record = with_files(record, deployed.files)
        with stages.stage("writing"):
            record = write_record(fresh, folder / config.name, record, deployed.delivery, _with_seconds(stages))
            unfinished.close()  # the new folder takes the place of the old one
    cut = findings.cut.compressed if findings.cut else None
    return Run(record, with_kept(cut.model, cut.axis_indices) if cut else None)


def _judge(document: Document, subject: Subject, findings: Findings, context: Context) -> Record:
    """The record, but for its seconds and files."""
    config, measurements = findings.config, findings.measurements()
    verdict = judge(config, measurements, lambda keys: document.place(*keys), context)
    return Record(
        gate=config.name,
        config=from_root(document.path),
        versions=versions(),
        seconds={},
        model=measurements.full,
        probe=_probe(subject, config.probe.positions),
        layers=findings.layer_records,
        recipe=findings.recipe_record(),
        compressed=findings.compressed_record(),
        scores=findings.scores_record(),
        budgets=with_remedy_size(verdict, findings),
        unmeasured=(*findings.unmeasured(), *unmeasured_answers(config, measurements.answers)),
        parity=measurements.parity,
        baseline=comparison(context.base, measurements.layers, subject.probe.sha256, context.device),
        device=context.device,
        weights=subject.weights,
        answers=measurements.answers,
        run=context.run,
        candidate=findings.candidate.record() if findings.candidate else None,
        quantized=findings.quantized.record if findings.quantized else None,
        demands=findings.demands.record(),
        sparsity=findings.sparsity,
        factorized=findings.cut.factorized if findings.cut else None,
        written=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _probe(subject: Subject, positions: int | None) -> Probe:
    held_out = 0 if subject.held_out is None else subject.held_out.samples
    return Probe(subject.probe.samples, subject.probe.sha256, positions, held_out)


def _with_sensitivity(record: Record, known: KnownSensitivity) -> Record:
    unmeasured = (*record.unmeasured, *known.unmeasured())
    return replace(record, layers=known.beside(record.layers), unmeasured=unmeasured)


def _with_seconds(stages: Stages) -> Callable[[Record], Record]:
    """Adds to a record, last of all, how long each stage took."""
    return lambda record: replace(record, seconds=stages.seconds("writing"))


def only_gate(document: Document) -> str:
    """The name of a config's one gate.

    Raises:
        ConfigError: there are several.
    """
    names = list(document.gates)
    if len(names) == 1:
        return names[0]
    raise ConfigError(f"{document.path} declares {len(names)} gates.", remedy=f"Name one of them: {', '.join(names)}.")
