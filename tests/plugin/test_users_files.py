"""No run removes or writes over a user's file: a gate that would is not judged, whether it is measured or served."""

from pathlib import Path

import pytest
from projects import Pfa, config, gate, runs

import pfa_gate
from pfa_gate.errors import ArtifactError

FACT = "The results cannot be written to digits: it holds __init__.py, model.py, which no gate writes."
REMEDY = "  Rename the gate, name another folder with --pfa-output, or move away what is there."


@pytest.fixture
def sources(project: pytest.Pytester) -> dict[str, bytes]:
    """A package that is named as the gate is; its files, of each of which every byte counts."""
    (project.path / "digits").mkdir()
    for name in ("__init__.py", "model.py"):
        (project.path / "digits" / name).write_text(f"# {name}")
    return held(project.path / "digits")


def held(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("way", [["--pfa-output=."], ["-o", "pfa_output=."]])
def test_a_folder_of_sources_is_left_as_it_is(
    project: pytest.Pytester, pfa: Pfa, sources: dict[str, bytes], way: list[str]
) -> None:
    result = pfa(*way)
    assert result.ret == 1
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines([FACT, REMEDY])
    assert runs(project) == []
    assert held(project.path / "digits") == sources


def test_the_gate_itself_leaves_it_before_it_looks_for_a_model(
    project: pytest.Pytester, sources: dict[str, bytes]
) -> None:
    with pytest.raises(ArtifactError) as caught:
        pfa_gate.run("pfa.yaml", output=".")
    assert str(caught.value) == f"{FACT}\n{REMEDY}"
    assert held(project.path / "digits") == sources


def test_a_verdict_from_the_cache_is_not_written_there_either(project: pytest.Pytester, pfa: Pfa) -> None:
    written = gate(arguments="{reports: true}").replace("net:build", "net.py:build, checkpoint: w.safetensors")
    project.makefile(".yaml", pfa=config(written.replace("net:probe", "probe.npy")))
    for name in ("net.py", "w.safetensors", "probe.npy"):
        (project.path / name).write_text("")
    pfa().assert_outcomes(passed=3)
    (project.path / ".pfa" / "digits").mkdir(parents=True)
    (project.path / ".pfa" / "digits" / "report.md").write_text("mine")
    result = pfa()
    result.assert_outcomes(passed=1, errors=2)
    assert held(project.path / ".pfa" / "digits") == {"report.md": b"mine"}
    assert len(runs(project)) == 1


def test_no_link_is_followed_out_of_the_project(
    project: pytest.Pytester, pfa: Pfa, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "digits").mkdir()
    (project.path / ".pfa").symlink_to(outside)
    result = pfa()
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(["The results cannot be written to .pfa/digits: the link .pfa leads out of *"])
    assert list((outside / "digits").iterdir()) == []
