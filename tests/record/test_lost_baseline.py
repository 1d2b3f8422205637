"""Every way to lose a baseline: no ratchet is lifted by it, and the sentence says what to do."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pfa_gate.budget import Baseline
from pfa_gate.config import Document, load
from pfa_gate.errors import ArtifactError
from pfa_gate.plugin.gate_analysis import Result, analyse_once
from pfa_gate.plugin.run_plan import RunPlan
from pfa_gate.plugin.update_baseline import Message, _updated
from pfa_gate.record import LayerRecord, Probe, Record, Size, to_dict
from pfa_gate.record.baseline import Stamp, baseline_entry, baseline_text
from pfa_gate.record.baseline_source import context_of, find_with_history, subject, subject_and_config

GATE = """\
  {name}:
    model: {{factory: "net.py:build"}}
    probe: {{data: "net.py:probe", seed: {seed}}}
    budgets: {budgets}
"""
RATCHET = '{layers: [{match: "*", kl: {max: 1, ratchet: true}}], model: {parameters: {max: 99, ratchet: true}}}'
ABSOLUTE = '{layers: [{match: "*", kl: 1}]}'
IDENTITY = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]


def git(folder: Path, *arguments: str, fails: bool = False) -> None:
    subprocess.run(["git", *IDENTITY, *arguments], cwd=folder, check=not fails, capture_output=True)


def record(gate: str = "digits", kl: float = 0.5, parameters: int = 9) -> Record:
    layers = tuple(LayerRecord(name, "Conv2d", 8, kl_ratio=kl, inactive=0) for name in ("stem", "head"))
    return Record(gate, "pfa.yaml", {}, {}, Size(parameters, 36, 81), Probe(64, "ab"), layers=layers)


@dataclass
class Project:
    """A repository with one config and its baseline; nothing in it measures anything."""

    folder: Path
    shared: Path

    @property
    def file(self) -> Path:
        return self.folder / "pfa.baseline.json"

    def config(self, budgets: str = RATCHET, *names: str) -> Document:
        gates = [GATE.format(name=name, seed=0, budgets=budgets) for name in names or ("digits",)]
        (self.folder / "pfa.yaml").write_text("version: 1\ngates:\n" + "".join(gates))
        return load(self.folder / "pfa.yaml", self.folder)

    def baseline(self, kl: float = 0.5, parameters: int = 9, gate: str = "digits") -> str:
        """The text of a baseline with these values."""
        document = load(self.folder / "pfa.yaml", self.folder)
        stamp = Stamp("2026-11-12", "", subject(next(iter(document.gates.values())), self.folder))
        return baseline_text({gate: baseline_entry(record(gate, kl, parameters), stamp)})

    def commit(self, message: str = "more") -> None:
        git(self.folder, "add", "--all")
        git(self.folder, "commit", "--allow-empty", "-m", message)

    def base(self, gate: str = "digits", asked: str = "", updating: bool = False) -> Baseline | None:
        """What the gate's limits are held to."""
        document = load(self.folder / "pfa.yaml", self.folder)
        found = find_with_history(document.path, asked, document.gate(gate))
        return context_of(document, gate, found, updating).base

    def refused(self, **more: Any) -> str:
        with pytest.raises(ArtifactError) as caught:
            self.base(**more)
        return str(caught.value)

    def update(self, *records: Record) -> list[Message]:
        """What --pfa-update-baseline does where a run has found this."""
        config = self.folder / "pfa.yaml"
        document = load(config, self.folder)
        shared = self.shared / str(len(list(self.shared.glob("*"))))  # of this run alone
        for each in records:
            of = subject_and_config(document, each.gate) if each.gate in document.gates else {}
            result = Result(str(config), each.gate, to_dict(each), subject=of)
            analyse_once(shared, config, each.gate, lambda result=result: result)
        return list(_updated(config, self.folder, RunPlan((config,), shared)))

    def values(self, gate: str = "digits") -> tuple[float, float]:
        """KL ratio of the stem, and parameters, as the file has them."""
        plain = json.loads(self.file.read_text())["gates"][gate]
        return plain["layers"]["stem"]["kl"], plain["budgets"]["model.parameters"]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config whose baseline says 0.5 and 9, committed on main."""
    project = Project(tmp_path_factory.mktemp("origin"), Path())
    project.config()
    project.file.write_text(project.baseline())
    git(project.folder, "init", "-b", "main")
    project.commit("one")
    return project.folder


@pytest.fixture
def made(tmp_path: Path, origin: Path) -> Project:
    """A repository of its own, as `origin` is."""
    shutil.copytree(origin, tmp_path / "nets")
    return Project(tmp_path / "nets", tmp_path / "shared")


@pytest.fixture
def bare(made: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The same without a repository, in the current folder."""
    shutil.rmtree(made.folder / ".git")
    monkeypatch.chdir(made.folder)
    return made


@pytest.fixture
def conflict(made: Project) -> Project:
    """A merge in conflict: ours has the lower KL ratio, theirs the lower number of parameters."""
    git(made.folder, "checkout", "-b", "theirs")
    made.file.write_text(made.baseline(kl=0.45, parameters=7))
    made.commit()
    git(made.folder, "checkout", "main")
    made.file.write_text(made.baseline(kl=0.4, parameters=8))
    made.commit()
    git(made.folder, "merge", "theirs", fails=True)
    assert "<<<<<<<" in made.file.read_text()
    return made


def test_a_file_in_conflict_is_not_compared_with(conflict: Project) -> None:
    assert conflict.refused() == (
        "The baseline pfa.baseline.json cannot be read: it holds the marks of a merge conflict.\n"
        "  Restore it, or write it anew: pytest --pfa --pfa-update-baseline."
    )


def test_an_update_in_conflict_takes_the_tighter_value_of_both_sides(conflict: Project) -> None:
    before = conflict.base(updating=True)
    assert before is not None
    assert (before.value("layers.kl", "stem"), before.value("model.parameters")) == (0.4, 7)
    torn = conflict.file.read_text()
    told = conflict.update(record(kl=0.42, parameters=8))
    assert told == [
        Message(
            "pfa.baseline.json cannot be read; an update may not exceed the lowest values of our side of the merge, "
            "their side of the merge."
        ),
        Message(
            "pfa.baseline.json: gate 'digits' is left as it was: layers.kl of stem, layers.kl of head, "
            "model.parameters ratchet, and are above the old baseline.",
            refused=True,
        ),
    ]
    assert conflict.file.read_text() == torn


def test_an_update_in_conflict_that_keeps_both_ratchets_mends_the_file(conflict: Project) -> None:
    told = conflict.update(record(kl=0.3, parameters=7))
    assert told[-1] == Message("pfa.baseline.json: written with 1 gate; commit it.")
    assert conflict.values() == (0.3, 7)


def test_a_merge_resolved_by_taking_one_side_is_held_to_both_until_it_is_committed(conflict: Project) -> None:
    git(conflict.folder, "checkout", "--ours", "pfa.baseline.json")
    git(conflict.folder, "add", "pfa.baseline.json")
    assert conflict.update(record(kl=0.4, parameters=8))[-1].refused
    assert conflict.update(record(kl=0.4, parameters=8))[0].sentence == (
        "pfa.baseline.json is being merged; an update may not exceed the lowest values of the file, HEAD, MERGE_HEAD."
    )


@pytest.mark.parametrize("torn", ["", "{", "<<<<<<< ours\n{}\n=======\n{}\n>>>>>>> theirs\n", '{"schema": "other"}'])
def test_a_torn_file_is_held_to_the_last_commit(made: Project, torn: str) -> None:
    made.file.write_text(torn)
    assert "cannot be read" in made.refused()
    assert made.update(record(kl=0.6))[-1].refused


@pytest.mark.parametrize("torn", ["", "<<<<<<< ours\n{}\n=======\n{}\n>>>>>>> theirs\n"])
def test_marks_that_were_committed_leave_no_other_state(made: Project, torn: str) -> None:
    made.file.write_text(torn)
    made.commit()
    made.commit()
    sentence = made.refused(updating=True)
    assert "; and git has no other state of it.\n  Restore it from a commit that has it whole (git log -- " in sentence
    with pytest.raises(ArtifactError, match="git has no other state of it"):
        made.update(record())
    assert made.file.read_text() == torn


def test_without_a_ratchet_a_torn_file_is_written_anew(made: Project) -> None:
    made.config(ABSOLUTE)
    made.file.write_text("torn")
    assert made.base(updating=True) is None
    assert made.update(record(kl=0.9)) == [Message("pfa.baseline.json: written with 1 gate; commit it.")]


def test_a_file_that_is_gone_is_missed(made: Project) -> None:
    made.file.unlink()
    assert made.refused() == (
        "The baseline pfa.baseline.json is gone, and HEAD has it.\n"
        "  Restore it: git checkout HEAD -- pfa.baseline.json. "
        "To raise a ratchet, edit its value there, in a commit that says why."
    )
    assert made.update(record(kl=0.6))[-1].refused
    assert not made.file.exists()


def test_a_file_that_a_branch_has_removed_is_missed(made: Project) -> None:
    git(made.folder, "checkout", "-b", "feature")
    made.file.unlink()
    made.commit()
    assert made.refused().startswith("The baseline pfa.baseline.json is gone, and ")
    assert made.update(record(kl=0.6))[-1].refused


def test_the_branch_of_a_pull_request_is_known_in_a_workflow(made: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    git(made.folder, "branch", "release")
    git(made.folder, "update-ref", "refs/remotes/origin/release", "release")
    made.file.unlink()
    made.commit()
    assert made.base() is None  # on main itself it was removed in a commit of its own
    monkeypatch.setenv("GITHUB_BASE_REF", "release")
    assert "is gone" in made.refused()


def test_a_first_run_has_no_baseline_and_needs_none(made: Project) -> None:
    made.file.unlink()
    git(made.folder, "commit", "--amend", "--all", "-m", "none")
    assert made.base() is None
    assert made.update(record()) == [Message("pfa.baseline.json: written with 1 gate; commit it.")]


@pytest.mark.parametrize("emptied", ["gates", "layers", "budgets"])
def test_an_emptied_file_lifts_nothing(made: Project, emptied: str) -> None:
    plain = json.loads(made.file.read_text())
    place = plain if emptied == "gates" else plain["gates"]["digits"]
    place[emptied] = {}
    made.file.write_text(json.dumps(plain))
    assert made.update(record(kl=0.6, parameters=10))[-1].refused
    if emptied == "gates":
        assert made.refused().startswith("The baseline pfa.baseline.json has no gate 'digits' any more, and HEAD has.")
        return
    base = made.base()
    assert base is not None
    budget, layer = ("layers.kl", "stem") if emptied == "layers" else ("model.parameters", "")
    assert base.value(budget, layer) is None
    assert any(each.value(budget, layer) is not None for each in base.earlier)


def test_a_renamed_gate_keeps_its_values(made: Project) -> None:
    made.config(RATCHET, "numbers")
    base = made.base("numbers")
    assert base is not None
    assert (base.value("layers.kl", "stem"), base.changed) == (0.5, ("the gate's name (digits then)",))
    assert made.update(record("numbers", kl=0.6))[-1].refused
    assert made.values() == (0.5, 9)


def test_an_update_gives_a_renamed_gate_its_new_name(made: Project) -> None:
    made.config(RATCHET, "numbers")
    assert not made.update(record("numbers", kl=0.4))[-1].refused
    assert made.values("numbers") == (0.4, 9)
    assert "digits" not in json.loads(made.file.read_text())["gates"]


def test_a_gate_that_may_be_one_of_those_that_are_gone_is_asked_about(made: Project) -> None:
    made.config(RATCHET.replace("kl", "inactive"), "numbers")
    plain = json.loads(made.file.read_text())
    plain["gates"]["digits"]["subject"]["factory"] = "old.py:build"
    made.file.write_text(json.dumps(plain))
    assert made.refused(gate="numbers") == (
        "Gate 'numbers' is not in pfa.baseline.json, which has 'digits', and pfa.yaml has no such gate any more.\n"
        "  Give it its new name there too if it was renamed; else remove it there."
    )


def test_a_config_that_has_moved_is_told_to_take_its_baseline_along(made: Project) -> None:
    (made.folder / "moved").mkdir()
    (made.folder / "pfa.yaml").rename(made.folder / "moved" / "pfa.yaml")
    moved = Project(made.folder / "moved", made.shared)
    assert moved.refused() == (
        "There is no baseline moved/pfa.baseline.json; pfa.baseline.json has gate 'digits', and no config is beside "
        "it any more.\n  Move it to where the config is now."
    )


@pytest.fixture
def shallow(made: Project, tmp_path: Path) -> Project:
    """A clone as CI makes it, one commit deep; that commit removes the baseline."""
    made.file.unlink()
    made.commit()
    git(tmp_path, "clone", "--depth", "1", f"file://{made.folder}", "shallow")
    return Project(tmp_path / "shallow", tmp_path / "other")


def test_a_shallow_clone_cannot_say_that_there_never_was_a_baseline(shallow: Project) -> None:
    assert shallow.refused() == (
        "There is no baseline pfa.baseline.json, and whether it had cannot be known: this clone is shallow.\n"
        "  Run pytest --pfa --pfa-update-baseline once and commit the file; or let git tell (fetch-depth: 0 in CI, "
        "git fetch --unshallow elsewhere)."
    )
    assert shallow.base(asked="none") is None
    shallow.config(ABSOLUTE)
    assert shallow.base() is None


def test_a_shallow_clone_cannot_say_that_a_gate_never_was_in_a_baseline(shallow: Project) -> None:
    shallow.config(RATCHET, "digits", "letters")
    shallow.file.write_text(shallow.baseline())
    assert shallow.base("letters") is None  # of a file that is not in git there is nothing to know
    shallow.commit()
    assert "has no gate 'letters', and whether it had cannot be known: this clone is shallow." in shallow.refused(
        gate="letters"
    )


def test_a_baseline_that_is_there_is_not_said_away(made: Project) -> None:
    assert "though --pfa-baseline says that there is none.\n  Leave the option out." in made.refused(asked="none")


def test_a_merge_base_is_not_looked_for_beyond_a_shallow_clone(shallow: Project) -> None:
    assert "fetch-depth: 0" in shallow.refused(asked="git:HEAD~1")


def test_what_git_refuses_to_say_is_no_first_run(made: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    made.file.unlink()
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert "detected dubious ownership" in made.refused()
    assert "detected dubious ownership" in made.refused(asked="git:main")
    assert "detected dubious ownership" in made.refused(updating=True)


def test_what_the_user_tells_git_in_the_environment_is_heard(made: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    for name, value in {"COUNT": "1", "KEY_0": "safe.directory", "VALUE_0": "*"}.items():
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    assert made.base(asked="git:main") is not None


def test_what_a_hook_tells_git_is_not(made: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    assert made.base(asked="git:main") is not None


def test_a_waiver_lets_pass_and_raises_nothing(made: Project) -> None:
    """The verdict of a waived ratchet is kept; the value that it lets pass for a while is not to become the norm."""
    told = made.update(record(parameters=12))
    assert told[-1] == Message(
        "pfa.baseline.json: gate 'digits' is left as it was: model.parameters ratchets, and is above the old baseline.",
        refused=True,
    )


def test_roundings_do_not_add_up(made: Project) -> None:
    assert not made.update(record(kl=0.5000005))[-1].refused
    assert made.values() == (0.5, 9)


def test_what_does_not_ratchet_may_rise(made: Project) -> None:
    made.config(RATCHET.replace('{match: "*"', '{match: "*", kl: 1}, {match: head'))
    assert not made.update(record(kl=0.9))[-1].refused or made.values() == (0.5, 9)
    head = made.config('{layers: [{match: "*", kl: {ratchet: true}}, {match: "*", kl: 1}]}')
    assert head.gate("digits").budgets.layers[1].kl is not None
    assert not made.update(record(kl=0.9))[-1].refused


NO_NUMBERS = [float("nan"), float("inf"), True, None, "0.5", int("9" * 401), [0.5]]


@pytest.mark.parametrize("place", ["layers", "budgets", "filters"])
@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: f"{value!r:.8}")
def test_only_finite_numbers_are_compared_with(bare: Project, place: str, value: Any) -> None:
    plain = json.loads(bare.file.read_text())
    gate = plain["gates"]["digits"]
    if place == "budgets":
        gate["budgets"]["model.parameters"] = value
    else:
        gate["layers"]["stem"]["kl" if place == "layers" else "filters"] = value
    bare.file.write_text(json.dumps(plain))
    assert bare.refused().startswith("The baseline pfa.baseline.json cannot be read: ")
    assert "git has no other state of it" in bare.refused(updating=True)


@pytest.mark.parametrize("spelled", ["1e400", "-Infinity", "9" * 5000])
def test_numbers_that_json_can_spell_and_nobody_can_mean(bare: Project, spelled: str) -> None:
    bare.file.write_text(bare.file.read_text().replace("0.5", spelled, 1))
    assert bare.refused().startswith("The baseline pfa.baseline.json cannot be read: ")


def test_two_values_of_one_name_are_refused(made: Project) -> None:
    made.file.write_text(made.file.read_text().replace('"kl": 0.5', '"kl": 0.5, "kl": 0.9', 1))
    assert "it has the key 'kl' twice" in made.refused()


@pytest.mark.parametrize("reference", ["main\0", "ma\nin", "\x1b[31m"])
def test_a_reference_that_nobody_can_see_names_no_revision(made: Project, reference: str) -> None:
    assert "names no revision" in made.refused(asked=f"git:{reference}")


def test_a_path_that_no_file_can_have_is_a_sentence(made: Project) -> None:
    assert made.refused(asked="/no/such\0file") == "The baseline /no/such?file cannot be read: no such name."


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (os.mkfifo, "it is not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is not a regular file"),
        (lambda path: (path.touch(), os.truncate(path, 2**26 + 1)), "it has more than 67,108,864 bytes"),
    ],
)
def test_what_never_ends_is_no_baseline(bare: Project, make: Callable[[Path], object], why: str) -> None:
    bare.file.unlink()
    make(bare.file)
    assert bare.refused() == f"The baseline pfa.baseline.json cannot be read: {why}."
