"""From a name in pfa.yaml to a callable of the user, and every way that can go wrong."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pfa_gate.errors import FactoryError
from pfa_gate.model.import_callable import resolve

MODULE = """\
WIDTH = 32

def build(width=32, *, depth: int = 2):
    if width < 1:
        raise ValueError("width must be positive")
    return ("model", width, depth)

class Family:
    @staticmethod
    def small():
        return "small"

def leave():
    raise SystemExit(3)

def wide(width):
    return width

def elsewhere():
    raise AssertionError("Torch not compiled with CUDA enabled")

def skip():
    import pytest
    pytest.skip("no data here")
"""


@pytest.fixture(autouse=True)
def _forget_modules() -> Iterator[None]:
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the package `shop`, whose folder `gates` holds pfa.yaml, and a lone file."""
    files = {
        "shop/__init__.py": "",
        "shop/net.py": MODULE,
        "shop/relative.py": "from .net import build\n",
        "shop/broken.py": "x = 1\nimport not_installed_anywhere\n",
        "shop/wrong.py": "def build(:\n",
        "shop/boom.py": "import math\nmath.sqrt(-1)\n",
        "shop/gates/lone.py": MODULE,
        "shop/gates/src/hidden/__init__.py": "",
        "shop/gates/src/hidden/net.py": MODULE,
        "shop/gates/python/alone.py": MODULE,
        "shop/gates/broken.py": "import not_installed_anywhere\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("shop.net:build", ("model", 32, 2)),
        ("shop.relative:build", ("model", 32, 2)),
        ("shop.net:Family.small", "small"),
        ("gates/lone.py:build", ("model", 32, 2)),
        ("relative.py:build", ("model", 32, 2)),
    ],
)
def test_names_resolve_from_the_config_folder(project: Path, name: str, expected: object) -> None:
    assert resolve(name, project / "shop")() == expected


def test_the_package_base_is_found_from_outside(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert resolve("shop.net:build", project / "shop")(width=8) == ("model", 8, 2)


def test_the_current_folder_is_searched(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert resolve("shop.net:build", tmp_path_factory.mktemp("config"))() == ("model", 32, 2)


def test_two_files_of_one_name_do_not_mix(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.py").write_text(f"def build():\n    return {name!r}\n")
    assert [resolve("model.py:build", tmp_path / name)() for name in ("a", "b")] == ["a", "b"]


def test_two_modules_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "twin_model.py").write_text(f"def build():\n    return {name!r}\n")
    assert resolve("twin_model:build", tmp_path / "a")() == "a"
    with pytest.raises(FactoryError) as caught:
        resolve("twin_model:build", tmp_path / "b")
    assert str(caught.value) == (
        "Module 'twin_model' is already loaded from a/twin_model.py, but this gate means b/twin_model.py.\n"
        "  Name the file instead, path/to/file.py:callable, or put it into a package of its own."
    )


UNRESOLVED = [
    ("build", "'build' names no callable.\n  Write module:callable or path/to/file.py:callable."),
    ("shop.net:", "'shop.net:' names no callable.\n  Write module:callable or path/to/file.py:callable."),
    ("shop.nett:build", "There is no module 'shop.nett'.\n  Did you mean 'net'?"),
    ("zzz:build", "There is no module 'zzz'.\n  Searched {here}/shop/gates, {here}, then sys.path."),
    (
        "hidden.net:build",
        "There is no module 'hidden'; shop/gates/src/hidden/net.py is there, in a folder that Python does not search.\n"
        "  Install the project (python -m pip install -e .), or name the file: src/hidden/net.py:callable.",
    ),
    (
        "hidden:build",
        "There is no module 'hidden'; shop/gates/src/hidden/__init__.py is there, in a folder that Python does not "
        "search.\n  Install the project (python -m pip install -e .), or name the file: "
        "src/hidden/__init__.py:callable.",
    ),
    (
        "alone:build",
        "There is no module 'alone'; shop/gates/python/alone.py is there, in a folder that Python does not search.\n"
        "  Install the project (python -m pip install -e .), or name the file: python/alone.py:callable.",
    ),
    ("hidden.nett:build", "There is no module 'hidden'.\n  Searched {here}/shop/gates, {here}, then sys.path."),
    ("lon.py:build", "There is no file shop/gates/lon.py.\n  Did you mean 'lone.py'?"),
    (
        "far/away.py:build",
        "There is no file shop/gates/far/away.py.\n  Paths start at the folder of pfa.yaml.",
    ),
    ("shop.net:bild", "'shop.net' has no 'bild'.\n  Did you mean 'build'?"),
    ("shop.net:zzz", "'shop.net' has no 'zzz'.\n  It has Family, build, elsewhere, leave, skip, wide."),
    ("shop:zzz", "'shop' has no 'zzz'.\n  It defines nothing that can be called."),
    ("shop.net:WIDTH", "'shop.net:WIDTH' is not callable: it is of type int.\n  Name a function or a class."),
    (
        "shop.broken:build",
        "Importing 'shop.broken' raised ModuleNotFoundError: No module named 'not_installed_anywhere' "
        "(shop/broken.py:2).\n  Try the import by itself in the environment that runs pytest.",
    ),
    (
        "broken.py:build",
        "Importing 'shop/gates/broken.py' raised ModuleNotFoundError: "
        "No module named 'not_installed_anywhere' (shop/gates/broken.py:1).\n"
        "  Try the import by itself in the environment that runs pytest.",
    ),
    (
        "shop.wrong:build",
        "Importing 'shop.wrong' raised SyntaxError: invalid syntax (shop/wrong.py:1).\n"
        "  Try the import by itself in the environment that runs pytest.",
    ),
    (
        "shop.boom:build",
        "Importing 'shop.boom' raised ValueError: math domain error (shop/boom.py:2).\n"
        "  Try the import by itself in the environment that runs pytest.",
    ),
]


@pytest.mark.parametrize(("name", "message"), UNRESOLVED, ids=[name for name, _ in UNRESOLVED])
def test_what_does_not_resolve(project: Path, name: str, message: str) -> None:
    path, modules = list(sys.path), set(sys.modules)
    with pytest.raises(FactoryError) as caught:
        resolve(name, project / "shop/gates")
    assert str(caught.value) == message.format(here=project)
    assert sys.path == path
    assert not {module for module in set(sys.modules) - modules if module.startswith("_pfa_gate_")}


RAISING = [
    ("build", {"width": 0}, "'shop.net:build' raised ValueError: width must be positive (shop/net.py:5)."),
    ("leave", {}, "'shop.net:leave' raised SystemExit: 3 (shop/net.py:14)."),
    ("skip", {}, "'shop.net:skip' raised Skipped: no data here (shop/net.py:24)."),
    (
        "build",
        {"widht": 8},
        "'shop.net:build' has no argument 'widht'.\n"
        "  Did you mean 'width'? Its signature is build(width=32, *, depth: int = 2).",
    ),
    (
        "wide",
        {"widht": 8},
        "'shop.net:wide' has no argument 'widht'.\n  Did you mean 'width'? Its signature is wide(width).",
    ),
    (
        "wide",
        {"zzz": 8, "width": 3},
        "'shop.net:wide' has no argument 'zzz'.\n  Its signature is wide(width).",
    ),
    (
        "wide",
        {},
        "'shop.net:wide' cannot be called so: missing a required argument: 'width'.\n  Its signature is wide(width).",
    ),
    (
        "elsewhere",
        {},
        "'shop.net:elsewhere' raised AssertionError: Torch not compiled with CUDA enabled (shop/net.py:20).\n"
        '  Leave out .cuda() and device="cuda": the gate moves model and data itself (model.device). Inside forward '
        'write device=x.device; load files with map_location="cpu".',
    ),
]


@pytest.mark.parametrize(("name", "arguments", "message"), RAISING)
def test_what_raises(project: Path, name: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(FactoryError) as caught:
        resolve(f"shop.net:{name}", project)(**arguments)
    assert str(caught.value) == message
    assert (caught.value.__cause__ is None) == ("has no argument" in message)


def test_ctrl_c_passes(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("def build():\n    raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        resolve("slow.py:build", tmp_path)()


def test_a_long_message_is_cut(tmp_path: Path) -> None:
    (tmp_path / "wordy.py").write_text("def build():\n    raise ValueError('many words\\n' * 500)\n")
    with pytest.raises(FactoryError) as caught:
        resolve("wordy.py:build", tmp_path)()
    assert len(caught.value.fact) < 600
    assert "\n" not in caught.value.fact
