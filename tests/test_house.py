"""The rules of this house that a machine can judge; `.github/CONTRIBUTING.md` has them in words."""

import ast
import doctest
import importlib
import os
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from importlinter.cli import lint_imports

import pfa_gate

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "pfa_gate").rglob("*.py"))
MODULES = ["pfa_gate", *(module.name for module in pkgutil.walk_packages(pfa_gate.__path__, "pfa_gate."))]
LIGHT = (
    "errors",
    "files",
    "redundancy",
    "config",
    "torchrun",
    "budget",
    "record",
    "report",
    "report.terminal",
    "report.markdown",
    "report.html",
    "report.history",
    "report.ci",
    "report.command",
    "cache",
    "plugin",
    "plugin.run_plan",
    "plugin.torchrun",
    "plugin.session",
    "plugin.github_actions",
    "github",
    "github.pull_requests",
)
VAGUE = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc", "core"}
# Words that were names here once, and that only their authors understood.
PRIVATE = {
    "hands",
    "crew",
    "mend",
    "foresee",
    "shelf",
    "lesson",
    "told",
    "dealt",
    "deal",
    "blame",
    "wish",
    "spool",
    "behind",
    "again",
}
MOST_FILES = 420
Function = ast.FunctionDef | ast.AsyncFunctionDef


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def loaded_after(code: str) -> set[str]:
    """Names of all modules that a fresh interpreter holds after `code`."""
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(parsed(path)))


def functions(path: Path) -> Iterator[Function]:
    return (node for node in nodes(path) if isinstance(node, Function))


def length(function: Function) -> int:
    return (function.end_lineno or 0) - function.lineno + 1


def parameters(function: Function) -> int:
    given = function.args
    names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def test_a_file_imports_only_from_the_rooms_above_it(capsys: pytest.CaptureFixture[str]) -> None:
    status = lint_imports(str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True)
    assert status == 0, capsys.readouterr().out


def test_light_rooms_import_neither_torch_nor_numpy() -> None:
    """All of them in one process, which takes as long as one; what fails is looked for room by room."""
    heavy = {"torch", "numpy", "scipy", "safetensors"}
    if not heavy.isdisjoint(loaded_after("\n".join(f"import pfa_gate.{room}" for room in LIGHT))):
        guilty = [room for room in LIGHT if not heavy.isdisjoint(loaded_after(f"import pfa_gate.{room}"))]
        pytest.fail(f"These import torch, NumPy or their like: {guilty}.")


def test_the_public_page_is_lazy() -> None:
    assert loaded_after("import pfa_gate") - loaded_after("import typing") == {"pfa_gate"}
    page = loaded_after("import pfa_gate; pfa_gate.ConfigError; dir(pfa_gate)")
    assert {name for name in page if name.startswith("pfa_gate")} == {"pfa_gate", "pfa_gate.errors"}


@pytest.mark.parametrize("name", pfa_gate.__all__)
def test_every_name_of_the_public_page_is_there_and_explained(name: str) -> None:
    assert getattr(pfa_gate, name).__doc__


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name: str) -> None:
    module: ModuleType = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0, f"{result.failed} of {result.attempted} examples; pytest shows them above"


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_files_fit_in_the_head(path: Path) -> None:
    long = [f"{each.name} {length(each)} lines" for each in functions(path) if length(each) > 50]
    many = [f"{each.name} {parameters(each)} parameters" for each in functions(path) if parameters(each) > 5]
    assert (long, many) == ([], [])
    lines = path.read_text("utf-8").count("\n")
    assert lines <= 300


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_names_say_what_is_inside(path: Path) -> None:
    parts = {part for name in path.relative_to(ROOT).with_suffix("").parts for part in name.lower().split("_")}
    assert parts.isdisjoint(VAGUE | PRIVATE)


def classes(path: Path) -> list[str]:
    return [node.name for node in nodes(path) if isinstance(node, ast.ClassDef)]


def test_no_two_classes_share_a_name() -> None:
    """A reader who meets a name in an import must know which one it is."""
    places: dict[str, list[str]] = {}
    for path in SOURCES:
        for name in classes(path):
            places.setdefault(name, []).append(named(path))
    assert len(places) > 100
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def defines(statement: ast.stmt) -> bool:
    """Whether a statement of a package's face is more than its docstring, an import or its list of names."""
    if isinstance(statement, ast.Assign):
        return [ast.unparse(each) for each in statement.targets] != ["__all__"]
    return not isinstance(statement, ast.Import | ast.ImportFrom | ast.Expr)


# The lazy page of the package, and the hooks that pytest looks for on the plugin's own module.
OPEN_FACES = {"pfa_gate/__init__.py", "pfa_gate/plugin/__init__.py"}


@pytest.mark.parametrize("path", [each for each in SOURCES if each.name == "__init__.py"], ids=named)
def test_a_face_hands_on_and_defines_nothing(path: Path) -> None:
    if named(path) in OPEN_FACES:
        assert length_of(path) <= 130
    else:
        assert [ast.unparse(each)[:60] for each in parsed(path).body if defines(each)] == []


def length_of(path: Path) -> int:
    return path.read_text("utf-8").count("\n")


def test_the_package_is_small_enough_to_walk_through() -> None:
    assert len(SOURCES) <= MOST_FILES


def test_asserts_are_for_tests() -> None:
    """`python -O` drops them, and pytest rewrites those of a plugin: a check of ours raises an error of its own."""
    found = [f"{named(path)}:{node.lineno}" for path in SOURCES for node in nodes(path) if isinstance(node, ast.Assert)]
    assert found == []


def test_a_program_may_import_the_package_before_it_starts_pytest(tmp_path: Path) -> None:
    """Pytest warns of a plugin that it can no longer rewrite, unless the package says that it need not be."""
    (tmp_path / "test_one.py").write_text("def test_one():\n    assert True\n")
    code = "import sys, pytest, pfa_gate; sys.exit(pytest.main(['-q', '-W', 'error', 'test_one.py']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


FUNCTIONS_OF_THE_PAGE = [name for name in pfa_gate.__all__ if not name.endswith("Error")]


@pytest.mark.parametrize("name", FUNCTIONS_OF_THE_PAGE)
def test_the_public_page_is_documented_whole(name: str) -> None:
    """What goes in, and an example, which `test_examples_in_docstrings_are_true` runs."""
    function = getattr(pfa_gate, name)
    text = function.__doc__
    assert [part for part in ("Args:", "Example:", ">>>") if part not in text] == []
    for parameter, kind in function.__annotations__.items():
        if parameter != "return" and any(word in str(kind) for word in ("NDArray", "ArrayLike", "Tensor")):
            assert "[" in text.split(f"{parameter}:")[1].split("\n")[0], f"the shape of {parameter}"


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_what_is_public_is_explained(path: Path) -> None:
    tree = parsed(path)
    assert ast.get_docstring(tree)
    public = [node for node in tree.body if isinstance(node, Function | ast.ClassDef) and node.name[0] != "_"]
    methods = [
        node
        for owner in public
        if isinstance(owner, ast.ClassDef)
        for node in owner.body
        if isinstance(node, Function) and node.name[0] != "_"
    ]
    assert [node.name for node in (*public, *methods) if not ast.get_docstring(node)] == []


def blocks(node: ast.AST) -> Iterator[list[ast.stmt]]:
    """Lists of statements below a node, but for those of functions and classes inside it."""
    for name in ("body", "orelse", "finalbody"):
        if isinstance(block := getattr(node, name, None), list):
            yield block
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, Function | ast.Lambda | ast.ClassDef):
            yield from blocks(child)


def asks(statement: ast.stmt) -> bool:
    """Whether a statement of a test can fail it: an assertion, or an exception that has to come."""
    return isinstance(statement, ast.Assert) or (isinstance(statement, ast.With) and "raises" in ast.dump(statement))


def test_no_test_returns_before_it_has_asked_something() -> None:
    """A case that returns at once is reported as passed: leave it out of the parameters instead."""
    tests = [
        (path, each)
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for each in functions(path)
        if each.name.startswith("test")
    ]
    assert len(tests) > 1000
    returning = [
        f"{named(path)}::{test.name}"
        for path, test in tests
        for block in blocks(test)
        for place, statement in enumerate(block)
        if isinstance(statement, ast.Return) and not any(map(asks, block[:place]))
    ]
    assert returning == []


def written() -> list[Path]:
    """Every text that git holds, or would."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True)
    paths = [ROOT / name for name in done.stdout.split("\0") if name and not name.endswith((".png", ".safetensors"))]
    return [path for path in paths if path.is_file()]


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    # Written apart, so that this file does not name one either.
    places = [f"/{folder}/" for folder in ("work", "root", "home", "opt", "Users")] + [str(ROOT) + os.sep]
    texts = {named(path): path.read_text("utf-8") for path in written()}
    assert len(texts) > 100
    assert {name: place for name, text in texts.items() for place in places if place in text} == {}


def test_no_two_test_files_share_a_name() -> None:
    """Tests import each other's fixtures by plain names, so pytest would refuse the second of two namesakes."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))
