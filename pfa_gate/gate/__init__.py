"""The whole program as one paragraph: load, trace, probe, decide, cut, prove, score, judge, write."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from pfa_gate import artifacts
from pfa_gate.budget import judge
from pfa_gate.config import Document, GateConfig, load
from pfa_gate.cost import Cost, cost, latency_ratio
from pfa_gate.coupling import Coupling, Footprint, Group, export_model, inputs_of, trace_program
from pfa_gate.errors import ConfigError
from pfa_gate.evaluation import Score, score
from pfa_gate.gate.account import Findings, versions
from pfa_gate.gate.measure import Spectra, responses, spectra
from pfa_gate.gate.stages import Progress, Stages
from pfa_gate.loading import Subject
from pfa_gate.loading import load as load_subject
from pfa_gate.probe import chosen_layers
from pfa_gate.recipe import Recipe, Rule, recipe
from pfa_gate.record import Probe, Record, Size
from pfa_gate.selection import select
from pfa_gate.surgery import Compressed, compress

__all__ = ["Progress", "Run", "run"]

OUTPUT = ".pfa"


@dataclass(frozen=True)
class Run:
    """What a gate's run gives: the record of all it found, and the compressed model."""

    record: Record
    model: nn.Module


def run(
    config_path: Path | str,
    gate: str | None = None,
    *,
    output: Path | str | None = None,
    progress: Progress | None = None,
) -> Run:
    """Run one gate: measure, compress, prove, score, judge, and write its folder.

    Args:
        config_path: a pfa.yaml.
        gate: which of its gates; may be left out when there is one.
        output: folder for the results; `.pfa` beside the config unless given.
        progress: called as (stage, done, total) while it runs.

    Raises:
        PFAGateError: what could not be measured, with its place in the config. Nothing is written then.
    """
    document = load(config_path)
    config = document.gate(_only(document) if gate is None else gate)
    stages = Stages(document, config.name, progress)
    with stages.stage("loading"):
        subject = load_subject(document, config.name)
    findings = _examine(config, subject, stages)
    with stages.stage("judging", "budgets"):
        verdict = judge(config, findings.measurements(), lambda keys: document.place(*keys))
    record = Record(
        gate=config.name,
        config=_relative(document.path),
        versions=versions(),
        seconds={name: round(seconds, 3) for name, seconds in stages.seconds.items()},
        model=Size(findings.full.parameters, findings.full.bytes, findings.full.macs),
        probe=Probe(subject.probe.samples, subject.probe.sha256),
        layers=findings.layers(),
        recipe=findings.recipe_record(),
        compressed=findings.compressed_record(),
        scores=findings.scores_record(),
        budgets=verdict,
        unmeasured=tuple(findings.unmeasured()),
    )
    with stages.stage("writing"):
        folder = Path(output) if output is not None else document.path.parent / OUTPUT
        record = artifacts.write(folder, record, findings.compressed, findings.coupling)
    return Run(record, findings.compressed.model)


def _examine(config: GateConfig, subject: Subject, stages: Stages) -> Findings:
    with stages.stage("tracing", "model", "factory"):
        program = export_model(subject.model, *inputs_of(subject.example))
        coupling = trace_program(program, config.recipe.residual)
    with stages.stage("choosing layers", "layers"):
        layers = chosen_layers(subject.model, coupling, config.layers.include, config.layers.exclude)
        full = cost(subject.model, subject.example)
    with stages.stage("probing", "probe", "data"):
        groups = _cuttable(coupling, {layer.name for layer in layers})
        batches = stages.counted("probing", subject.probe, -(-subject.probe.samples // config.probe.batch_size))
        moments = responses(program, [*layers, *groups], batches, config)
    with stages.stage("taking spectra", "probe"):
        found = spectra(coupling, layers, moments)
    with stages.stage("deciding", "recipe"):
        plan = _recipe(config, coupling, found, full)
        selection = select(plan, found.groups)
    with stages.stage("cutting and proving", "recipe"):
        smaller = compress(subject.model, coupling, selection.kept, inputs_of(subject.example))
        small = cost(smaller.model, subject.example)
    scores = _scores(subject, smaller, stages)
    latency = _latency(config, subject, smaller, stages)
    return Findings(config, coupling, layers, found, plan, selection, full, smaller, small, scores, latency)


def _cuttable(coupling: Coupling, chosen: set[str]) -> list[Group]:
    return [group for group in coupling.free if chosen.issuperset(group.layers)]


def _recipe(config: GateConfig, coupling: Coupling, found: Spectra, full: Cost) -> Recipe:
    wanted = config.recipe
    limit = {"parameters": wanted.parameters, "bytes": wanted.bytes, "macs": wanted.macs}.get(wanted.strategy)
    target = None
    if limit is not None:
        whole = getattr(full, wanted.strategy)
        target = limit.value * whole / 100 if limit.unit == "percent" else limit.value
    rule = Rule(wanted.strategy, wanted.energy, target, wanted.round_to, wanted.minimum)

    def footprint(keep: Mapping[str, int]) -> float:
        size: Footprint = coupling.footprint(keep)
        return float(getattr(size, wanted.strategy if target is not None else "parameters"))

    return recipe(found.groups, footprint, rule)


def _scores(subject: Subject, smaller: Compressed, stages: Stages) -> tuple[Score, Score] | None:
    if subject.evaluation is None:
        return None
    with stages.stage("scoring", "evaluation"):
        full = score(subject.model, subject.evaluation, subject.metric)
        return full, score(smaller.model, subject.evaluation, subject.metric)


def _latency(config: GateConfig, subject: Subject, smaller: Compressed, stages: Stages) -> float | None:
    if config.budgets.compressed.latency is None:
        return None
    with stages.stage("timing", "budgets", "compressed", "latency"):
        return latency_ratio(subject.model, smaller.model, subject.example)


def _only(document: Document) -> str:
    names = list(document.gates)
    if len(names) == 1:
        return names[0]
    raise ConfigError(f"{document.path} declares {len(names)} gates.", remedy=f"Name one of them: {', '.join(names)}.")


def _relative(path: Path) -> str:
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path.as_posix()
