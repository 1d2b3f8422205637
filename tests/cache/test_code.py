"""A verdict is kept under the code that was loaded, and only where that can be told."""

import importlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pfa_gate.cache import code as room
from pfa_gate.cache.code import Code
from pfa_gate.cache.imports import FileState, Imports, file_of, file_state
from pfa_gate.config.paths import importable

Measured = Callable[..., tuple[dict[str, Any], str]]


def write(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


@pytest.fixture
def imports() -> Iterator[Imports]:
    watched = Imports()
    watched.start()
    yield watched
    watched.stop()


# Python, the packages of this environment, and this repository.
OURS = (*map(Path, (sys.prefix, sys.base_prefix)), Path(__file__).parents[2])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    for name, module in list(sys.modules.items()):
        file = Path(file_of(module))
        # the conftest of these very tests, and what gates of earlier tests loaded from projects of their own
        if file.name == "conftest.py" or (file.is_absolute() and not any(map(file.is_relative_to, OURS))):
            monkeypatch.delitem(sys.modules, name)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def code(project: Path, imports: Imports) -> Code:
    return Code(["zoo_net:build"], project, b"factory: zoo_net:build", imports=imports)


def load(*modules: str) -> None:
    """As a gate or a test does."""
    with importable(Path.cwd()):
        for name in modules:
            importlib.import_module(name)


def measured(code: Code, *modules: str, meanwhile: Callable[[], object] = lambda: None) -> tuple[dict[str, Any], str]:
    code.begin()
    load(*(modules or ("zoo_net",)))
    meanwhile()
    return code.end()


def names(evidence: dict[str, Any]) -> set[str]:
    return {os.path.relpath(path) for path in evidence["files"]}


def edited(path: str) -> None:
    Path(path).write_text(Path(path).read_text() + "\n")


def test_everything_that_was_imported_counts_and_nothing_else(project: Path, code: Code) -> None:
    write(
        project,
        {
            "zoo_net.py": "from zoo import *\nimport zoo_lazy.far",
            "zoo/__init__.py": "__all__ = ['inner']\nfrom . import impl",
            "zoo/inner.py": "",
            "zoo/impl.py": "raise RuntimeError('Python loads the package')",
            "zoo/impl/__init__.py": "",
            "zoo/unused.py": "",
            "zoo_lazy/far.py": "",
            "test_zoo.py": "",
        },
    )
    evidence, why = measured(code)
    assert why == ""
    loaded = {"zoo_net.py", "zoo/__init__.py", "zoo/inner.py", "zoo/impl/__init__.py", "zoo_lazy/far.py"}
    assert names(evidence) == loaded
    assert code.holds(evidence)
    for name in ("zoo/unused.py", "zoo/impl.py", "test_zoo.py"):
        edited(name)
    assert code.holds(evidence)
    for name in loaded:
        text = Path(name).read_text()
        edited(name)
        assert not code.holds(evidence), name
        Path(name).write_text(text)
        assert code.holds(evidence)


@pytest.mark.parametrize(
    "new",
    [
        "zoo_inner/__init__.py",  # a package comes before a module
        "zoo/impl/__init__.py",
        "zoo_space/__init__.py",  # a package comes before a folder without one
        "zoo_fast.py",  # was asked for and not there
        "zoo/fast.py",
        "lib/zoo_net.py",  # in a folder that the code itself adds to sys.path
    ],
)
def test_a_new_file_that_python_would_load_instead_is_measured(project: Path, code: Code, new: str) -> None:
    optional = "try:\n    import {}\nexcept ImportError:\n    pass\n"
    path = "import sys\nsys.path.append('lib')\n"
    write(
        project,
        {
            "zoo_net.py": f"{path}import zoo_inner, zoo.impl, zoo_space.far\n" + optional.format("zoo_fast"),
            "zoo_inner.py": "",
            "zoo/__init__.py": optional.format("zoo.fast"),
            "zoo/impl.py": "",
            "zoo_space/far.py": "",
            "lib/zoo_elsewhere.py": "",
        },
    )
    evidence, why = measured(code)
    assert why == ""
    assert code.holds(evidence)
    write(project, {"zoo_else.py": "", "zoo/other.py": ""})
    assert code.holds(evidence)
    write(project, {new: ""})
    assert not code.holds(evidence)


def test_where_modules_are_looked_for_counts(
    project: Path, code: Code, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    write(project, {"zoo_net.py": "import zoo_inner", "zoo_inner.py": ""})
    evidence, _ = measured(code)
    other = tmp_path_factory.mktemp("other")
    monkeypatch.syspath_prepend(other)
    assert code.holds(evidence)
    write(other, {"zoo_inner.py": ""})
    assert not code.holds(evidence)


def test_the_next_process_says_the_same_and_loads_nothing(project: Path, code: Code) -> None:
    write(project, {"zoo_net.py": "import zoo.inner", "zoo/inner.py": ""})
    evidence, _ = measured(code)
    script = f"""
import sys
from pathlib import Path
from pfa_gate.cache.code import Code
print(Code(["zoo_net:build"], Path.cwd()).holds({evidence!r}))
print({{"zoo", "zoo_net", "torch", "numpy"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "True\nset()\n"


CHANGED = "zoo_net.py may have changed since it was imported"


@pytest.mark.parametrize("text", ["import zoo.inner\n", "import zoo.inner"])
def test_what_is_edited_while_the_gate_runs_is_not_kept(project: Path, code: Code, text: str) -> None:
    write(project, {"zoo_net.py": "import zoo.inner", "zoo/inner.py": ""})
    # Saved once more is enough, with the same text too: what was there in between is not known.
    evidence, why = measured(code, meanwhile=lambda: Path("zoo_net.py").write_text(text))
    assert (evidence, why) == ({}, CHANGED)


def test_what_is_edited_and_put_back_is_not_kept(project: Path, code: Code) -> None:
    write(project, {"zoo_net.py": ""})
    times = os.stat("zoo_net.py")

    def meanwhile() -> None:
        edited("zoo_net.py")
        Path("zoo_net.py").write_text("")
        os.utime("zoo_net.py", ns=(times.st_atime_ns, times.st_mtime_ns))

    assert measured(code, meanwhile=meanwhile)[1] == CHANGED


def test_a_module_of_an_earlier_run_that_was_edited_since_is_not_kept(project: Path, code: Code) -> None:
    write(project, {"zoo_net.py": "import zoo_inner", "zoo_inner.py": ""})
    assert measured(code)[1] == ""
    code.imports.stop()
    edited("zoo_inner.py")
    code.imports.start()
    assert measured(code)[1] == CHANGED.replace("net", "inner")
    # A reload brings the new text, but the modules that took names from the old one are not known.
    with importable(project):
        importlib.reload(sys.modules["zoo_inner"])
    assert measured(code)[1] == CHANGED.replace("net", "inner")


def test_a_lone_file_counts_from_the_moment_it_is_read(project: Path, imports: Imports) -> None:
    write(project, {"net.py": "import zoo_inner", "zoo_inner.py": ""})
    code = Code(["net.py:build"], project, imports=imports)
    name = "_zoo_net_of_its_own"

    def load_file() -> None:
        spec = importlib.util.spec_from_file_location(name, project / "net.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        with importable(project):
            spec.loader.exec_module(sys.modules[name])

    code.begin()
    load_file()
    evidence, why = code.end()
    assert (names(evidence), why) == ({"net.py", "zoo_inner.py"}, "")
    # Another gate of the run finds it loaded.
    code.begin()
    assert code.end() == (evidence, "")
    edited("net.py")
    assert not code.holds(evidence)
    code.begin()
    assert code.end() == ({}, CHANGED.replace("zoo_", ""))


def test_what_nobody_watched_is_kept_only_if_it_is_older_than_the_process(
    project: Path, code: Code, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project, {"zoo_net.py": ""})
    code.imports.stop()
    load("zoo_net")
    assert measured(code)[1] == CHANGED
    monkeypatch.setattr("pfa_gate.cache.imports._BEGAN", Path("zoo_net.py").stat().st_ctime_ns + 1)
    assert measured(code)[1] == ""
    monkeypatch.setattr("pfa_gate.cache.imports._BEGAN", None)  # a system that does not say
    assert measured(code)[1] == CHANGED


def test_old_bytecode_under_a_new_text_is_not_kept(project: Path, code: Code) -> None:
    # Python compares size and second: an edit that changes neither runs the old text.
    write(project, {"zoo_net.py": "WIDTH = 8"})
    importlib.import_module("py_compile").compile("zoo_net.py")
    times = os.stat("zoo_net.py")
    write(project, {"zoo_net.py": "WIDTH = 9"})
    os.utime("zoo_net.py", ns=(times.st_atime_ns, times.st_mtime_ns))
    evidence, why = measured(code)
    assert sys.modules["zoo_net"].WIDTH == 8
    assert (evidence, why) == ({}, CHANGED)


def test_a_module_that_is_gone_or_has_no_file_is_not_kept(project: Path, code: Code) -> None:
    gone = "the code of zoo_net:build is not loaded any more"
    write(project, {"zoo_net.py": ""})
    assert measured(code, meanwhile=lambda: sys.modules.pop("zoo_net"))[1] == gone
    assert measured(code, meanwhile=Path("zoo_net.py").unlink)[1] == "zoo_net.py cannot be read"


def test_a_module_that_came_too_late_is_not_kept(project: Path, code: Code) -> None:
    write(project, {"zoo_net.py": "try:\n    import zoo_fast\nexcept ImportError:\n    pass\n"})
    told = "the module zoo_fast was asked for before it was there"
    assert measured(code, meanwhile=lambda: write(project, {"zoo_fast.py": ""})) == ({}, told)


def test_what_tests_have_loaded_counts_where_its_name_is_written(project: Path, code: Code) -> None:
    others = {"zoo_test.py": "import zoo_gadget, zoo.inner", "zoo_gadget.py": "", "conftest.py": ""}
    write(project, {"zoo_net.py": "from zoo import inner", "zoo/__init__.py": "", "zoo/inner.py": "", **others})
    load("zoo_net", "zoo_test", "conftest")
    expected = {"zoo_net.py", "zoo/__init__.py", "zoo/inner.py", "conftest.py"}
    assert names(measured(code)[0]) == expected
    edited("zoo_net.py")  # for the case that follows; it was loaded already
    sys.modules.pop("zoo_net")
    code.imports.files.pop(str(project / "zoo_net.py"))
    write(
        project, {"zoo_net.py": "import importlib\nfor name in ('gad' 'get',): importlib.import_module('zoo_' + name)"}
    )
    evidence, reason = measured(code)
    assert reason == ""
    assert names(evidence) > {*expected, "zoo_test.py", "zoo_gadget.py"}


def test_a_watched_file_that_early_code_may_have_read_is_not_kept(
    project: Path, imports: Imports, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project, {"zoo_net.py": "", "widths.json": "[8]"})
    code = Code(["zoo_net:build"], project, watched=[project / "widths.json"], imports=imports)
    assert measured(code)[1] == ""  # the gate itself loads what reads it
    told = "widths.json may have changed since the code that reads it was loaded"
    assert measured(code) == ({}, told)
    monkeypatch.setattr("pfa_gate.cache.imports._BEGAN", Path("widths.json").stat().st_ctime_ns + 1)
    assert measured(code)[1] == ""


def test_a_package_that_is_installed_anew_counts_though_its_version_stays(
    project: Path, code: Code, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = project / "lib" / "site-packages"
    info = {"zoo_info-1.dist-info/RECORD": "zoo_made/__init__.py,sha256=a,1\nzoo_made/inner.py,sha256=b,1\n"}
    write(site, {"zoo_made/__init__.py": "", "zoo_made/inner.py": "", "zoo_loose.py": "", **info})
    write(project, {"zoo_net.py": "import zoo_made, zoo_loose"})
    monkeypatch.syspath_prepend(site)
    code.imports.began = file_state(site / "zoo_info-1.dist-info" / "RECORD").newest + 1
    evidence, why = measured(code)
    assert why == ""
    own = {os.path.relpath(path, site) for path in evidence["packages"] if path.startswith(str(site))}
    assert own == {"zoo_info-1.dist-info/RECORD", "zoo_loose.py"}
    edited(f"{site}/zoo_made/inner.py")  # by hand, behind the installer's back: not seen
    assert code.holds(evidence)
    edited(f"{site}/zoo_info-1.dist-info/RECORD")
    assert not code.holds(evidence)
    record = site / "zoo_info-1.dist-info" / "RECORD"
    assert measured(code) == ({}, f"the package of {record} may have changed since it was imported")


def test_a_state_tells_a_rewrite_and_a_new_link(project: Path) -> None:
    write(project, {"a": "1", "b": "1"})
    os.symlink("a", "link")
    before = file_state("link")
    assert isinstance(before, FileState)
    assert before == file_state("link")
    os.unlink("link")
    os.symlink("b", "link")
    assert file_state("link") != before
    assert file_state("gone") is None


def test_the_watch_leaves_imports_as_they_were(project: Path, imports: Imports) -> None:
    write(project, {"zoo_net.py": "import zoo_none"})
    with pytest.raises(ModuleNotFoundError, match="No module named 'zoo_none'"):
        load("zoo_net")
    assert imports.missing["zoo_none"] is None
    imports.start()
    assert [each for each in sys.meta_path if isinstance(each, Imports)].count(imports) == 1
    imports.stop()
    imports.stop()
    assert imports not in sys.meta_path
    assert room.IMPORTS is not imports
