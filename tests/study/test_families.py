"""A study of families on a small real model: each trial is what a gate finds, and none is left out silently."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from test_study_run import CONFIG, NET

from pfa_gate.config import load
from pfa_gate.config.quantity import Limit
from pfa_gate.errors import ConfigError
from pfa_gate.pipeline import run as gates
from pfa_gate.record.families import FamilyStudy, FamilyTrial, loads_families
from pfa_gate.report.study.levels import byte_levels
from pfa_gate.study.families import FAMILIES, families_of, family, yaml_line
from pfa_gate.study.family_study import FamilyCommand, FamilyOptions, shares, study_families

ASK = FamilyOptions(
    families_of(["cut", "cut+int8", "cut+4bits"]), sizes=(0.1, 0.0001), times=(0.9,), random=1, uniform=True
)


def project(folder: Path, **sections: str) -> Path:
    (folder / "net.py").write_text(NET)
    more = {"latency": "{seconds: 0.02}", "selection": "l1"} | sections
    text = CONFIG.format(probe="probe", metric="") + "".join(f"    {key}: {value}\n" for key, value in more.items())
    (folder / "pfa.yaml").write_text(text)
    return folder / "pfa.yaml"


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("families")
    assert study_families(FamilyCommand(project(folder), None, ASK, folder / "told")) == 0
    return folder / "told"


@pytest.fixture(scope="module")
def study(output: Path) -> FamilyStudy:
    return loads_families((output / "families.json").read_text("utf-8"))


def found(study: FamilyStudy, name: str, asked: float | None) -> FamilyTrial:
    (own,) = [each for each in study.trials if (each.family, each.asked, each.rule) == (name, asked, "own")]
    return own


def test_the_command_prints_and_writes_the_study(output: Path, study: FamilyStudy) -> None:
    assert {path.name for path in output.iterdir()} == {"families.json", "families.md", "families.svg"}
    assert study.families == ("cut", "cut + int8", "cut + 4 bits")
    assert len(study.trials) == 2 * (1 + 1 + 1 + 1 + 1)
    assert study.failed == ()
    assert study.runtime.startswith("ONNX Runtime")


def test_every_file_keeps_the_bytes_that_were_asked_for(study: FamilyStudy) -> None:
    made = [trial for trial in study.trials if trial.accuracy is not None]
    assert [trial.rule for trial in made] == ["own", "uniform", "random", "own", "own"]
    for trial in made:
        wanted = 0.1 * study.model.bytes
        assert 0.9 * wanted < (trial.bytes or 0) <= wanted * (1 if trial.rule == "own" else 1.02)
    assert len({tuple(trial.counts.items()) for trial in made}) == 5


def test_what_is_out_of_reach_is_told_with_its_reason(study: FamilyStudy) -> None:
    for trial in [each for each in study.trials if each.asked == 0.0001]:
        assert trial.accuracy is None
        assert not trial.failed
        assert "smallest recipe" in str(trial.reason) or "comes within 1%" in str(trial.reason)
        assert any(reason == trial.reason for _, reason in byte_levels(study)[-1].unable)


@pytest.mark.parametrize("name", ["cut", "cut + int8", "cut + 4 bits"])
def test_a_trial_is_what_a_gate_finds(study: FamilyStudy, name: str, tmp_path: Path) -> None:
    """The shared measurement changes nothing: what pfa.yaml says for a trial gives the trial."""
    trial = found(study, name, 0.1)
    config = project(tmp_path, artifacts="[weights]")
    text = config.read_text().replace("    recipe: {strategy: kl, minimum: 2}\n", "")
    sections = trial.config.replace("bytes: 10%", "bytes: 10%, minimum: 2").replace(", quantize", "\n    quantize")
    budgets = "budgets: {compressed: {divergence: 9}, "
    config.write_text(text.replace("budgets: {", budgets) + f"    {sections}\n")
    record = gates.run(config).record
    assert record.compressed is not None
    part = record.quantized or record
    assert part.scores is not None
    assert part.answers is not None
    assert part.answers.divergence is not None
    assert trial.answers is not None
    assert (study.accuracy, trial.accuracy) == (part.scores.full, part.scores.compressed)
    assert trial.answers.divergence == pytest.approx(part.answers.divergence.value, rel=1e-4, abs=1e-7)
    assert trial.macs == record.compressed.macs
    assert record.quantized is None or trial.bytes == record.quantized.bytes


def test_a_family_says_what_pfa_yaml_would_say(tmp_path: Path) -> None:
    gate = load(project(tmp_path)).gate("small")
    each = family("cut + int8")
    assert yaml_line(each.sections(0.25)) == "recipe: {strategy: bytes, bytes: 25%}, quantize: {bits: 8}"
    config = each.config(gate, 0.25)
    assert (config.recipe.strategy, config.recipe.minimum) == ("bytes", 2)
    assert config.quantize is not None
    auto = family("cut:70%+bits").sections(0.12)
    assert yaml_line(auto) == ("recipe: {strategy: parameters, parameters: 70%}, quantize: {bits: auto, bytes: 12%}")
    whole = family("int8").config(gate, None)
    assert (whole.recipe.strategy, whole.recipe.energy) == ("energy", 1.0)
    assert all(family(word).name for word in FAMILIES)
    fixed = family("cut:70%+int8")
    assert (fixed.name, fixed.moved) == ("cut to 70% + int8", None)
    assert str(fixed.config(gate, None).recipe.parameters) == str(Limit(70.0, "percent", "70%"))


@pytest.mark.parametrize(
    ("ask", "fact"),
    [
        (lambda: family("cutt"), "There is no family 'cutt'"),
        (lambda: family("cut+multiples"), "smaller in one way twice"),
        (lambda: family("cut+cut"), "smaller in one way twice"),
        (lambda: family("int8+4bits"), "smaller in one way twice"),
        (lambda: family("cut+bits"), "no size of its own for cut or bits"),
        (lambda: family("int8:3"), "'int8' takes no number"),
        (lambda: families_of(["cut", "int8", "cut"]), "asks for the family 'cut' twice"),
        (lambda: shares("0%"), "'0%' is no list of sizes"),
        (lambda: shares("50%,50"), "is no list of sizes"),
        (lambda: replace(ASK, random=-1), "random is -1"),
    ],
)
def test_what_does_not_hold_is_refused(ask: Callable[[], object], fact: str) -> None:
    with pytest.raises(ConfigError, match=fact):
        ask()


@pytest.mark.parametrize(
    ("sections", "fact"),
    [({"evaluation": ""}, "A study needs an evaluation"), ({"candidate": "{onnx: a.onnx}"}, "compressed already")],
)
def test_a_gate_that_cannot_be_studied_is_refused(sections: dict[str, str], fact: str, tmp_path: Path) -> None:
    config = project(tmp_path, **{key: value for key, value in sections.items() if value})
    lines = config.read_text().splitlines(keepends=True)
    gone = {"evaluation": ("evaluation",), "candidate": ("recipe", "selection")}[next(iter(sections))]
    config.write_text("".join(line for line in lines if line.strip().partition(":")[0] not in gone))
    with pytest.raises(ConfigError, match=fact) as caught:
        study_families(FamilyCommand(config, None, ASK, tmp_path / "told"))
    assert "pfa.yaml:" in str(caught.value)
