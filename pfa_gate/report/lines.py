r"""Text on its way to a terminal or a log: whatever it holds, it is shown and nothing obeys it.

Everything that the package prints passes `printable`; tests/report/test_lines.py sees to it.

PYTEST_DONT_REWRITE
"""

import re
import unicodedata

# `##[` is of GitHub, `##vso[` and `##teamcity[` are of others that took it over.
_COMMAND = re.compile(r"^(\s*):(?=:)|##(?=\w*\[)", re.MULTILINE)
_STYLE = re.compile(r"(\x1b\[[\d;]*m|\x1b\]8;;[^\x00-\x1f\x7f-\x9f]*\x1b\\)")
# Of no width: comments hold it, and it moves nothing.
_APART = "\u200b"


def clean(text: str) -> str:
    r"""A foreign text on one line: control and format characters become spaces or question marks.

    A layer may carry any name; none may move the cursor, break a row or turn the reading direction.

    Example:
        >>> clean("conv\n1\x1b[31m")
        'conv 1?[31m'
    """
    # All but a few texts; and one of megabytes, by a stranger, must not take minutes.
    if text.isprintable():
        return text
    return "".join(" " if sign.isspace() else "?" if unicodedata.category(sign)[0] == "C" else sign for sign in text)


def inert(text: str) -> str:
    """A text for a log: no line of it is a command to the runner of a workflow, which reads all that a step prints.

    The runner takes a line that begins with two colons, and `##[` wherever it stands. A look-alike has neither.

    Example:
        >>> inert("  ::error::x"), inert("a::b ##[error]")
        ('  ∶:error::x', 'a::b #♯[error]')
    """
    return _COMMAND.sub(lambda found: f"{found[1] or ''}∶" if found[0].endswith(":") else "#♯", text)


def printable(text: str, *, styled: bool = False) -> str:
    r"""A text of several lines that a terminal shows and a log keeps, and neither obeys.

    Args:
        text: foreign or with foreign names in it.
        styled: let colours and links through; what is foreign in it has been cleaned before it was given them.

    Example:
        >>> printable("Unknown key:\n  '\x1b[2J\r::stop-commands::x'\n::error::y")
        "Unknown key:\n  '?[2J ::stop-commands::x'\n∶:error::y"
        >>> printable("\x1b[1mdigits\x1b[0m", styled=True)
        '\x1b[1mdigits\x1b[0m'
    """
    lines = text.replace("\r\n", "\n").split("\n")
    return inert("\n".join(_styled(line) if styled else _plain(line) for line in lines))


def _plain(line: str) -> str:
    return _APART.join(map(clean, line.split(_APART)))


def _styled(line: str) -> str:
    return "".join(part if at % 2 else _plain(part) for at, part in enumerate(_STYLE.split(line)))
