"""What one run found serves the next, unless anything that it depends on has changed."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from projects import Pfa, config, gate, runs

MODULES_AT_END = "MODULES_AT_END"  # not imported: `fakes` replaces the gate of the process that imports it


def files(project: pytest.Pytester, arguments: str = "{}") -> None:
    """A gate whose every input is a file."""
    written = gate(arguments=arguments).replace("net:build", "net.py:build, checkpoint: w.safetensors")
    project.makefile(".yaml", pfa=config(written.replace("net:probe", "probe.npy")))
    for name in ("net.py", "w.safetensors", "probe.npy"):
        (project.path / name).write_text("")


def stored(project: pytest.Pytester) -> list[Path]:
    return list((project.path / ".pytest_cache" / "d" / "pfa_gate").glob("*.json"))


def test_a_second_run_is_served(project: pytest.Pytester, pfa: Pfa) -> None:
    files(project)
    pfa().assert_outcomes(passed=3)
    result = pfa()
    result.assert_outcomes(passed=3)
    assert len(runs(project)) == 1
    result.stdout.fnmatch_lines(["digits: measured 20* *:*; nothing that it depends on has changed since.*"])
    pfa("-n2").assert_outcomes(passed=3)
    assert len(runs(project)) == 1


def test_a_broken_budget_stays_broken(project: pytest.Pytester, pfa: Pfa) -> None:
    files(project, "{broken: [layers.kl]}")
    assert [pfa().ret, pfa().ret, pfa("-n2").ret] == [1, 1, 1]
    assert len(runs(project)) == 1


@pytest.mark.parametrize("name", ["net.py", "w.safetensors"])
def test_a_change_is_measured(project: pytest.Pytester, pfa: Pfa, name: str) -> None:
    files(project)
    pfa()
    with (project.path / name).open("a") as file:
        file.write("# \n")
    pfa()
    assert len(runs(project)) == 2


EDITS_ITSELF = """
from pathlib import Path

if not Path("edited").exists():
    Path("edited").touch()
    Path(__file__).write_text("# what an editor saved while the gate ran")
"""
TWO_RUNS = """
import sys
from pathlib import Path

import pytest

run = ["-p", "fakes", "--pfa", "pfa.yaml"]
pytest.main(run)
Path("net.py").write_text("# another text")
sys.exit(pytest.main(run))
"""
CHANGED = "digits: not kept for later runs: net.py may have changed since it was imported."


def test_a_file_that_is_saved_while_the_gate_runs_is_measured_again(project: pytest.Pytester, pfa: Pfa) -> None:
    files(project)
    (project.path / "net.py").write_text(EDITS_ITSELF)
    for times, told in enumerate(
        [[CHANGED], [], ["digits: measured 20* *:*; nothing that it depends on has changed*"]]
    ):
        result = pfa()
        result.assert_outcomes(passed=3)
        result.stdout.fnmatch_lines(told)
        assert len(runs(project)) == min(times + 1, 2)


def test_a_second_run_of_one_process_does_not_keep_what_the_first_has_imported(
    project: pytest.Pytester, pfa: Pfa
) -> None:
    files(project)
    result = project.run(sys.executable, "-c", TWO_RUNS)
    assert result.ret == 0
    result.stdout.fnmatch_lines([CHANGED])
    pfa().assert_outcomes(passed=3)
    assert len(runs(project)) == 3


def test_reports_that_are_gone_are_written_from_the_cache(project: pytest.Pytester, pfa: Pfa) -> None:
    files(project, "{reports: true, broken: [layers.kl]}")
    folder = project.path / ".pfa" / "digits"
    assert [pfa().ret, folder.exists(), pfa().ret] == [1, False, 1]
    written = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(written) == {"record.json", "report.md", "badge.json"}
    # Those of another run are replaced, whatever they look like.
    (folder / "record.json").write_bytes(written["record.json"].replace(b'"broken"', b'"kept"'))
    (folder / "report.md").write_text("all is kept")
    (folder / "badge.json").unlink()
    assert pfa().ret == 1
    again = {path.name: path.read_bytes() for path in folder.iterdir()}
    old, new = (json.loads(each.pop("record.json")) for each in (written, again))
    assert again == written
    # What is served speaks for the run that it is served to, as the run's manifest says.
    manifest = json.loads((folder.parent / "pfa_gate.run.json").read_text("utf-8"))
    assert old != new == {**old, "run": manifest["run"]}
    assert len(runs(project)) == 1


def test_a_model_that_is_gone_is_measured_again_and_told(project: pytest.Pytester, pfa: Pfa) -> None:
    files(project, "{model: true}")
    pfa().assert_outcomes(passed=3)
    (project.path / ".pfa" / "digits" / "weights.safetensors").unlink()
    fact = "nothing that it depends on has changed, but .pfa/digits/weights.safetensors is gone."
    pfa().stdout.fnmatch_lines([f"digits: measured again: {fact}"])
    assert len(runs(project)) == 2


def test_the_next_run_removes_what_a_killed_one_has_left(
    project: pytest.Pytester, pfa: Pfa, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = project.mkdir("temporary")
    monkeypatch.setenv("TMPDIR", str(temporary))
    left = lambda: [path.name for path in temporary.iterdir() if path.name.startswith("pfa_gate-")]  # noqa: E731
    project.makefile(".yaml", pfa=config(gate(arguments="{raises: kill}")))
    pfa()
    assert len(left()) == 1
    project.makefile(".yaml", pfa=config())
    pfa().assert_outcomes(passed=3)
    assert left() == []


@pytest.mark.parametrize(
    "arguments", [["--pfa-no-cache"], ["-o", "pfa_no_cache=true"], ["-p", "no:cacheprovider"], ["--cache-clear"]]
)
def test_it_can_be_switched_off(project: pytest.Pytester, pfa: Pfa, arguments: list[str]) -> None:
    files(project)
    for _ in range(2):
        pfa(*arguments).assert_outcomes(passed=3)
    assert len(runs(project)) == 2


def test_data_from_code_is_measured_in_each_run(project: pytest.Pytester, pfa: Pfa) -> None:
    pfa()
    result = pfa("-v")
    assert len(runs(project)) == 2
    assert stored(project) == []
    result.stdout.fnmatch_lines(["digits: the next run measures again: model has no checkpoint, *under watch."])


def test_a_forged_verdict_is_measured_again(project: pytest.Pytester, pfa: Pfa) -> None:
    files(project, "{broken: [layers.kl]}")
    pfa()
    (entry,) = stored(project)
    entry.write_text(entry.read_text().replace('"broken"', '"kept"'))
    assert pfa().ret == 1
    assert len(runs(project)) == 2


def test_two_runs_at_once_share_one_analysis(project: pytest.Pytester, light_python: str) -> None:
    files(project, "{seconds: 1, broken: [layers.kl]}")
    command = [light_python, "-m", "pytest", "-p", "fakes", "--pfa", "-q"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": project.path}
    with subprocess.Popen(command, **quiet) as first, subprocess.Popen(command, **quiet) as second:
        assert [first.wait(), second.wait()] == [1, 1]
    assert len(runs(project)) == 1


def test_a_run_that_was_stopped_is_named_and_given_up(
    project: pytest.Pytester, pfa: Pfa, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(project, "{seconds: 60}")
    command = [sys.executable, "-m", "pytest", "-p", "fakes", "--pfa", "-q"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": project.path}
    with subprocess.Popen(command, **quiet) as first:
        while not runs(project):
            time.sleep(0.05)
        first.send_signal(signal.SIGSTOP)
        monkeypatch.setenv("SILENCE_OF_A_LOCK", "1")
        second = pfa()
        first.kill()
    second.assert_outcomes(passed=1, errors=2)
    second.stdout.fnmatch_lines(
        [
            f"Process {first.pid} on *, which has measured this gate since 20*, and has given no sign of life for 1 s;"
            " this run has waited for [12] s.",
            "  Let that process go on, or end it, and run again. --pfa-no-cache waits for no other run.",
        ]
    )
    assert len(runs(project)) == 1


def test_errors_are_never_kept(project: pytest.Pytester, pfa: Pfa) -> None:
    files(project, "{raises: mistake}")
    assert [pfa().ret, pfa().ret] == [1, 1]
    assert len(runs(project)) == 2
    assert stored(project) == []


def test_a_cache_that_cannot_be_written_changes_no_verdict(project: pytest.Pytester, pfa: Pfa) -> None:
    files(project)
    (project.path / ".pytest_cache").write_text("a file where a folder should be")
    result = pfa("-W", "ignore::pytest.PytestCacheWarning")
    result.assert_outcomes(passed=3)
    assert result.ret == 0


def test_a_warm_run_needs_neither_torch_nor_numpy(
    project: pytest.Pytester, pfa: Pfa, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(project)
    pfa()
    listing = project.path / "modules"
    monkeypatch.setenv(MODULES_AT_END, str(listing))
    pfa().assert_outcomes(passed=3)
    assert len(runs(project)) == 1
    loaded = set(listing.read_text().split())
    assert "pfa_gate.cache.verdicts" in loaded
    assert loaded.isdisjoint({"torch", "numpy", "scipy", "safetensors"})


@pytest.mark.parametrize("way", [[], ["-n2"]])
def test_a_watched_pattern_that_matches_nothing_is_an_error(project: pytest.Pytester, pfa: Pfa, way: list[str]) -> None:
    files(project)
    with (project.path / "pfa.yaml").open("a") as file:
        file.write('\n    watch: ["*.csv"]\n')
    result = pfa(*way)
    assert result.ret == 1
    assert result.parseoutcomes()["errors"] == 2
    result.stdout.fnmatch_lines(["The pattern '[*].csv' under watch matches no file.", "  at pfa.yaml:7:13"])
