"""Inside a workflow: annotations are printed, the summary is written, and neither changes how a run ends."""

import json
from pathlib import Path

import pytest
import records
from projects import Pfa, config, gate, runs

from pfa_gate.plugin.github_actions import _added
from pfa_gate.report.ci import Failed


@pytest.fixture
def summary(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the job's summary; something is in it already."""
    path = project.path / "summary.md"
    path.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(project.path.parent))
    return path


def test_a_broken_budget_is_annotated_and_summed_up(
    project: pytest.Pytester, pfa: Pfa, summary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    bad = gate(arguments="{raises: mistake}", name="bad")
    project.makefile(".yaml", pfa=config(gate(arguments="{broken: [layers.kl]}"), bad))
    result = pfa()
    assert result.ret == 1
    lines = [line for line in result.outlines if line.startswith("::")]
    place = f"{project.path.name}/pfa.yaml"
    assert [line.partition("::The ")[0] for line in lines] == [
        f"::error file={place},line=5,col=16,title=pfa_gate bad%3A not measured",
        f"::error file={place},line=6,title=pfa_gate digits%3A layers.kl broken",
    ]
    assert "The module net does not import.%0A" in lines[0]
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("before\n### ❔ `bad`: not measured\n")
    assert "## ❌ pfa_gate: `digits` broken" in text


def test_all_kept_is_summed_up_and_not_annotated(pfa: Pfa, summary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    result = pfa("-n1")
    assert result.ret == 0
    assert not any(line.startswith("::") for line in result.outlines)
    assert summary.read_text(encoding="utf-8").count("## ✅ pfa_gate: `digits` kept") == 1


def test_a_summary_that_cannot_be_written_changes_no_verdict(
    project: pytest.Pytester, pfa: Pfa, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "no" / "such" / "file"))
    result = pfa()
    assert result.ret == 0
    result.stdout.fnmatch_lines(["pfa_gate: the summary of the job cannot be written: *"])


def test_outside_of_a_workflow_nothing_of_it_is_seen(pfa: Pfa, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    assert "::error" not in pfa().stdout.str()


def test_a_removed_report_is_written_again_without_measuring(project: pytest.Pytester, pfa: Pfa) -> None:
    """The cache serves a verdict of files alone; the fake gate names reports that it does not write."""
    for name in ("net.py", "w.safetensors", "probe.npy"):
        (project.path / name).write_text("")
    text = gate(arguments="{reports: true}").replace("net:build", "net.py:build, checkpoint: w.safetensors")
    project.makefile(".yaml", pfa=config(text.replace("net:probe", "probe.npy")))
    assert pfa().ret == 0
    place = project.path / ".pfa" / "digits"
    assert not (place / "report.md").exists()
    place.mkdir(parents=True)
    assert pfa().ret == 0
    assert len(runs(project)) == 1
    assert (place / "report.md").read_text(encoding="utf-8").startswith("<!-- pfa_gate:comment -->")
    assert json.loads((place / "badge.json").read_text(encoding="utf-8"))["message"] == "kept"


def test_an_error_is_no_command_to_the_runner(project: pytest.Pytester, pfa: Pfa) -> None:
    project.makefile(".yaml", pfa=config(gate("layers: [{match: '*', kl: 0.7}]", "{raises: command}")))
    shown = pfa().stdout.str()
    assert "The layer 'x" in shown
    assert "∶:stop-commands::x?[2J' is not there." in shown
    assert "#♯[error]?Rename it." in shown
    assert not any(line.lstrip().startswith("::") for line in shown.splitlines())


@pytest.mark.parametrize(("room", "told"), [(200_000, "whole"), (3_000, "cut"), (10, "no room")])
def test_a_summary_that_is_nearly_full_is_filled_and_not_dropped(tmp_path: Path, room: int, told: str) -> None:
    """GitHub drops a whole summary above one mebibyte, what other steps of the run have said in it included."""
    path = tmp_path / "summary.md"
    path.write_bytes(b"\xc3\xa9" * ((2**20 - room) // 2))
    sentence = _added(
        path, [records.broken()], [Failed("pfa.yaml", f"gate {number}", "No data. " * 9) for number in range(40)]
    )
    text = path.read_bytes().decode("utf-8").replace("\xe9", "")
    assert path.stat().st_size <= 2**20
    if told == "no room":
        assert text == ""
        assert sentence == (
            "pfa_gate: the summary of the job has no room: 1,048,566 of 1,048,576 bytes are taken, and GitHub drops "
            "one that is larger. The report is in report.md."
        )
        return
    assert sentence == ""
    assert text.startswith("\n### ❔ `gate 0`: not measured\n")
    assert "## ❌ pfa_gate: `digits` broken" in text
    assert ("more gates were not measured" in text) == (told == "cut")


def test_two_services_with_a_gate_of_one_name_are_told_apart(
    project: pytest.Pytester, pfa: Pfa, summary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(project.path))
    (project.path / "pfa.yaml").unlink()
    for name in ("a", "b"):
        (project.path / "services" / name).mkdir(parents=True)
        (project.path / "services" / name / "pfa.yaml").write_text(config(gate(arguments="{broken: [layers.kl]}")))
    output = project.path / "reports"
    result = pfa(f"--pfa-output={output}", "-n2")
    result.assert_outcomes(passed=3, failed=2)
    places = [line.partition(",")[0] for line in result.outlines if line.startswith("::")]
    assert places == ["::error file=services/a/pfa.yaml", "::error file=services/b/pfa.yaml"]
    for name in ("a", "b"):
        assert [line.split()[-1] for line in runs(project, f"services/{name}")] == [str(output / "services" / name)]
    assert summary.read_text(encoding="utf-8").count("`digits`") >= 2
