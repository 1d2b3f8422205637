"""pytest's rootdir is the project's, or the run is refused: ids, caches and paths depend on it."""

from pathlib import Path

import pytest
from projects import Pfa


@pytest.fixture
def repository(project: pytest.Pytester) -> pytest.Pytester:
    """The project is a repository without an ini file; beside it is a folder for results."""
    (project.path / ".git").mkdir()
    (project.path.parent / "results").mkdir(exist_ok=True)
    return project


def refused(result: pytest.RunResult) -> str:
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    return "\n".join(line for line in result.errlines if line)


def test_an_existing_folder_behind_a_blank_moves_no_rootdir(repository: pytest.Pytester, pfa: Pfa) -> None:
    folder = repository.path.parent
    assert refused(pfa("--pfa-output", f"{folder}/results")) == (
        f"ERROR: --pfa: pytest's rootdir is {folder}, because --pfa-output has an existing path after a space.\n"
        f"  Write it with an equals sign: --pfa-output={folder}/results."
    )
    result = pfa(f"--pfa-output={folder}/results")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines([f"rootdir: {repository.path}"])
    assert not (folder / ".pytest_cache").exists()


def test_the_ini_file_of_another_project_is_not_taken(repository: pytest.Pytester, pfa: Pfa) -> None:
    other = repository.path.parent / "other"
    (other / "out").mkdir(parents=True)
    (other / "pytest.ini").write_text("[pytest]\n")
    assert f"rootdir is {other}, because --pfa-output has" in refused(pfa("--pfa-output", f"{other}/out"))


def test_a_rootdir_above_the_repository_is_refused(repository: pytest.Pytester, pfa: Pfa) -> None:
    folder = repository.path.parent
    (folder / "pytest.ini").write_text("[pytest]\n")
    try:
        told = refused(pfa())
    finally:
        (folder / "pytest.ini").unlink()
    assert told == (
        f"ERROR: --pfa: pytest's rootdir, {folder}, is above {repository.path}, the repository of pfa.yaml.\n"
        "  Run it inside that repository, give an ini file of its own to it, or name it: "
        f"--rootdir={repository.path}."
    )


def test_a_folder_of_the_project_may_stand_behind_a_blank(repository: pytest.Pytester, pfa: Pfa) -> None:
    (repository.path / "out").mkdir()
    pfa("--pfa-output", "out").assert_outcomes(passed=3)


def test_a_submodule_belongs_to_the_repository_around_it(repository: pytest.Pytester, pfa: Pfa) -> None:
    inner = repository.path / "inner"
    inner.mkdir()
    (inner / ".git").write_text("gitdir: ../.git/modules/inner\n")
    Path(repository.path / "pfa.yaml").rename(inner / "pfa.yaml")
    pfa().assert_outcomes(passed=3)
