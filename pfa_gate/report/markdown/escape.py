"""Foreign text in Markdown: it is shown, and nothing in it is markup, a mention, a reference or a link."""

import re

from pfa_gate.report.view import clean, shorten

LONGEST_NAME = 80
LONGEST_SENTENCE = 600
_MARKUP = re.compile(r"([\\`*_\[\]!~|$])")
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
# A sign of no width keeps apart what the host of a comment would join to a mention, a reference or an address.
_APART = "\u200b"
_JOINED = re.compile(r"([@#]|:(?=//)|\bwww(?=\.)|\bGH(?=-\d))", re.IGNORECASE)


def code(name: str, length: int = LONGEST_NAME) -> str:
    """A name as code: nothing in a span of code is markup, a mention or a link, in a table or outside.

    A vertical bar becomes a look-alike: within a table no escape of it survives every reader. The opening of a
    comment is kept apart, so that no name can pass for one of the markers that comments are found by.

    Example:
        >>> code("conv1"), code("a`b|c"), code("")
        ('`conv1`', '``a`b│c``', '(no name)')
    """
    text = shorten(" ".join(clean(name).split()), length).replace("|", "│").replace("<!", f"<{_APART}!")
    if not text:
        return "(no name)"
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " if text[0] == "`" or text[-1] == "`" else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def prose(text: str, length: int = LONGEST_SENTENCE) -> str:
    r"""A sentence that may hold foreign names, as text and nothing else.

    Example:
        >>> prose("a<b> | *c*")
        'a&lt;b&gt; \\| \\*c\\*'
        >>> prose("@everyone")
        '@\u200beveryone'
    """
    plain = shorten(" ".join(clean(text).split()), length)
    return _MARKUP.sub(r"\\\1", _JOINED.sub(rf"\1{_APART}", plain.translate(_ENTITIES)))


def units(text: str) -> int:
    """Length as the host of a comment counts it: UTF-16 code units.

    Example:
        >>> units("a"), units("😀")
        (1, 2)
    """
    return len(text.encode("utf-16-le")) // 2
