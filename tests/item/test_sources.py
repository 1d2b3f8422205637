"""The code behind a reference, found without importing it."""

from pathlib import Path

import pytest

from pfa_gate.item.sources import sources


def write(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def names(folder: Path, *references: str) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in sources(references, folder).files}


@pytest.fixture(autouse=True)
def _in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_imports_are_followed_through_packages(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "net/__init__.py": "from net import setup",
            "net/setup.py": "",
            "net/model.py": "import os, numpy\nfrom .parts import blocks\nfrom . import heads\nimport far.away",
            "net/parts/__init__.py": "",
            "net/parts/blocks.py": "from ..deep import Deep",
            "net/deep.py": "def build():\n    import late\n",
            "net/heads.py": "import net.model",
            "net/unused.py": "",
            "far/away.py": "raise RuntimeError('never run')",
            "late.py": "",
            "test_net.py": "",
        },
    )
    expected = "net/__init__ net/setup net/model net/parts/__init__ net/parts/blocks net/deep net/heads far/away late"
    assert names(tmp_path, "net.model:build") == {f"{each}.py" for each in expected.split()}
    assert names(tmp_path, "net/model.py:build") == {f"{each}.py" for each in expected.split()}


def test_a_lone_file_finds_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, {"src/data.py": "import shapes", "src/shapes.py": ""})
    assert names(tmp_path, "src/data.py:probe") == {"src/data.py", "src/shapes.py"}


def test_installed_packages_are_noted_and_not_read(tmp_path: Path) -> None:
    write(tmp_path, {"net.py": "import torch.nn, json\nfrom numpy import linalg\nimport no_such_package"})
    found = sources(["net:build"], tmp_path)
    assert set(found.packages) == {"torch", "numpy", "no_such_package"}
    assert found.packages["no_such_package"] is None
    assert found.files == {tmp_path / "net.py"}


def test_what_does_not_parse_or_exist_is_left_to_the_import(tmp_path: Path) -> None:
    write(tmp_path, {"net.py": "def build(:", "circle.py": "import circle"})
    assert names(tmp_path, "net:build", "circle:f", "gone.py:f") == {"net.py", "circle.py"}
