"""A stored verdict is served only while nothing it depends on has changed, and never if it is torn."""

import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from pfa_gate.config import load
from pfa_gate.errors import ConfigError, PfaWarning
from pfa_gate.item import store
from pfa_gate.item.inputs import Inputs, inputs
from pfa_gate.item.store import across_runs, fetch, keep

CONFIG = """\
version: 1
gates:
  digits:
    model: {factory: net:build, checkpoint: w.safetensors}
    probe: {data: probe.npy}
    evaluation: {data: "data.py:test", metric: metric:f1}
    budgets: {model: {parameters: 9 k}}
    watch: ["raw/**/*.csv"]
"""
FILES = {
    "net.py": "import layers",
    "layers.py": "",
    "data.py": "",
    "metric.py": "",
    "raw/a/x.csv": "1",
    "w.safetensors": "w",
    "probe.npy": "p",
}
DIGEST = "ab" * 32


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw" / "a").mkdir(parents=True)
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "pfa.yaml").write_text(CONFIG)
    return tmp_path


def look(project: Path, **context: str) -> Inputs:
    return inputs(load(project / "pfa.yaml"), "digits", context)


def record(**changes: Any) -> dict[str, Any]:
    return {"schema": "x", "files": {}, **changes}


@pytest.mark.parametrize("name", [*FILES, "pfa.yaml"])
def test_every_file_counts(project: Path, name: str) -> None:
    before = look(project)
    assert before == look(project)
    path = project / name
    path.write_text(path.read_text() + "\n")
    assert look(project).digest != before.digest


def test_more_files_versions_and_context_count(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = look(project)
    assert look(project, baseline="x").digest != before.digest
    (project / "raw" / "b.csv").write_text("2")
    grown = look(project)
    assert grown.digest != before.digest
    monkeypatch.setattr("pfa_gate.item.inputs.version", lambda name: "9.9")
    assert look(project).digest != grown.digest


def test_what_auto_may_mean_counts(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = look(project)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert look(project).digest != before.digest


def test_a_file_that_time_alone_touched_counts_as_unchanged(project: Path) -> None:
    before = look(project)
    os.utime(project / "net.py", (1, 1))
    assert look(project) == before


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('    watch: ["raw/**/*.csv"]\n', "", "evaluation.data comes from code; name the files it reads under watch"),
        (", checkpoint: w.safetensors", "", ""),
        ("model: {parameters", "compressed: {latency: 100%}, model: {parameters", "latency is of the moment"),
    ],
)
def test_what_is_no_file_keeps_a_verdict_to_its_run(project: Path, old: str, new: str, reason: str) -> None:
    (project / "pfa.yaml").write_text(CONFIG.replace(old, new))
    assert look(project).open == reason


def test_a_watched_pattern_must_match(project: Path) -> None:
    (project / "raw" / "a" / "x.csv").unlink()
    with pytest.raises(ConfigError) as error:
        look(project)
    assert str(error.value).splitlines() == [
        "The pattern 'raw/**/*.csv' under watch matches no file.",
        "  at pfa.yaml:8:13",
        "  Correct or remove it.",
    ]


def test_a_missing_checkpoint_is_left_to_the_gate(project: Path) -> None:
    (project / "w.safetensors").unlink()
    assert look(project).digest == ""


def test_every_file_of_a_sharded_checkpoint_counts(project: Path) -> None:
    index = project / "w.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "w.safetensors"}}')
    text = (project / "pfa.yaml").read_text().replace("checkpoint: w.safetensors", f"checkpoint: {index.name}")
    (project / "pfa.yaml").write_text(text)
    before = look(project).digest
    (project / "w.safetensors").write_bytes(b"other")
    assert before != look(project).digest != ""


def test_what_was_kept_is_fetched(tmp_path: Path) -> None:
    keep(tmp_path, DIGEST, record(value=0.1))
    found = fetch(tmp_path, DIGEST)
    assert found is not None
    assert found[0] == record(value=0.1)
    assert fetch(tmp_path, "cd" * 32) is None
    assert [path.name for path in tmp_path.iterdir()] == [f"{DIGEST[:32]}.json"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "null",
        lambda text: text.replace("0.1", "0.2"),
        lambda text: text.replace(DIGEST, "cd" * 32),
        lambda text: text.replace('"format": 1', '"format": 2'),
        lambda text: '{"a":' * 100_000,
    ],
)
def test_a_damaged_verdict_is_not_served(tmp_path: Path, damage: Any) -> None:
    keep(tmp_path, DIGEST, record(value=0.1))
    (path,) = tmp_path.glob("*.json")
    path.write_text(damage(path.read_text()))
    assert fetch(tmp_path, DIGEST) is None
    assert across_runs(tmp_path, lambda: Inputs(DIGEST), lambda: record(value=0.3)).record["value"] == 0.3
    assert fetch(tmp_path, DIGEST) is not None


def test_a_verdict_whose_files_are_gone_is_not_served(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.write_text("1")
    keep(tmp_path, DIGEST, record(files={"weights": str(weights)}))
    assert fetch(tmp_path, DIGEST) is not None
    weights.write_text("12")
    assert fetch(tmp_path, DIGEST) is None
    weights.unlink()
    assert fetch(tmp_path, DIGEST) is None


def test_inputs_that_change_while_they_are_measured_are_not_kept(tmp_path: Path) -> None:
    looks = iter([Inputs(DIGEST), Inputs("cd" * 32)])
    across_runs(tmp_path, lambda: next(looks), record)
    assert list(tmp_path.glob("*.json")) == []


def test_an_open_verdict_is_measured_each_time(tmp_path: Path) -> None:
    for value in (1, 2):
        found = across_runs(tmp_path, lambda: Inputs(DIGEST, "why"), lambda value=value: record(value=value))
        assert (found.record["value"], found.open, found.since) == (value, "why", "")


def test_the_oldest_give_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_MOST_FILES", 3)
    digests = [f"{index}" * 64 for index in range(5)]
    for age, digest in enumerate(digests):
        keep(tmp_path, digest, record())
        os.utime(tmp_path / f"{digest[:32]}.json", (age, age))
    keep(tmp_path, DIGEST, record())
    assert [bool(fetch(tmp_path, digest)) for digest in (*digests, DIGEST)] == [False, False, False, True, True, True]
    monkeypatch.setattr(store, "_MOST_BYTES", 300)
    keep(tmp_path, DIGEST, record())
    assert sum(path.stat().st_size for path in tmp_path.glob("*.json")) <= 300


def test_a_full_disk_costs_a_warning_and_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "replace", full)
    with pytest.warns(PfaWarning, match="cannot be cached in .*: No space left on device"):
        found = across_runs(tmp_path, lambda: Inputs(DIGEST), record)
    assert found.record == record()
    assert [path.suffix for path in tmp_path.iterdir()] in ([".lock"], [])


def counted(folder: Path) -> dict[str, Any]:
    with (folder / "count").open("a") as count:
        count.write("x")
    return record()


def ask(folder: Path) -> str:
    return json.dumps(across_runs(folder, lambda: Inputs(DIGEST), lambda: counted(folder)).record)


def test_runs_at_the_same_time_measure_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert len(set(pool.map(ask, [tmp_path] * 12))) == 1
    assert (tmp_path / "count").read_text() == "x"
