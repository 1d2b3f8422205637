"""How a terminal report is laid out: its width, signs and styles, and text in columns in which no cell is wrapped."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from pfa_gate.budget import Outcome
from pfa_gate.report.formatting import Glyphs
from pfa_gate.report.text import clean, fitting_start
from pfa_gate.report.text import shorten as shorten_to

GAP = 2
_LINES = 3  # of one word
STYLES: dict[Outcome, str] = {"kept": "green", "broken": "bold red", "not judged": "yellow"}
BADGES: dict[Outcome, str] = {
    "kept": "bold black on green",
    "broken": "bold white on red",
    "not judged": "bold black on yellow",
}
HEADING = "bold"
QUIET = "dim"
SPECTRUM = "cyan"


def shorten(text: str, width: int, dots: str) -> str:
    """A name of at most `width` terminal cells, shortened in the middle.

    Example:
        >>> shorten("encoder.layers.11.mlp.fc1", 16, "…")
        'encoder….mlp.fc1'
    """
    return shorten_to(text, width, dots, cell_len)


def widths(rows: Sequence[Sequence[Text]]) -> list[int]:
    """The width in terminal cells of each column.

    Example:
        >>> widths([[Text("a"), Text("bcd")], [Text("ef"), Text("g")]])
        [2, 3]
    """
    return [max(cell.cell_len for cell in column) for column in zip(*rows, strict=True)]


def lay_out(rows: Sequence[Sequence[Text]], align: str) -> list[Text]:
    """One line per row, columns two cells apart.

    Args:
        rows: cells, all rows of one length.
        align: one letter per column, `l` or `r`.

    Example:
        >>> [line.plain for line in lay_out([[Text("stem"), Text("9")], [Text("conv1"), Text("12")]], "lr")]
        ['stem    9', 'conv1  12']
    """
    columns = widths(rows) if rows else []
    return [_line(row, columns, align) for row in rows]


def _line(row: Sequence[Text], columns: Sequence[int], align: str) -> Text:
    line = Text()
    for index, (cell, width, side) in enumerate(zip(row, columns, align, strict=True)):
        padding = " " * (width - cell.cell_len)
        line.append(" " * GAP if index else "")
        line.append_text(Text.assemble(padding, cell) if side == "r" else Text.assemble(cell, padding))
    line.rstrip()
    return line


def wrapped(text: str, width: int, indent: int, dots: str) -> list[str]:
    """A sentence broken between words into lines of at most `width` cells, each indented.

    A word too long for a line is broken; one too long for three lines is shortened in the middle.

    Example:
        >>> wrapped("two layers are too redundant", 16, 2, "…")
        ['  two layers are', '  too redundant']
    """
    room = max(1, width - indent)
    lines = [""]
    words = (shorten(word, _LINES * room, dots) for word in text.split())
    for word in (piece for whole in words for piece in _pieces(whole, room)):
        longer = f"{lines[-1]} {word}".lstrip()
        if cell_len(longer) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return [" " * indent + line for line in lines if line]


def _pieces(word: str, room: int) -> Iterator[str]:
    while cell_len(word) > room:
        piece = fitting_start(word, room, cell_len) or word[0]
        yield piece
        word = word[len(piece) :]
    yield word


@dataclass(frozen=True)
class Look:
    """What a section has to know about the terminal.

    Attributes:
        width: terminal cells in a line.
        glyphs: the signs to use.
        verbosity: as `pytest -v` counts it; -1 for `-q`.
    """

    width: int
    glyphs: Glyphs
    verbosity: int

    def heading(self, title: str, aside: str = "") -> list[Text]:
        """A blank line and a section's title, with a remark if it fits."""
        line = Text(title, HEADING)
        if aside and len(title) + 2 + len(aside) <= self.width:
            line = Text.assemble(line, "  ", (aside, QUIET))
        return [Text(), line]

    def sentence(self, text: str, indent: int, style: str = "") -> list[Text]:
        """A sentence in lines that fit."""
        lines = wrapped(clean(text), self.width, indent, self.glyphs.dots)
        return [Text(line, style) for line in lines]
