"""Each fact that a verdict depends on, changed alone, gives another digest; and what keeps a verdict to its run."""

import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from pfa_gate.cache import fingerprint as room
from pfa_gate.cache.fingerprint import GateFingerprint, fingerprint
from pfa_gate.config import load

GATE = """\
    model: {factory: net:build, checkpoint: w.safetensors}
    probe: {data: probe.npy}
    evaluation: {data: TEST.NPZ, metric: accuracy}
    budgets: {model: {parameters: 9 k}}
"""
CONFIG = f"version: 1\ngates:\n  digits:\n{GATE}  others:\n{GATE}"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path.parent)  # what the config names is meant from its own folder
    for name in ("net.py", "data.py", "w.safetensors", "probe.npy", "TEST.NPZ", "more.csv"):
        (tmp_path / name).write_text("")
    (tmp_path / "pfa.yaml").write_text(CONFIG)
    return tmp_path


def look(project: Path, gate: str = "digits", **context: str) -> GateFingerprint:
    return fingerprint(load(project / "pfa.yaml"), gate, {"output": "out", "updating": "False", **context})


def another_version(name: str) -> Callable[[pytest.MonkeyPatch], None]:
    def change(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(room, "version", lambda each: "9.9" if each == name else metadata.version(each))

    return change


def plugins(*found: tuple[str, str, str | None]) -> Callable[[pytest.MonkeyPatch], None]:
    named = [
        SimpleNamespace(name=name, value=value, dist=version and SimpleNamespace(version=version))
        for name, value, version in found
    ]
    return lambda patch: patch.setattr(room, "entry_points", lambda group: named if group == "pfa_gate" else [])


CHANGES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "pfa_gate": another_version("pfa-gate"),
    "torch": another_version("torch"),
    "NumPy": another_version("numpy"),
    "Python": lambda patch: patch.setattr(platform, "python_version", lambda: "3.99"),
    "the platform": lambda patch: patch.setattr(platform, "platform", lambda: "Plan 9"),
    "the folder it runs in": lambda patch: patch.chdir("/"),
    "its own code": lambda patch: patch.setattr(room, "_own_code", lambda: "other"),
    "the devices to be seen": lambda patch: patch.setenv("CUDA_VISIBLE_DEVICES", "1"),
    "another package": plugins(("more", "more:hooks", "1.0")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_each_fact_counts(
    project: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[pytest.MonkeyPatch], None]
) -> None:
    before = look(project).digest
    change(monkeypatch)
    assert look(project).digest != before != ""


@pytest.mark.parametrize(
    "other", [("less", "more:hooks", "1.0"), ("more", "more:hook", "1.0"), ("more", "more:hooks", None)]
)
def test_name_place_and_version_of_another_package_count(
    project: Path, monkeypatch: pytest.MonkeyPatch, other: tuple[str, str, str | None]
) -> None:
    plugins(("more", "more:hooks", "1.0"), ("a", "b", "2"))(monkeypatch)
    before = look(project)
    plugins(("a", "b", "2"), ("more", "more:hooks", "1.0"))(monkeypatch)
    assert look(project) == before
    plugins(other, ("a", "b", "2"))(monkeypatch)
    assert look(project).digest != before.digest


def test_gate_and_context_count(project: Path) -> None:
    digests = [
        look(project).digest,
        look(project, "others").digest,
        look(project, output="elsewhere").digest,
        look(project, updating="True").digest,
        look(project, baseline="git:main").digest,
    ]
    assert len(set(digests)) == len(digests)


@pytest.mark.parametrize("name", ["w.safetensors", "probe.npy", "TEST.NPZ"])
def test_each_file_that_is_named_counts_and_may_not_be_missing(project: Path, name: str) -> None:
    before = look(project)
    (project / name).write_text("more")
    assert look(project).digest != before.digest
    (project / name).unlink()
    missing = look(project)
    assert (missing.digest, missing.not_reusable) == ("", f"{project / name} cannot be read")


def test_a_watched_file_may_lie_anywhere(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    far = tmp_path_factory.mktemp("far") / "rows.csv"
    far.write_text("1")
    (project / "pfa.yaml").write_text(CONFIG.replace(GATE, f"{GATE}    watch: ['{far}', more.csv]\n", 1))
    before = look(project)
    for path in (far, project / "more.csv"):
        path.write_text(path.read_text() + "2")
        after = look(project)
        assert after.digest != before.digest
        before = after


NAMED = "name the files it reads under watch"
WATCH = "    watch: [more.csv]\n"
AUGMENTED = '    recovery: [{distill: {steps: 9, augment: "nowhere:flip"}}]\n    probe'
TUNED = '    recovery: [{finetune: "data.py:tune"}]\n    probe'
OPEN = {
    "nothing": ("", "", ""),
    "no evaluation": ("    evaluation: {data: TEST.NPZ, metric: accuracy}\n", "", ""),
    "no checkpoint": (
        ", checkpoint: w.safetensors", "", f"model has no checkpoint, so its weights come from code; {NAMED}"
    ),
    "a probe from code": ("probe.npy", '"data.py:probe"', f"probe.data comes from code; {NAMED}"),
    "an evaluation from code": ("TEST.NPZ", '"data.py:test"', f"evaluation.data comes from code; {NAMED}"),
    "fine-tuning": ("    probe", TUNED, f"recovery.finetune is code; {NAMED}"),
}  # fmt: skip
ALWAYS_OPEN = {
    "latency": ("model: {parameters", "compressed: {latency: 100%}, model: {parameters", "latency is of the moment"),
    "a factory that is not there": ("net:build", "nowhere:build", "nowhere:build comes from another package"),
    "a probe that is not there": ("probe.npy", '"nowhere:probe"', "nowhere:probe comes from another package"),
    "an evaluation that is not there": ("TEST.NPZ", '"nowhere:test"', "nowhere:test comes from another package"),
    "a metric that is not there": (
        "accuracy}",
        '"nowhere:f1", direction: higher}',
        "nowhere:f1 comes from another package",
    ),
    "a step that is not there": (
        "    probe",
        TUNED.replace("data.py", "nowhere"),
        "nowhere:tune comes from another package",
    ),
    "an augmentation that is not there": ("    probe", AUGMENTED, "nowhere:flip comes from another package"),
}


def opened(project: Path, old: str, new: str, more: str = "") -> str:
    gate = GATE.replace(old, new, 1) if old else GATE
    (project / "pfa.yaml").write_text(f"version: 1\ngates:\n  digits:\n{gate}{more}")
    return look(project).not_reusable


@pytest.mark.parametrize(("old", "new", "reason"), OPEN.values(), ids=OPEN)
def test_what_comes_from_code_keeps_a_verdict_to_its_run_unless_files_are_watched(
    project: Path, old: str, new: str, reason: str
) -> None:
    assert opened(project, old, new) == reason
    assert opened(project, old, new, WATCH) == ""


@pytest.mark.parametrize(("old", "new", "reason"), ALWAYS_OPEN.values(), ids=ALWAYS_OPEN)
def test_what_no_file_tells_keeps_a_verdict_to_its_run(project: Path, old: str, new: str, reason: str) -> None:
    assert opened(project, old, new, WATCH) == reason
