"""How a terminal report looks: its width, its signs and its styles."""

from dataclasses import dataclass

from rich.text import Text

from pfa_gate.budget import Outcome
from pfa_gate.report.formatting import Glyphs
from pfa_gate.report.terminal.grid import wrapped
from pfa_gate.report.text import clean

STYLES: dict[Outcome, str] = {"kept": "green", "broken": "bold red", "not judged": "yellow"}
BADGES: dict[Outcome, str] = {
    "kept": "bold black on green",
    "broken": "bold white on red",
    "not judged": "bold black on yellow",
}
HEADING = "bold"
QUIET = "dim"
SPECTRUM = "cyan"


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
