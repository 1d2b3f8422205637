"""What is released: one version, a wheel and an sdist that hold what they must and nothing else, a tag that fits."""

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from pfa_gate.cli import main

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
VERSION = PROJECT["version"]
RELEASE: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text("utf-8"))
FOLDERS = (".ci", ".github", "docs", "example_project", "pfa_gate", "tests")
# Left by runs, and named in .gitignore.
LEFT = {"__pycache__", ".pfa", ".pytest_cache", ".hypothesis", ".mypy_cache", ".ruff_cache", ".import_linter_cache"}


def built(source: Path, folder: Path, *targets: str) -> None:
    """Build in this environment; nothing is fetched."""
    chosen = [word for target in targets for word in ("-t", target)]
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder), *chosen]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, the wheel, and in `again` the wheel that is built from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    built(ROOT, folder, "sdist", "wheel")
    with tarfile.open(folder / f"pfa_gate-{VERSION}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    built(folder / f"pfa_gate-{VERSION}", folder / "again", "wheel")
    return folder


def digests(wheel: Path) -> dict[str, str]:
    """SHA-256 of each file of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


def files(folder: str) -> set[str]:
    """What a folder of the repository holds, but for what runs leave."""
    below = (path for path in (ROOT / folder).rglob("*") if path.is_file() and LEFT.isdisjoint(path.parts))
    return {path.relative_to(ROOT).as_posix() for path in below}


def test_a_wheel_holds_the_package_and_its_licence(dist: Path) -> None:
    names = set(digests(dist / f"pfa_gate-{VERSION}-py3-none-any.whl"))
    described = {f"pfa_gate-{VERSION}.dist-info/{name}" for name in DESCRIPTION}
    assert names - files("pfa_gate") == described
    assert files("pfa_gate") - names == set()
    others = {name for name in names - described if not name.endswith(".py")}
    assert others == {
        "pfa_gate/config/pfa.schema.json",
        "pfa_gate/py.typed",
        "pfa_gate/report/html/bit_sensitivity.html.j2",
        "pfa_gate/report/html/history.html.j2",
        "pfa_gate/report/html/report.html.j2",
        "pfa_gate/report/html/script.js",
        "pfa_gate/report/html/sensitivity.html.j2",
        "pfa_gate/report/html/style.css",
    }


DESCRIPTION = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")


def test_an_sdist_holds_what_builds_and_tests_the_package(dist: Path) -> None:
    with tarfile.open(dist / f"pfa_gate-{VERSION}.tar.gz") as archive:
        names = {member.name.removeprefix(f"pfa_gate-{VERSION}/") for member in archive if member.isfile()}
    top = {"LICENSE", "PKG-INFO", "README.md", "constraints.txt", "pyproject.toml"}
    # hatchling adds the first, by which it leaves files out.
    assert {name for name in names if "/" not in name} == {".gitignore", *top}
    assert {name for name in names if "/" in name} == set().union(*map(files, FOLDERS))


def test_a_wheel_from_the_sdist_is_the_wheel(dist: Path) -> None:
    name = f"pfa_gate-{VERSION}-py3-none-any.whl"
    assert digests(dist / "again" / name) == digests(dist / name)


def test_the_version_stands_in_one_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert version("pfa-gate") == VERSION
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--version"])
    assert capsys.readouterr().out == f"pfa-gate {VERSION}\n"
    texts = [*(ROOT / "pfa_gate").rglob("*.py"), *(ROOT / ".github").rglob("*.yml"), *(ROOT / ".ci").iterdir()]
    assert [path.name for path in texts if VERSION in path.read_text("utf-8")] == []


def test_the_changelog_begins_with_this_version() -> None:
    changes = (ROOT / "docs" / "changelog.md").read_text("utf-8")
    headings = re.findall(r"^## (.*)$", changes, re.MULTILINE)
    assert re.fullmatch(rf"{re.escape(VERSION)} \((not yet released|\d{{4}}-\d\d-\d\d)\)", headings[0])
    releases = [tuple(map(int, heading.split(" ")[0].split("."))) for heading in headings]
    assert releases == sorted(releases, reverse=True)


def compared(folder: Path, tag: str, heading: str) -> "subprocess.CompletedProcess[str]":
    """What the workflow's first step says of a tag and a changelog."""
    (step,) = [step for step in RELEASE["jobs"]["build"]["steps"] if step.get("name", "").startswith("Compare")]
    (folder / "pyproject.toml").write_text('[project]\nversion = "1.2.3"\n')
    (folder / "docs").mkdir()
    (folder / "docs" / "changelog.md").write_text(f"# Changelog\n\n{heading}\n")
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"PATH": path, "GITHUB_REF_NAME": tag}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_tag_of_the_version_is_released(tmp_path: Path) -> None:
    done = compared(tmp_path, "v1.2.3", "## 1.2.3 (2026-11-28)")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("tag", ["v1.2.4", "1.2.3", "v1.2.3rc1", "v1.2.30"])
def test_another_tag_is_not(tmp_path: Path, tag: str) -> None:
    done = compared(tmp_path, tag, "## 1.2.3 (2026-11-28)")
    told = f"The tag is {tag}, and pyproject.toml has version 1.2.3; its tag is v1.2.3.\n"
    assert (done.returncode, done.stderr) == (1, told)


@pytest.mark.parametrize("heading", ["## 1.2.3 (not yet released)", "## 1.2.2 (2026-11-28)", "## 1x2.3 (2026-11-28)"])
def test_a_version_without_a_dated_change_is_not(tmp_path: Path, heading: str) -> None:
    done = compared(tmp_path, "v1.2.3", heading)
    assert (done.returncode, done.stderr) == (1, "docs/changelog.md has no heading '## 1.2.3 (YYYY-MM-DD)'.\n")


def test_what_is_published_was_built_checked_and_tried() -> None:
    """One artifact goes from job to job, and the job that may publish runs nothing else."""
    jobs = RELEASE["jobs"]
    assert (jobs["smoke"]["needs"], jobs["publish"]["needs"]) == ("build", ["build", "smoke"])
    assert "bash .ci/build dist" in [step.get("run") for step in jobs["build"]["steps"]]
    assert jobs["smoke"]["steps"][-1]["run"] == "bash .ci/smoke dist/*.whl"
    download, publish = jobs["publish"]["steps"]
    assert download["with"] == {"name": "dist", "path": "dist"}
    assert publish["uses"].startswith("pypa/gh-action-pypi-publish@")
    assert publish["with"] == {"attestations": True}
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert jobs["publish"]["environment"]["name"] == "pypi"
