"""What holds for every page: its links lead somewhere, its blocks are tested, figures are in benchmarks.md."""

import re
from pathlib import Path

import pytest
from documents import DOCS, anchors, blocks, links, named, pages, prose, read, rows, texts

TESTED = {
    "bash": "test_commands.py",
    "mermaid": "test_architecture.py",
    "python": "test_examples.py",
    "text": "test_examples.py",
    "toml": "test_examples.py",
    "yaml": "test_yaml.py",
}
"""Which test executes or validates the blocks of a language."""
_FIGURE = re.compile(r"\*{0,2}[-+±]?\d[\d.,]*( [a-zA-Z]{1,3}|%| %)?([ (,±/].*)?\*{0,2}")


@pytest.mark.parametrize("page", texts(), ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page.read_text("utf-8")):
        place, _, fragment = target.partition("#")
        if not re.match(r"https?:", place):
            path = (page.parent / place).resolve() if place else page
            assert path.exists(), target
            assert not fragment or fragment in anchors(path.read_text("utf-8")), target


@pytest.mark.parametrize("page", pages(), ids=named)
def test_every_block_is_of_a_language_that_is_tested(page: Path) -> None:
    for block in blocks(page):
        assert block.kind in TESTED, block
        assert (Path(__file__).parent / TESTED[block.kind]).is_file()


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=named)
def test_a_page_begins_with_what_it_answers(page: Path) -> None:
    title, _, first = page.read_text("utf-8").split("\n")[:3]
    assert re.fullmatch(r"# \S.*", title)
    assert first.startswith("This page ")


def test_the_index_has_every_page() -> None:
    assert {DOCS / target.split("#")[0] for target in links(read("docs/README.md")) if "/" not in target} == {
        page for page in DOCS.glob("*.md") if page.name != "README.md"
    }


def test_the_readme_fits_in_the_head() -> None:
    assert read("README.md").count("\n") <= 220


def tables_of_figures(text: str) -> list[str]:
    """The heads of tables most of whose cells, but for the first of each row, are measured numbers."""
    found = []
    for table in re.findall(r"(?:^\|.*\|\n)+", prose(text), re.MULTILINE):
        cells = [cell for row in rows(table) for cell in row[1:]]
        if sum(bool(_FIGURE.fullmatch(cell)) for cell in cells) * 2 > len(cells):
            found.append(table.splitlines()[0])
    return found


def test_tables_of_figures_are_in_the_benchmarks() -> None:
    assert len(tables_of_figures(read("benchmarks.md"))) > 10
    others = [page for page in pages() if page.name != "benchmarks.md"]
    assert [found for page in others for found in tables_of_figures(page.read_text("utf-8"))] == []


def test_every_table_of_figures_says_where_it_comes_from() -> None:
    sections = re.split(r"^##+ ", read("benchmarks.md"), flags=re.MULTILINE)
    having = [each for each in sections if tables_of_figures(each)]
    assert len(having) > 10
    wanted = ["Command", "Date", "Machine", "Version"]
    assert {each.splitlines()[0]: re.findall(r"^- (\w+): ", each, re.MULTILINE) for each in having} == {
        each.splitlines()[0]: wanted for each in having
    }
