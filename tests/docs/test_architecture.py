"""The page of the architecture says what the code is: its picture, its order, its walks and its words."""

import ast
import re
import sys
import tomllib
from functools import cache
from pathlib import Path

import grimp
import pytest
from documents import DOCS, ROOT, UPDATE, first_cells, read, rows, section, write

sys.path.insert(0, str(DOCS / "images"))
import rooms

PAGE = "architecture.md"
PACKAGE = ROOT / "pfa_gate"
WALKS = [
    "A sample to its covariance",
    "A kept index to the file",
    "A limit to the printed verdict",
    "A model to its cut",
]


def test_the_picture_is_that_of_the_imports() -> None:
    text = read(PAGE)
    (shown,) = re.findall(r"^```mermaid\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    today = rooms.mermaid(rooms.imports())
    if UPDATE:
        write(PAGE, text.replace(f"```mermaid\n{shown}", f"```mermaid\n{today}"))
        shown = today
    assert shown == today


def test_arrows_that_follow_from_others_are_left_out_and_no_others() -> None:
    imports = rooms.imports()
    few = rooms.needed(imports)
    assert {room: rooms.below(room, few) for room in few} == {room: rooms.below(room, imports) for room in imports}
    without = [(room, other) for room, others in few.items() for other in others]
    for room, other in without:
        fewer = few | {room: few[room] - {other}}
        assert other not in rooms.below(room, fewer)


def test_the_rooms_stand_in_the_order_of_the_contract() -> None:
    contract, *_ = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    assert first_cells(PAGE, "The rooms") == list(reversed(contract["layers"]))


ALONE = [
    (found[1], place.strip("`"))
    for this, place in rows(section(PAGE, "Where a line lives"))
    if (found := re.match(r"`([\w.]+)`", this))
]


@pytest.mark.parametrize(("word", "place"), ALONE)
def test_it_lives_there_and_nowhere_else(word: str, place: str) -> None:
    def says(path: Path) -> bool:
        code = ast.unparse(ast.parse(path.read_text("utf-8")))
        return re.search(rf"(?<![\w\"'.]){re.escape(word)}\b|\.{re.escape(word)}\b", code) is not None

    assert [path.relative_to(PACKAGE).as_posix() for path in sorted(PACKAGE.rglob("*.py")) if says(path)] == [place]


def test_every_place_where_a_line_lives_is_there() -> None:
    places = [
        place for _, cell in rows(section(PAGE, "Where a line lives")) for place in re.findall(r"`([^`]+)`", cell)
    ]
    assert len(places) > 10
    assert [place for place in places if not (PACKAGE / place).exists()] == []


def test_the_light_side_is_the_one_that_is_tested() -> None:
    house = (ROOT / "tests" / "test_house.py").read_text("utf-8")
    (tested,) = re.findall(r"^LIGHT = (\(.*?^\))", house, re.MULTILINE | re.DOTALL)
    (told,) = re.findall(r"\*\*The light side\*\*[^:]*:(.*?)\.", section(PAGE, "Where a line lives"), re.DOTALL)
    assert re.findall(r"`(\w+)`", told) == list(dict.fromkeys(name.split(".")[0] for name in ast.literal_eval(tested)))


@cache
def imported() -> grimp.ImportGraph:
    """Who imports whom, file by file."""
    return grimp.build_graph("pfa_gate", cache_dir=None)


def module(file: str) -> str:
    """The module of a file, which stands on the page as it lies in the package."""
    return ".".join(["pfa_gate", *Path(file).with_suffix("").parts]).removesuffix(".__init__")


def reached(file: str) -> set[str]:
    """Modules that a file imports, those handed on by the `__init__` of a package too."""
    direct = set(imported().find_modules_directly_imported_by(module(file)))
    faces = {each for each in direct if (PACKAGE.parent / Path(*each.split(".")) / "__init__.py").exists()}
    return direct.union(*(imported().find_modules_directly_imported_by(face) for face in faces))


def defined(file: str) -> set[str]:
    """Names of the functions, classes and methods of a file."""
    found = set()
    for node in ast.parse((PACKAGE / file).read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
    return found


@pytest.mark.parametrize("title", WALKS)
def test_a_walk_is_short_and_passes_each_file_once(title: str) -> None:
    files = [file.strip("`") for file, *_ in rows(section(PAGE, title))]
    assert 2 < len(files) <= 6
    assert len(set(files)) == len(files)


@pytest.mark.parametrize("title", WALKS)
def test_a_walk_enters_functions_that_are_there(title: str) -> None:
    steps = [(file.strip("`"), function.strip("`")) for file, function, _ in rows(section(PAGE, title))]
    assert [step for step in steps if step[1] not in defined(step[0])] == []


@pytest.mark.parametrize("title", WALKS)
def test_each_step_of_a_walk_is_joined_to_those_before_it(title: str) -> None:
    """By an import, in one direction or the other: nobody has to guess how one file leads to the next."""
    files = [file.strip("`") for file, *_ in rows(section(PAGE, title))]
    apart = [
        file
        for number, file in enumerate(files[1:], 1)
        if not any(module(file) in reached(other) or module(other) in reached(file) for other in files[:number])
    ]
    assert apart == []


def test_the_words_of_the_code_are_classes_where_they_are_told_to_be() -> None:
    words = [(word.strip("`"), file.strip("`")) for word, file, _ in rows(section(PAGE, "Words of the code"))]
    assert len(words) > 10
    assert [(word, file) for word, file in words if word not in defined(file)] == []
