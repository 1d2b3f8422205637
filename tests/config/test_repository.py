"""What a config is called: by its place in the repository, wherever pytest was started."""

from pathlib import Path

import pytest

from pfa_gate.config.paths import from_root, repository_of


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with two services, the second a submodule, and a worktree beside it."""
    for folder in ("repo/.git", "repo/a", "repo/b", "tree/a", "repo/vendored/.git"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "repo/b/.git").write_text("gitdir: ../.git/modules/b\n")
    (tmp_path / "tree/.git").write_text(f"gitdir: {tmp_path}/repo/.git/worktrees/tree\n")
    return tmp_path


@pytest.mark.parametrize("here", ["", "repo", "repo/a", "repo/b"])
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("repo/pfa.yaml", "pfa.yaml"),
        ("repo/a/pfa.yaml", "a/pfa.yaml"),
        ("repo/b/pfa.yaml", "b/pfa.yaml"),
        ("repo/a/../b/pfa.yaml", "b/pfa.yaml"),
        ("tree/a/pfa.yaml", "a/pfa.yaml"),
        ("repo/vendored/pfa.yaml", "pfa.yaml"),
    ],
)
def test_the_name_of_a_config(root: Path, here: str, path: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / here)
    assert from_root(root / path) == name


def test_in_a_workflow_the_root_is_the_checkouts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two repositories checked out beside each other have one comment."""
    monkeypatch.setenv("GITHUB_WORKSPACE", str(root))
    assert from_root(root / "repo/a/pfa.yaml") == "repo/a/pfa.yaml"
    monkeypatch.setenv("GITHUB_WORKSPACE", str(root / "other"))
    assert from_root(root / "repo/a/pfa.yaml") == "a/pfa.yaml"


def test_without_a_repository_the_current_folder_is_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert repository_of(tmp_path) is None
    assert from_root(Path("a/pfa.yaml")) == "a/pfa.yaml"
    assert from_root(tmp_path.parent / "pfa.yaml") == (tmp_path.parent / "pfa.yaml").as_posix()


def test_a_link_into_a_repository_leads_to_its_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "link").symlink_to(root / "repo/a")
    monkeypatch.chdir(root)
    assert from_root(root / "link/pfa.yaml") == "a/pfa.yaml"
