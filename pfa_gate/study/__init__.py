"""The study: the score against size for every method, beside uniform and random recipes at equal parameters."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pfa_gate.config import load
from pfa_gate.config.repository import from_root
from pfa_gate.errors import ConfigError
from pfa_gate.model import load as load_subject
from pfa_gate.model.defaults import defaults_kept
from pfa_gate.model.device import exactly
from pfa_gate.pipeline.findings import versions
from pfa_gate.pipeline.run import Progress, only_gate
from pfa_gate.pipeline.stages import Stages
from pfa_gate.record import Size
from pfa_gate.record.study import Study, Trial
from pfa_gate.study.context import task_contexts
from pfa_gate.study.options import StudyOptions
from pfa_gate.study.recipes import TOLERANCE
from pfa_gate.study.rows import ORDER, rows_of
from pfa_gate.study.trials import TrialSeries, plans, trials

__all__ = ["StudyObserver", "StudyOptions", "run"]


@dataclass(frozen=True)
class StudyObserver:
    """Who looks on.

    Attributes:
        progress: called as (stage, done, total) before the trials and for each of them; None for nobody.
        trial: called with each trial as it is done; by default what it gives is for nobody.
    """

    progress: Progress | None = None
    trial: Callable[[Trial], object] = str


@defaults_kept()
def run(config_path: Path | str, gate: str | None, ask: StudyOptions, watch: StudyObserver = StudyObserver()) -> Study:
    """Run a study of one gate's model; nothing is written.

    Trace, probe, spectra and one removal order per selection are made once for each task and serve all recipes.

    Args:
        config_path: a pfa.yaml; its recipe, selection and recovery are replaced by those asked for.
        gate: which of its gates; may be None when there is one.
        ask: what to compare.
        watch: who is told while it runs.

    Raises:
        PFAGateError: the model could not be measured at all; an error in one trial is a row with its reason.
    """
    started = time.perf_counter()
    document = load(config_path)
    config = document.gate(only_gate(document) if gate is None else gate)
    if config.evaluation is None:
        error = ConfigError("A study needs an evaluation.", remedy="Add the section evaluation with its data.")
        raise error.at(str(document.place("gates", config.name)))
    series = TrialSeries.of(config, ask)
    stages = Stages(document, config.name, watch.progress)
    with stages.stage("loading"):
        subject = load_subject(document, config.name)
    done: list[Trial] = []
    total = series.trials * max(1, len(ask.domains))
    with exactly(subject.device):
        found = list(task_contexts(config, subject, ask.domains, stages))
        made = [list(plans(basis, ask.strategies)) for basis in found]
        for basis, mine in zip(found, made, strict=True):
            for trial in trials(basis, series, mine, Stages(document, config.name)) if basis.task.studied else ():
                done.append(trial)
                watch.trial(trial)
                stages.report("trials", len(done), max(total, len(done)))
    full = found[0].full
    return Study(
        gate=config.name,
        config=from_root(document.path),
        metric=config.evaluation.metric,
        seed=config.probe.seed,
        draws=ask.random,
        tolerance=TOLERANCE,
        order=ORDER,
        filters=found[0].filters,
        model=Size(full.parameters, full.bytes, full.macs),
        tasks=tuple(basis.task for basis in found),
        plans=tuple(plan for mine in made for plan in mine),
        rows=rows_of(done, {basis.task.name: basis.task.evaluation for basis in found}, config.evaluation.lower),
        trials=tuple(done),
        versions=versions(),
        seconds=round(time.perf_counter() - started, 3),
        direction="lower" if config.evaluation.lower else "higher",
        unit="share" if config.evaluation.share else "plain",
    )
