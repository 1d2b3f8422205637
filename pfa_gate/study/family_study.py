"""A study of families: all ways to make a model smaller, at equal bytes and at equal time, and the command for it."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pfa_gate.artifacts.folders import write_families
from pfa_gate.config import Document, load
from pfa_gate.config.paths import from_root
from pfa_gate.errors import ConfigError
from pfa_gate.model import load as load_subject
from pfa_gate.model.device import exact_arithmetic
from pfa_gate.model.evaluation import KeptOutputs
from pfa_gate.model.global_state import defaults_restored, freed_memory_kept
from pfa_gate.pipeline.demands import demanded
from pfa_gate.pipeline.findings import versions
from pfa_gate.pipeline.job import GateJob, Stages
from pfa_gate.pipeline.run import OUTPUT, only_gate
from pfa_gate.record import Size
from pfa_gate.record.families import FamilyStudy, FamilyTrial, dumps_families
from pfa_gate.report.formatting import shows_unicode
from pfa_gate.report.result_folders import require_families
from pfa_gate.report.study import families_markdown, families_svg, families_terminal
from pfa_gate.report.text import printable
from pfa_gate.runtime.session import runtime_version
from pfa_gate.study.context import stderr_of
from pfa_gate.study.families import FAMILIES, Family, families_of
from pfa_gate.study.family_trials import FamilyContext, FamilySpec, family_trials
from pfa_gate.study.options import listed
from pfa_gate.study.progress import StudyProgress

FAILED = 1
SIZES, TIMES = "50%,30%,12%", "90%,75%,60%"


@dataclass(frozen=True)
class FamilyOptions:
    """What to compare.

    Attributes:
        families: each once.
        sizes: shares of the full model's bytes, the largest first.
        times: shares of the full model's time, the largest first.
        random: random recipes at each size.
        uniform: whether to add the recipe that keeps one share of every group.
    """

    families: tuple[Family, ...] = families_of(FAMILIES)
    sizes: tuple[float, ...] = (0.5, 0.3, 0.12)
    times: tuple[float, ...] = (0.9, 0.75, 0.6)
    random: int = 0
    uniform: bool = False

    def __post_init__(self) -> None:
        if self.random < 0:
            raise ConfigError(f"random is {self.random}.", remedy="Draw 0 or more.")

    @property
    def specs(self) -> tuple[FamilySpec, ...]:
        """Every model to make: first those whose size nothing moves, as several of them are files of one model."""
        return tuple(sorted(self._specs(), key=lambda spec: spec.asked is not None))

    def _specs(self) -> Iterator[FamilySpec]:
        for each in self.families:
            for size in self.sizes if each.moved is not None else (None,):
                yield FamilySpec(each, size)
                if size is not None and each.baselines:
                    yield from [FamilySpec(each, size, "uniform")] * self.uniform
                    yield from (FamilySpec(each, size, "random", draw) for draw in range(self.random))


def shares(text: str) -> tuple[float, ...]:
    """Percentages with commas between, the largest first.

    Raises:
        ConfigError: one is none, or stands twice.

    Example:
        >>> shares("25%, 50")
        (0.5, 0.25)
    """
    try:
        found = [float(word.removesuffix("%")) / 100 for word in listed(text)]
    except ValueError:
        found = []
    if not found or not all(0 < each <= 1 for each in found) or len({*found}) != len(found):
        remedy = "Write percentages above 0 and up to 100 with commas between, each once: 50%,25%."
        raise ConfigError(f"'{text}' is no list of sizes.", remedy=remedy)
    return tuple(sorted(found, reverse=True))


@defaults_restored()
@freed_memory_kept()
def run_families(
    config_path: Path | str,
    gate: str | None,
    ask: FamilyOptions,
    progress: Callable[[str, int, int], None] | None = None,
    watch: Callable[[FamilyTrial], object] = str,
) -> FamilyStudy:
    """Study all families on one gate's model; nothing is written.

    Trace, probe, spectra, removal orders and the full model's answers are made once and serve all trials. Each is made
    as the gate would make it, and measured as the file that would ship.

    Args:
        config_path: a pfa.yaml; its sections `recipe`, `quantize`, `factorize` and `sparsify` are replaced.
        gate: which of its gates; may be None when there is one.
        ask: what to compare.
        progress: called as (stage, done, total); None for nobody.
        watch: called with each trial as it is done.

    Raises:
        PFAGateError: the model could not be measured at all; an error in one trial is a trial with its reason.
    """
    started = time.perf_counter()
    document = load(config_path)
    name = only_gate(document) if gate is None else gate
    _require_evaluation(document, name)
    stages = Stages(document, name, progress)
    with stages.stage("loading"):
        subject = load_subject(document, name)
    kept = KeptOutputs(everything=True, of_any_metric=True)
    job = GateJob(document.gate(name), subject, stages, kept=kept)
    with exact_arithmetic(subject.device), tempfile.TemporaryDirectory(prefix="pfa-gate-") as folder:
        context = FamilyContext.of(job, Path(folder))
        context = replace(context, job=replace(context.job, stages=Stages(document, name)))
        done = list(_reported(context, ask.specs, stages, watch))
    return replace(_study(document, context, ask, done), seconds=round(time.perf_counter() - started, 3))


def _require_evaluation(document: Document, gate: str) -> None:
    config = document.gate(gate)
    if config.evaluation is None or config.candidate is not None:
        lacking = "A candidate is compressed already" if config.candidate else "A study needs an evaluation"
        remedy = "Remove the section candidate." if config.candidate else "Add the section evaluation with its data."
        raise ConfigError(f"{lacking}.", remedy=remedy).at(str(document.place("gates", gate)))


def _reported(
    context: FamilyContext, specs: Sequence[FamilySpec], stages: Stages, watch: Callable[[FamilyTrial], object]
) -> Iterator[FamilyTrial]:
    stages.report("families", 0, len(specs))
    for done, trial in enumerate(family_trials(context, iter(specs)), 1):
        watch(trial)
        stages.report("families", done, len(specs))
        yield trial


def _study(document: Document, context: FamilyContext, ask: FamilyOptions, done: Sequence[FamilyTrial]) -> FamilyStudy:
    job, score, full = context.job, context.full_score, context.planner.measured.full
    config, subject = job.config, job.subject
    steps = [step if isinstance(step, str) else next(iter(step.model_dump())) for step in config.recovery]
    return FamilyStudy(
        gate=config.name,
        config=from_root(document.path),
        metric=config.evaluation.metric if config.evaluation else "",
        samples=score.samples,
        model=demanded(Size(full.parameters, full.bytes, full.macs), subject.model, subject.example, config.energy),
        accuracy=score.value,
        stderr=None if score.outcomes is None else stderr_of(score.value, score.samples),
        selection=config.selection,
        recovery="+".join(steps) or "none",
        families=tuple(each.name for each in ask.families),
        sizes=ask.sizes,
        times=ask.times,
        draws=ask.random,
        seed=config.probe.seed,
        batch=next((trial.time.samples for trial in done if trial.time is not None), config.latency.batch),
        trials=tuple(done),
        versions=versions(),
        seconds=0.0,
        runtime="" if isinstance(context.full_file, str) else runtime_version(),
        notes=tuple(dict.fromkeys(part.note for each in ask.families for part in each.parts if part.note)),
        direction=score.direction,
        unit="share" if score.share else "plain",
    )


@dataclass(frozen=True)
class FamilyCommand:
    """What the command was asked for.

    Attributes:
        config: a pfa.yaml.
        gate: one of its gates; None where it has one.
        ask: what to compare.
        output: folder for the files; None for `.pfa/<gate>.families` beside the config.
    """

    config: Path
    gate: str | None
    ask: FamilyOptions
    output: Path | None


def study_families(order: FamilyCommand) -> int:
    """Study the families, print the table, write the files.

    Returns:
        0, or 1 where a trial met a fault, or none could be measured.

    Raises:
        PFAGateError: nothing could be run, or nothing written.
    """
    document = load(order.config)
    gate = order.gate or only_gate(document)
    folder = order.output or document.path.parent / OUTPUT / f"{gate}.families"
    require_families(folder)  # before what takes many minutes
    count = len(order.ask.specs)
    print(printable(f"Study of families of {gate}: {count:,} models to make."), file=sys.stderr, flush=True)
    with StudyProgress() as bar:
        found = run_families(order.config, gate, order.ask, bar.show)
    texts = {
        "families.json": dumps_families(found),
        "families.md": families_markdown(found),
        "families.svg": families_svg(found),
    }
    files = write_families(folder, texts)
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    unicode = shows_unicode(sys.stdout.encoding)
    shown = families_terminal(found, width=shutil.get_terminal_size().columns, colour=colour, unicode=unicode)
    print(printable(shown, styled=True), end="")
    print(printable(f"\nFiles: {', '.join(files)}"))
    return FAILED if found.failed or all(trial.accuracy is None for trial in found.trials) else 0
