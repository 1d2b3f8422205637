"""What a process that was killed has left unfinished is told from what another one is writing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pfa_gate.artifacts.folders import replacing
from pfa_gate.files import remove_abandoned, replacing_file, unfinished_folder

LEAVES = """
import os, sys
from pathlib import Path
from pfa_gate.files import replacing_file, unfinished_folder

folder = Path(sys.argv[1])
(unfinished_folder(".digits", folder) / "weights").write_text("half")
unfinished_folder("pfa_gate", folder)
with replacing_file(folder / "a.json") as fresh:
    fresh.write_text("half")
    os.abort()
"""


@pytest.fixture
def left(tmp_path: Path) -> list[Path]:
    """Three things of a process that is gone, beside others."""
    for name in (".digits", "pfa_gate-reports", ".digits-notes", ".git"):
        (tmp_path / name).mkdir()
    before = set(tmp_path.iterdir())
    done = subprocess.run([sys.executable, "-c", LEAVES, str(tmp_path)], capture_output=True, check=False)
    assert done.returncode != 0
    found = sorted(set(tmp_path.iterdir()) - before)
    assert len(found) == 3
    return found


def there(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_a_dead_process_left_is_removed_and_nothing_else(tmp_path: Path, left: list[Path]) -> None:
    own = unfinished_folder(".digits", tmp_path)
    with replacing_file(tmp_path / "a.json") as fresh:
        remove_abandoned(tmp_path)
        assert there(tmp_path) == {".digits", "pfa_gate-reports", ".digits-notes", ".git", own.name, fresh.name}
        fresh.write_text("whole")
    assert (tmp_path / "a.json").read_text() == "whole"


def test_what_another_machine_left_is_removed_after_a_day(
    tmp_path: Path, left: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    remove_abandoned(tmp_path)
    assert all(path.exists() for path in left)
    os.utime(left[0], (1, 1))
    remove_abandoned(tmp_path)
    assert [path.exists() for path in left] == [False, True, True]


def test_a_number_that_lives_again_is_not_taken_for_the_dead(tmp_path: Path, left: list[Path]) -> None:
    alive = left[0].with_name(left[0].name.replace(left[0].name.split("-")[-2], str(os.getppid())))
    left[0].rename(alive)
    os.utime(alive, (1, 1))
    remove_abandoned(tmp_path)
    assert alive.exists()


def test_a_link_is_removed_and_not_followed(tmp_path: Path, left: list[Path]) -> None:
    target = tmp_path / "precious"
    target.mkdir()
    (target / "a").write_text("")
    folder = next(path for path in left if path.name.startswith("pfa_gate-"))
    folder.rmdir()
    folder.symlink_to(target)
    remove_abandoned(tmp_path)
    assert not folder.is_symlink()
    assert (target / "a").exists()


def test_the_next_good_run_removes_it_beside_its_results(tmp_path: Path, left: list[Path]) -> None:
    with replacing(tmp_path / "digits") as fresh:
        (fresh / "record.json").write_text('{"schema": "pfa_gate.record/1", "gate": "digits"}')
    assert there(tmp_path) == {".digits", "pfa_gate-reports", ".digits-notes", ".git", "digits"}
    with pytest.raises(ValueError, match="no"), replacing(tmp_path / "digits") as fresh:
        raise ValueError("no")
    assert there(tmp_path / "digits") == {"record.json"}


def test_a_file_that_cannot_be_finished_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"), replacing_file(tmp_path / "a.json"):
        raise ValueError("no")
    assert there(tmp_path) == set()
