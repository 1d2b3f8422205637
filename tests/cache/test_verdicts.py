"""A stored verdict is served only while nothing it depends on has changed, and never if it is torn."""

import json
import multiprocessing
import os
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from pfa_gate.cache import verdicts
from pfa_gate.cache.fingerprint import GateFingerprint, fingerprint
from pfa_gate.cache.verdicts import GateVerdict, find_verdict, measured_or_cached, store_verdict
from pfa_gate.config import load
from pfa_gate.errors import ConfigError, PfaWarning

CONFIG = """\
version: 1
gates:
  digits:
    model: {factory: net:build, checkpoint: w.safetensors}
    probe: {data: probe.npy}
    evaluation: {data: "data.py:test", metric: metric:f1, direction: higher}
    budgets: {model: {parameters: 9 k}}
    watch: ["raw/**/*.csv"]
"""
FILES = {
    "raw/a/x.csv": "1",
    "w.safetensors": "w",
    "probe.npy": "p",
}
DIGEST = "ab" * 32


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw" / "a").mkdir(parents=True)
    for name, content in {**FILES, "net.py": "", "metric.py": ""}.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "pfa.yaml").write_text(CONFIG)
    return tmp_path


def look(project: Path, **context: str) -> GateFingerprint:
    return fingerprint(load(project / "pfa.yaml"), "digits", context)


@dataclass
class Known:
    """Code that is what it was, or whatever a test says of it."""

    evidence: str = "same"
    why: str = ""

    def begin(self) -> None:
        pass

    def end(self) -> tuple[dict[str, Any], str]:
        return {"evidence": self.evidence}, self.why

    def holds(self, evidence: Any) -> bool:
        return bool(evidence == {"evidence": self.evidence})


CODE = {"evidence": "same"}


def fetched(folder: Path, digest: str = DIGEST) -> dict[str, Any] | None:
    found, _ = find_verdict(folder, digest, Known())
    return None if found is None else found.record


def record(**changes: Any) -> dict[str, Any]:
    return {"schema": "x", "files": {}, **changes}


@pytest.mark.parametrize("name", [*FILES, "pfa.yaml"])
def test_every_file_counts(project: Path, name: str) -> None:
    before = look(project)
    assert before == look(project)
    path = project / name
    path.write_bytes(path.read_bytes() + b"\n")
    assert look(project).digest != before.digest


def test_more_files_versions_and_context_count(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = look(project)
    assert look(project, baseline="x").digest != before.digest
    (project / "raw" / "b.csv").write_text("2")
    grown = look(project)
    assert grown.digest != before.digest
    monkeypatch.setattr("pfa_gate.cache.fingerprint.version", lambda name: "9.9")
    assert look(project).digest != grown.digest


def test_the_day_on_which_a_waiver_ends_counts(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiver = "    allow: [{budget: model.parameters, until: 2030-03-01, reason: a sprint}]\n"
    (project / "pfa.yaml").write_text(CONFIG + waiver)

    def on(day: date) -> str:
        monkeypatch.setattr(
            "pfa_gate.cache.fingerprint.date", type("Day", (date,), {"today": staticmethod(lambda: day)})
        )
        return look(project).digest

    last = date(2030, 3, 1)
    assert on(last) == on(last - timedelta(days=1))
    assert on(last + timedelta(days=1)) != on(last)


def test_a_config_counts_as_it_was_read(project: Path) -> None:
    document = load(project / "pfa.yaml")
    before = fingerprint(document, "digits", {}).digest
    (project / "pfa.yaml").write_text(CONFIG.replace("9 k", "1"))
    assert fingerprint(document, "digits", {}).digest == before != look(project).digest


def test_what_auto_may_mean_counts(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = look(project)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert look(project).digest != before.digest


def test_a_file_that_time_alone_touched_counts_as_unchanged(project: Path) -> None:
    before = look(project)
    os.utime(project / "probe.npy", (1, 1))
    assert look(project).digest == before.digest


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
    assert look(project).not_reusable == reason


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
    store_verdict(tmp_path, DIGEST, record(value=0.1), CODE)
    assert fetched(tmp_path) == record(value=0.1)
    assert fetched(tmp_path, "cd" * 32) is None
    assert fetched(tmp_path, DIGEST[:32] + "cd" * 16) is None, "its file would have the same name"
    (path,) = tmp_path.iterdir()
    assert path.name.startswith(f"{DIGEST[:32]}-")


def test_each_state_of_the_code_has_a_verdict_of_its_own(tmp_path: Path) -> None:
    codes = [Known("a"), Known("b")]
    for code in codes:
        measured_or_cached(
            tmp_path, lambda: GateFingerprint(DIGEST), code, lambda code=code: record(value=code.evidence)
        )
    found = [find_verdict(tmp_path, DIGEST, code)[0] for code in (*codes, Known("c"))]
    assert [each and each.record["value"] for each in found] == ["a", "b", None]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "null",
        lambda text: text.replace("0.1", "0.2"),
        lambda text: text.replace(DIGEST, "cd" * 32),
        lambda text: text.replace('"format": 3', '"format": 2'),
        lambda text: text.replace("same", "name"),
        lambda text: '{"a":' * 100_000,
    ],
)
def test_a_damaged_verdict_is_not_served(tmp_path: Path, damage: Any) -> None:
    store_verdict(tmp_path, DIGEST, record(value=0.1), CODE)
    (path,) = tmp_path.glob("*.json")
    path.write_text(damage(path.read_text()))
    assert fetched(tmp_path) is None
    anew = measured_or_cached(tmp_path, lambda: GateFingerprint(DIGEST), Known(), lambda: record(value=0.3))
    assert anew.record["value"] == 0.3
    assert fetched(tmp_path) is not None


def test_a_verdict_whose_model_is_gone_is_measured_again_and_told(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.write_text("1")
    made = record(files={"weights": str(weights), "record": str(tmp_path / "record.json")})

    def asked() -> GateVerdict:
        return measured_or_cached(tmp_path / "cache", lambda: GateFingerprint(DIGEST), Known(), lambda: made)

    assert (asked().since, asked().since[:2]) == ("", "20")
    os.utime(weights, (1, 1))
    assert asked().since != ""  # restored from an archive: the same bytes
    weights.write_text("2")
    told = "measured again: nothing that it depends on has changed, but {} {}"
    assert asked() == GateVerdict(made, remark=told.format(weights, "has changed"))
    weights.unlink()
    assert find_verdict(tmp_path / "cache", DIGEST, Known()) == (None, told.format(weights, "is gone"))


@pytest.mark.parametrize(
    ("second", "why", "told"),
    [
        (
            GateFingerprint("cd" * 32),
            "",
            "not kept for later runs: a file that it depends on was written while it was measured",
        ),
        # Written to and fro: the same bytes, which may not be those that were read.
        (
            GateFingerprint(DIGEST, stamps=((2,),)),
            "",
            "not kept for later runs: a file that it depends on was written while it was measured",
        ),
        (GateFingerprint(DIGEST, stamps=((1,),)), "net.py changed", "not kept for later runs: net.py changed"),
    ],
)
def test_what_may_have_changed_while_it_was_measured_is_not_kept(
    tmp_path: Path, second: GateFingerprint, why: str, told: str
) -> None:
    looks = iter([GateFingerprint(DIGEST, stamps=((1,),)), second])
    verdict = measured_or_cached(tmp_path, lambda: next(looks), Known(why=why), record)
    assert verdict == GateVerdict(record(), remark=told)
    assert list(tmp_path.glob("*.json")) == []


def test_an_open_verdict_is_measured_each_time(tmp_path: Path) -> None:
    for value in (1, 2):
        found = measured_or_cached(
            tmp_path, lambda: GateFingerprint(DIGEST, "why"), Known(), lambda value=value: record(value=value)
        )
        assert (found.record["value"], found.not_reusable, found.since) == (value, "why", "")


def test_the_oldest_give_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "_MOST_FILES", 3)
    digests = [f"{index}" * 64 for index in range(5)]
    for age, digest in enumerate(digests):
        store_verdict(tmp_path, digest, record(), CODE)
        (path,) = tmp_path.glob(f"{digest[:32]}-*.json")
        os.utime(path, (age, age))
    store_verdict(tmp_path, DIGEST, record(), CODE)
    found = [bool(fetched(tmp_path, digest)) for digest in (*digests, DIGEST)]
    assert found == [False, False, False, True, True, True]
    monkeypatch.setattr(verdicts, "_MOST_BYTES", 300)
    store_verdict(tmp_path, DIGEST, record(), CODE)
    assert sum(path.stat().st_size for path in tmp_path.glob("*.json")) <= 300


def stored(folder: Path, names: str) -> list[str]:
    """Keep a verdict under each letter, each a second younger than the one before; give their digests."""
    digests = [letter * 64 for letter in names]
    for age, digest in enumerate(digests):
        store_verdict(folder, digest, record(), CODE)
        (path,) = folder.glob(f"{digest[:32]}-*.json")
        os.utime(path, (age, age))
    return digests


def test_what_was_served_lately_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "_MOST_FILES", 3)
    old, middle, young = stored(tmp_path, "abc")
    assert fetched(tmp_path, old) is not None
    store_verdict(tmp_path, DIGEST, record(), CODE)
    assert [fetched(tmp_path, each) is not None for each in (old, middle, young, DIGEST)] == [True, False, True, True]


@pytest.mark.parametrize(("share", "left"), [(4.0, "abcd"), (3.99, "bcd"), (2.5, "cd")])
def test_no_more_gives_way_than_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, left: str) -> None:
    digests = stored(tmp_path, "abcd")
    size = next(tmp_path.glob("*.json")).stat().st_size
    monkeypatch.setattr(verdicts, "_MOST_BYTES", share * size)
    verdicts._evict(tmp_path)
    assert "".join(digest[0] for digest in digests if fetched(tmp_path, digest)) == left


def test_what_the_cache_has_not_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mine.json", f"{'a' * 32}.json", f"x{'a' * 32}-{'a' * 16}.json"):
        (tmp_path / name).write_text("mine")
        os.utime(tmp_path / name, (1, 1))
    monkeypatch.setattr(verdicts, "_MOST_FILES", 0)
    store_verdict(tmp_path, DIGEST, record(), CODE)
    assert [path.read_text() for path in tmp_path.glob("*.json")] == ["mine"] * 3


def test_what_another_machine_left_unfinished_goes_after_a_day(tmp_path: Path) -> None:
    unfinished = [tmp_path / f".{DIGEST[:32]}.json-00000000-1-{name}" for name in ("lastweek", "just_now")]
    for path in unfinished:
        path.write_text("{")
    os.utime(unfinished[0], (1, 1))
    store_verdict(tmp_path, DIGEST, record(), CODE)
    assert [path.exists() for path in unfinished] == [False, True]


def test_code_is_looked_at_before_and_after_the_measuring_and_not_where_it_is_served(tmp_path: Path) -> None:
    order: list[str] = []

    class Telling(Known):
        def begin(self) -> None:
            order.append("begin")

        def end(self) -> tuple[dict[str, Any], str]:
            order.append("end")
            return super().end()

    def look() -> GateFingerprint:
        order.append("look")
        return GateFingerprint(DIGEST)

    def measured() -> dict[str, Any]:
        order.append("measure")
        return record()

    for wanted in (["look", "begin", "measure", "end", "look"], ["look"]):
        measured_or_cached(tmp_path, look, Telling(), measured)
        assert order == wanted
        order.clear()


def test_a_full_disk_costs_a_warning_and_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pfa_gate.files.os.replace", full)
    with pytest.warns(PfaWarning, match="cannot be cached in .*: No space left on device"):
        found = measured_or_cached(tmp_path, lambda: GateFingerprint(DIGEST), Known(), record)
    assert found.record == record()
    assert [path.suffix for path in tmp_path.iterdir()] in ([".lock"], [])


def test_locks_that_nobody_took_for_a_day_are_removed(tmp_path: Path) -> None:
    for name in ("old", "new", DIGEST[:32]):
        (tmp_path / f"{name}.lock").write_text("")
    for name in ("old", DIGEST[:32]):
        os.utime(tmp_path / f"{name}.lock", (1, 1))
    store_verdict(tmp_path, DIGEST, record(), CODE)
    assert {path.stem for path in tmp_path.glob("*.lock")} == {"new", DIGEST[:32]}, "a verdict keeps its lock"


def counted(folder: Path) -> dict[str, Any]:
    with (folder / "count").open("a") as count:
        count.write("x")
    return record()


def ask(folder: Path) -> str:
    return json.dumps(
        measured_or_cached(folder, lambda: GateFingerprint(DIGEST), Known(), lambda: counted(folder)).record
    )


def test_runs_at_the_same_time_measure_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert len(set(pool.map(ask, [tmp_path] * 12))) == 1
    assert (tmp_path / "count").read_text() == "x"
