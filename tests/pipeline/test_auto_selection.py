"""`selection: auto`: each selection cut and compensated on a copy, and the one kept whose answers diverge least."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

import pfa_gate
from pfa_gate.errors import TooFewSamplesError
from pfa_gate.model import Sampling, batches_of
from pfa_gate.model.held_out import held_out_apart
from pfa_gate.pipeline.auto_selection import CANDIDATES
from pfa_gate.pipeline.run import Run
from pfa_gate.record import dumps, loads
from pfa_gate.record.choice import SelectionChoice
from pfa_gate.report.html import render as page
from pfa_gate.report.markdown import section
from pfa_gate.report.selection import selection_sentence
from pfa_gate.report.terminal import render

PROJECT = """
from pathlib import Path

import torch
from torch import nn


def build():
    '''Filters of very different norms, whose readers weigh them the other way round.'''
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 16, 3), nn.ReLU(), nn.Conv2d(16, 12, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(12, 5),
    )
    with torch.no_grad():
        scale = torch.logspace(-1, 1, 16)
        model[0].weight.mul_(scale[:, None, None, None])
        model[0].bias.mul_(scale)
        model[2].weight.div_(scale.square()[None, :, None, None])
        model[6].weight.mul_(6)
    return model


def coder():
    return build()[:4]


def everything():
    return torch.randn(500, 2, 8, 8, generator=torch.Generator().manual_seed(1))


def rest():
    return torch.load(Path(__file__).with_name("rest.pt"))


def few():
    return everything()[:150]
"""
GATE = """
  {name}:
    model: {{factory: net.py:{factory}}}
    probe: {{data: net.py:{data}}}
    recipe: {{{recipe}}}
    selection: {selection}
    artifacts: [weights]
    budgets: {{model: {{parameters: 1 M}}}}
"""
HALF = "strategy: parameters, parameters: 50%"


def gate(name: str, selection: str, data: str = "everything", factory: str = "build", recipe: str = HALF) -> str:
    return GATE.format(name=name, selection=selection, data=data, factory=factory, recipe=recipe)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("auto")
    (place / "net.py").write_text(PROJECT)
    gates = [gate("auto", "auto"), gate("coder", "auto", factory="coder"), gate("few", "auto", data="few")]
    gates += [gate(name, name, data="rest") for name in CANDIDATES]
    gates += [gate("rounds", "auto", recipe=f"{HALF}, rounds: 2")]
    (place / "pfa.yaml").write_text("version: 1\ngates:" + "".join(gates))
    return place


@pytest.fixture(scope="module")
def apart(folder: Path) -> torch.Tensor:
    """The samples that nothing is fitted on; the others are written into the folder."""
    whole = torch.randn(500, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    rest, held = held_out_apart(batches_of(whole, "all", Sampling()))
    torch.save([batch.args[0] for batch in rest], folder / "rest.pt")  # in the same batches, for the same draws
    return torch.cat([batch.args[0] for batch in held])


@pytest.fixture(scope="module")
def auto(folder: Path) -> Run:
    return pfa_gate.run(folder / "pfa.yaml", "auto")


@pytest.fixture(scope="module")
def named(folder: Path, apart: torch.Tensor) -> dict[str, Run]:
    """A gate of each selection, on the samples that `auto` fits on."""
    return {name: pfa_gate.run(folder / "pfa.yaml", name) for name in CANDIDATES}


def choice(run: Run) -> SelectionChoice:
    assert run.record.recipe is not None
    assert run.record.recipe.choice is not None
    return run.record.recipe.choice


def kept(run: Run) -> list[tuple[int, ...]]:
    return [layer.kept for layer in run.record.layers if layer.kept is not None]


def divergence(full: torch.nn.Module, other: torch.nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        one, two = (log_softmax(model(x).double().numpy(), axis=1) for model in (full, other))
    return float((np.exp(one) * (one - two)).sum(1).mean())


def test_each_is_judged_by_its_answers_on_samples_that_nothing_was_fitted_on(
    auto: Run, named: dict[str, Run], folder: Path, apart: torch.Tensor
) -> None:
    found, space = choice(auto), dict[str, object]()
    exec((folder / "net.py").read_text(), space)
    full = space["build"]().eval()  # type: ignore[operator]
    assert (found.measure, found.samples) == ("divergence", len(apart) == 100 and 100)
    assert auto.record.probe.samples == 400
    for trial in found.trials:
        smaller = named[trial.name].model
        assert smaller is not None
        assert trial.value == pytest.approx(divergence(full, smaller, apart), rel=1e-3)
        assert trial.interval is not None
        assert trial.interval[0] < trial.value < trial.interval[1]


def test_the_nearest_is_kept_and_delivered(auto: Run, named: dict[str, Run]) -> None:
    found = choice(auto)
    assert tuple(trial.name for trial in found.trials) == CANDIDATES
    values = {trial.name: trial.value for trial in found.trials}
    assert found.chosen == min(values, key=lambda name: values[name])
    assert len(set(values.values())) == 3
    assert kept(auto) == kept(named[found.chosen])
    assert auto.model is not None
    one, other = auto.model.state_dict(), named[found.chosen].model.state_dict()  # type: ignore[union-attr]
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-4, atol=1e-5)


def test_the_record_and_every_report_have_all_three(auto: Run) -> None:
    record = loads(dumps(auto.record))
    assert record == auto.record
    sentence = selection_sentence(record)
    assert sentence.startswith(
        f"Selection {choice(auto).chosen}, of 3 by the divergence on 100 probe samples held out:"
    )
    assert all(f" {name} " in sentence for name in CANDIDATES)
    assert sentence in page(record)
    assert sentence in section(record)
    assert sentence in " ".join(render(record, width=90, colour=False, unicode=True).split())


def test_a_model_without_classes_is_judged_by_its_outputs(folder: Path) -> None:
    found = choice(pfa_gate.run(folder / "pfa.yaml", "coder"))
    assert found.measure == "output_error"
    assert all(trial.value > 0 for trial in found.trials)


def test_it_goes_with_rounds(folder: Path) -> None:
    run = pfa_gate.run(folder / "pfa.yaml", "rounds")
    assert run.record.recipe is not None
    assert len(run.record.recipe.rounds) == 2
    assert choice(run).chosen in CANDIDATES


def test_a_handful_of_samples_is_refused(folder: Path) -> None:
    with pytest.raises(
        TooFewSamplesError, match="compares answers on a fifth of the probe, that nothing is fitted on: 30"
    ):
        pfa_gate.run(folder / "pfa.yaml", "few")
