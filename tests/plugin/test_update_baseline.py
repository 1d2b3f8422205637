"""A baseline says of what it speaks: of what was measured, and not of what is there when the run ends."""

import hashlib
import json

import pytest
from projects import Pfa, config, gate, runs

LATER = """
from pathlib import Path


def pytest_runtest_logfinish():
    path = Path("{name}")
    path.write_text("{text}" or path.read_text() + "# another text\\n")
"""
MEANWHILE = 'from pathlib import Path\n\nPath("w.safetensors").write_text("new")\n'


@pytest.fixture
def saved(project: pytest.Pytester) -> pytest.Pytester:
    """A gate whose every input is a file."""
    written = gate().replace("net:build", "net.py:build, checkpoint: w.safetensors").replace("net:probe", "probe.npy")
    project.makefile(".yaml", pfa=config(written))
    for name in ("net.py", "w.safetensors", "probe.npy"):
        (project.path / name).write_text("")
    return project


def test_a_checkpoint_that_is_replaced_after_it_was_measured_is_not_what_the_baseline_speaks_of(
    saved: pytest.Pytester, pfa: Pfa
) -> None:
    saved.makeconftest(LATER.format(name="w.safetensors", text="new"))
    result = pfa("--pfa-update-baseline")
    assert result.ret == 0
    (found,) = json.loads((saved.path / "pfa.baseline.json").read_text())["gates"].values()
    assert found["subject"]["weights"] == hashlib.sha256(b"").hexdigest()
    assert (saved.path / "w.safetensors").read_text() == "new"
    assert "config" not in found["subject"]


@pytest.mark.parametrize(
    ("net", "conftest", "why"),
    [
        (MEANWHILE, "", "model.checkpoint was written while it was measured"),
        ("", LATER.format(name="pfa.yaml", text=""), "pfa.yaml was changed after it was read"),
    ],
)
def test_what_was_replaced_meanwhile_is_not_accepted(
    saved: pytest.Pytester, pfa: Pfa, net: str, conftest: str, why: str
) -> None:
    (saved.path / "net.py").write_text(net)
    saved.makeconftest(conftest)
    result = pfa("--pfa-update-baseline", "--pfa-no-cache")
    result.assert_outcomes(passed=3)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines([f"pfa.baseline.json: gate 'digits' is left as it was: {why}. Run again."])
    assert not (saved.path / "pfa.baseline.json").exists()


def test_a_served_verdict_speaks_of_what_it_was_looked_up_by(saved: pytest.Pytester, pfa: Pfa) -> None:
    for _ in range(3):  # the second is compared with what the first has written
        assert pfa("--pfa-update-baseline").ret == 0
    assert len(runs(saved)) == 2
