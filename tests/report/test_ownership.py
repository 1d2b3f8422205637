"""What is written over was written by pfa_gate; the files of users stay, and no link is followed out of a project."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import records

from pfa_gate.artifacts.folders import replacing
from pfa_gate.artifacts.recipe import recipe_text
from pfa_gate.cli import main
from pfa_gate.errors import ArtifactError
from pfa_gate.record import dumps, to_dict
from pfa_gate.record.baseline_history import NAME
from pfa_gate.report import ownership
from pfa_gate.report.files import restore
from pfa_gate.report.ownership import require_baseline, require_file, require_folder
from pfa_gate.report.result_folders import require_study

RECIPE = "version: 1\ngate: {}\nstrategy: energy\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository, and the current folder; `outside` lies beside it."""
    (tmp_path / "project" / ".git").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def put(folder: Path, **texts: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")


def record(gate: str = "src") -> str:
    return dumps(dataclasses.replace(records.kept(), gate=gate))


def refused(check: Callable[[], object]) -> str:
    with pytest.raises(ArtifactError) as caught:
        check()
    return caught.value.fact


def tree(folder: Path) -> dict[str, bytes | str]:
    """All below a folder: the bytes of files, and where links lead."""
    return {
        each.relative_to(folder).as_posix(): os.readlink(each) if each.is_symlink() else each.read_bytes()
        for each in folder.rglob("*")
        if each.is_symlink() or each.is_file()
    }


FOREIGN: dict[str, tuple[Callable[[Path], object], str]] = {
    "sources": (
        lambda folder: put(folder, a_py="a", b_py="b", c_py="c", d_py="d"),
        "it holds a.py, b.py, c.py and 1 more, which no gate writes",
    ),
    "sources beside a record": (
        lambda folder: put(folder, record_json=record(), a_py="a"),
        "it holds a.py, which no gate writes",
    ),
    "weights of a user": (
        lambda folder: put(folder, weights_safetensors="w", model_onnx="m"),
        "it holds model.onnx, weights.safetensors, but no record.json of gate 'src'",
    ),
    "another's record": (
        lambda folder: put(folder, record_json='{"gate": "src"}'),
        "its record.json is not a record of a gate",
    ),
    "a torn record": (
        lambda folder: put(folder, record_json=record()[:-9]),
        "its record.json is not a record of a gate",
    ),
    "another gate's": (
        lambda folder: put(folder, record_json=record("digits")),
        "its record.json is of gate 'digits'",
    ),
    "another gate's recipe": (
        lambda folder: put(folder, recipe_yaml=RECIPE.format("digits")),
        "it holds recipe.yaml, but no record.json of gate 'src'",
    ),
    "a folder in it": (
        lambda folder: (put(folder, record_json=record()), put(folder / "report.html", a="a")),
        "it holds report.html, which no gate writes",
    ),
    "a link in it": (
        lambda folder: (put(folder, record_json=record()), (folder / "report.md").symlink_to("../notes.md")),
        "it holds report.md, which no gate writes",
    ),
    "a file": (lambda folder: folder.write_text("precious"), "it is a file"),
    "a link": (lambda folder: folder.symlink_to("other"), "it is a link"),
}


@pytest.mark.parametrize(("made", "why"), FOREIGN.values(), ids=FOREIGN)
def test_a_folder_that_is_not_the_gates_own_is_left_as_it_is(
    project: Path, made: Callable[[Path], object], why: str
) -> None:
    made(project / "src")
    before = tree(project)
    expected = f"The results cannot be written to src: {why}."

    def replace() -> None:
        with replacing(project / "src") as fresh:
            put(fresh, record_json=record())

    assert refused(lambda: require_folder(project / "src")) == expected
    assert refused(replace) == expected
    assert refused(lambda: restore(to_dict(records.kept()), project / "src")) == expected
    assert tree(project) == before


OWN: dict[str, Callable[[Path], object]] = {
    "new": lambda folder: None,
    "empty": lambda folder: folder.mkdir(),
    "of an earlier run": lambda folder: put(folder, record_json=record(), report_html="", model_onnx=""),
    "looked at in a file browser": lambda folder: (put(folder, record_json=record()), (folder / ".DS_Store").touch()),
    "from the cache of a workflow": lambda folder: put(
        folder, recipe_yaml=RECIPE.format("src"), weights_safetensors=""
    ),
    "with capitals": lambda folder: put(folder, record_json=record("SRC")),
}


@pytest.mark.parametrize("made", OWN.values(), ids=OWN)
def test_what_is_new_empty_or_the_gates_own_is_replaced(project: Path, made: Callable[[Path], object]) -> None:
    made(project / "src")
    with replacing(project / "src") as fresh:
        put(fresh, record_json=record(), badge_json="{}")
    assert set(tree(project)) == {"src/record.json", "src/badge.json"}
    assert [each.name for each in project.iterdir() if each.name != ".git"] == ["src"]


def test_a_file_that_comes_while_the_folder_is_replaced_is_put_back(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(project / "src", record_json=record())
    replace = os.replace

    def saved_meanwhile(source: Path, target: Path) -> None:
        if source == project / "src":
            put(project / "src", a_py="saved by an editor")
        replace(source, target)

    def swap() -> None:
        with replacing(project / "src") as fresh:
            put(fresh, record_json=record())

    monkeypatch.setattr(os, "replace", saved_meanwhile)
    assert refused(swap).endswith("it holds a.py, which no gate writes.")
    assert set(tree(project)) == {"src/record.json", "src/a.py"}


def test_the_gate_of_a_recipe_is_found_in_what_a_gate_writes(tmp_path: Path) -> None:
    """The head of recipe.yaml is read without all that follows; so a name is found that YAML has to quote."""
    for name in ("yes", "1", "a: b", "#", "ü" * 60 + " " + "x" * 90, "it's", "-"):
        text = recipe_text(dataclasses.replace(records.kept(), gate=name), *_nothing_cut(), {})
        put(tmp_path / name, recipe_yaml=text)
        require_folder(tmp_path / name)


def _nothing_cut() -> tuple[object, object]:
    class Nothing:
        form, axis_indices, groups = "module", {}, ()

    return Nothing, Nothing


@pytest.mark.parametrize("link", [".pfa", "out/deep", "src"])
def test_no_link_is_followed_out_of_the_project(project: Path, tmp_path: Path, link: str) -> None:
    (project / link).parent.mkdir(exist_ok=True)
    (project / link).symlink_to(tmp_path / "outside")
    folder = project / link / "digits"
    real = (tmp_path / "outside" / "digits").as_posix()
    expected = f"the link {link} leads out of {project.as_posix()}, to {real}."
    if link == "out/deep":
        expected = f"the link {link} leads out of {(project / 'out').as_posix()}, to {real}."
    assert refused(lambda: require_folder(folder)) == f"The results cannot be written to {link}/digits: {expected}"
    assert refused(lambda: require_file(folder / "a.html", ownership.PAGE)).endswith(f"to {real}/a.html.")
    assert refused(lambda: require_study(folder)).endswith(f"to {real}/study.json.")
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_repository_at_the_end_of_a_link_is_no_home(project: Path, tmp_path: Path) -> None:
    (tmp_path / "outside" / ".git").mkdir()
    (project / ".pfa").symlink_to(tmp_path / "outside")
    assert "leads out of" in refused(lambda: require_folder(project / ".pfa" / "digits"))


def test_links_within_the_project_and_to_the_project_are_followed(project: Path, tmp_path: Path) -> None:
    (project / "build").mkdir()
    (project / ".pfa").symlink_to("build")
    require_folder(project / ".pfa" / "digits")
    (tmp_path / "home").symlink_to(tmp_path)
    require_folder(tmp_path / "home" / "project" / "out" / "digits")
    require_folder(tmp_path / "outside" / "out" / "digits")


@pytest.mark.parametrize(
    ("name", "option", "command"),
    [
        ("notes.html", "--html", ["report", ".pfa/digits"]),
        ("notes.md", "--markdown", ["report", ".pfa/digits"]),
        ("notes.json", "--badge", ["report", ".pfa/digits"]),
        ("notes.html", "--html", ["report", "--history", ".pfa"]),
        ("notes.txt", "--output", ["collect", "--shard", "1/1"]),
    ],
)
def test_a_command_does_not_write_over_a_users_file(
    project: Path, capsys: pytest.CaptureFixture[str], name: str, option: str, command: list[str]
) -> None:
    put(project / ".pfa" / "digits", record_json=record("digits"))
    (project / name).write_text('mine, and no <!-- pfa_gate:comment --> {"schemaVersion": 1}')
    (project / "linked").symlink_to(name)
    before = tree(project)
    for path, why in ((name, "pfa_gate has not written what is there"), ("linked", "it is a link")):
        assert main([*command, option, path]) == 2
        told = f"{path} cannot be written: {why}.\n  Name another file, or move this one away.\n"
        assert capsys.readouterr().err == told
    assert tree(project) == before


def test_a_command_writes_over_what_it_has_written(project: Path) -> None:
    put(project / ".pfa" / "digits", record_json=record("digits"))
    options = ["--html", "a.html", "--markdown", "a.md", "--badge", "a.json"]
    for _ in range(2):
        assert main(["report", ".pfa/digits", *options]) == 0
        assert main(["report", "--history", ".pfa", "--html", "history.html"]) == 0


def test_a_study_writes_over_a_study_alone(project: Path) -> None:
    put(project / "docs", index_md="mine")
    require_study(project / "docs")
    put(project / "docs", study_md="mine")
    expected = "docs/study.md cannot be written: there is no study.json beside it, so it is of no study."
    assert refused(lambda: require_study(project / "docs")) == expected
    put(project / "docs", study_json='{"schema": "another"}')
    assert refused(lambda: require_study(project / "docs")).startswith("docs/study.json cannot be written")
    put(project / "docs", study_json='{\n  "schema": "pfa_gate.study/1"')
    require_study(project / "docs")


def test_a_first_config_is_not_written_through_a_link(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "pfa.yaml").symlink_to("../outside/pfa.yaml")
    assert main(["init", "net.py:build", "net.py:probe"]) == 2
    assert capsys.readouterr().err.startswith("pfa.yaml is there already.\n")
    (project / "sub").symlink_to("../outside")
    assert main(["init", "net.py:build", "net.py:probe", "--config", "sub/pfa.yaml"]) == 2
    assert capsys.readouterr().err.startswith("sub/pfa.yaml cannot be written: the link sub leads out of ")


TORN = '{\n  "gates": {\n<<<<<<< ours\n'


@pytest.mark.parametrize("text", ["", "torn", TORN, '{"gates": {}, "schema": "pfa_gate.baseline/0"}'])
def test_a_baseline_is_written_over_in_whatever_state(project: Path, text: str) -> None:
    (project / NAME).write_text(text)
    require_baseline(project / NAME)


@pytest.mark.parametrize("text", ["[]", "3", '{"versions": []}', '{"gates": {}}'])
def test_another_file_of_its_name_is_not(project: Path, text: str) -> None:
    (project / NAME).write_text(text)
    expected = f"{NAME} cannot be written: pfa_gate has not written what is there."
    assert refused(lambda: require_baseline(project / NAME)) == expected


def test_a_baseline_is_not_written_through_a_link(project: Path, tmp_path: Path) -> None:
    (project / NAME).symlink_to("other.json")
    assert refused(lambda: require_baseline(project / NAME)) == f"{NAME} cannot be written: it is a link."
    (project / "nets").symlink_to(tmp_path / "outside")
    assert "leads out of" in refused(lambda: require_baseline(project / "nets" / NAME))
