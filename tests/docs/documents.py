"""README and docs as the tests read them: sections, fenced blocks, tables, links."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
UPDATE = os.environ.get("PFA_GATE_UPDATE_GOLDEN") == "1"
_FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the number of the line on which it begins."""

    page: Path
    kind: str
    text: str
    line: int

    def __str__(self) -> str:
        return f"{named(self.page)}:{self.line}"


def pages() -> list[Path]:
    """README, then every page of docs."""
    return [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]


def texts() -> list[Path]:
    """All that is written for people: the pages, the rules of the house, and what the example says of itself."""
    return [*pages(), ROOT / ".github" / "CONTRIBUTING.md", ROOT / "example_project" / "README.md"]


def read(name: str) -> str:
    """Text of a page: "README.md", or one of docs by its name."""
    return place(name).read_text("utf-8")


def place(name: str) -> Path:
    """Where a page is; the index of docs is "docs/README.md"."""
    return ROOT / name if name.endswith("README.md") else DOCS / name


def write(name: str, text: str) -> None:
    """Replace a page."""
    place(name).write_text(text, encoding="utf-8", newline="\n")


def named(page: Path) -> str:
    """A page as tests are called by it."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    text = page.read_text("utf-8")
    return [
        Block(
            page,
            found[2],
            re.sub(rf"^{found[1]}", "", found[3], flags=re.MULTILINE),
            text.count("\n", 0, found.start()) + 1,
        )
        for found in _FENCED.finditer(text)
    ]


def every_block(kind: str) -> list[Block]:
    """The fenced blocks of one language in all pages."""
    return [block for page in pages() for block in blocks(page) if block.kind == kind]


def prose(text: str) -> str:
    """A text without its fenced blocks."""
    return _FENCED.sub("", text)


def section(page: str, title: str) -> str:
    """What stands below a heading of a page, up to the next heading of any level."""
    found = re.search(rf"^#{{1,4}} {re.escape(title)}\n(.*?)(?=^#{{1,4}} |\Z)", read(page), re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no section {title!r}"
    return found[1]


def rows(text: str) -> Iterator[list[str]]:
    """Cells of every row of the tables in a text, heads left out."""
    for table in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        for line in table.splitlines()[2:]:
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def first_cells(page: str, title: str) -> list[str]:
    """The first cell of each row in a section, without code marks."""
    return [cells[0].strip("`") for cells in rows(section(page, title))]


def anchors(text: str) -> set[str]:
    """The fragments by which GitHub links to the headings of a page."""
    seen: dict[str, int] = {}
    found = set()
    for heading in re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w -]", "", plain.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if slug in seen else slug)
        seen[slug] = seen.get(slug, 0) + 1
    return found


def links(text: str) -> list[str]:
    """Targets of all links and pictures outside of fenced blocks."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(text))
