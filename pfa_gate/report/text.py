r"""Foreign text on its way to people: made harmless, made to fit, and names kept distinct.

Everything that the package prints passes `printable`; tests/report/test_text.py checks it.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile

Width = Callable[[str], int]

# `##[` is of GitHub, `##vso[` and `##teamcity[` are of others that took it over.
_COMMAND = re.compile(r"^(\s*):(?=:)|##(?=\w*\[)", re.MULTILINE)
_STYLE = re.compile(r"(\x1b\[[\d;]*m|\x1b\]8;;[^\x00-\x1f\x7f-\x9f]*\x1b\\)")
# Of no width: comments hold it, and it moves nothing.
_APART = "\u200b"
_TRIALS = 100_000  # cuts of a name that are tried, all names together


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
    return _COMMAND.sub(lambda match: f"{match[1] or ''}∶" if match[0].endswith(":") else "#♯", text)


def printable(text: str, *, styled: bool = False) -> str:
    r"""A text of several lines without commands that a terminal or the reader of a log would obey.

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


def shorten(text: str, room: int, dots: str = "…", width: Width = len) -> str:
    """A text of at most `room` cells, shortened in the middle; layers often differ in their ends.

    Args:
        text: of any length.
        room: in cells.
        dots: what stands for the part that is left out.
        width: of a text, in cells.

    Example:
        >>> shorten("encoder.layers.11.mlp.fc1", 16), shorten("stem", 16)
        ('encoder….mlp.fc1', 'stem')
    """
    if width(text) <= room:
        return text
    left = max(0, room - width(dots))
    return _cut(text, left // 2, left - left // 2, dots, width) if left else dots[: max(0, room)]


def distinct(names: Iterable[str], room: int, dots: str = "…", width: Width = len) -> Mapping[str, str]:
    """Each name in at most `room` cells, cut such that names stay distinct.

    Names that fit stay as they are. All others lose a part at one place, in the middle where that tells them apart.
    Those that would still look alike keep the part in which they differ; where even that has no room, their number.

    Args:
        names: all that a reader could mix up, whether they are shown or not.
        room: cells; at least 8, or many names cannot be distinguished.
        dots: what stands for a part that is left out.
        width: of a text, in cells.

    Example:
        >>> layers = [f"distilbert.transformer.layer.{i}.attention.{kind}_lin" for i in range(6) for kind in "qkv"]
        >>> list(distinct([*layers, "head"], 21).values())[::6]
        ['dis…0.attention.q_lin', 'dis…2.attention.q_lin', 'dis…4.attention.q_lin', 'head']
        >>> list(distinct([f"backbone.{i}.residual.block.attention" for i in range(2)], 16).values())
        ['backbone.0…ntion', 'backbone.1…ntion']
    """
    known = list(dict.fromkeys(names))
    shown = {name: name for name in known if width(name) <= room}
    long = [name for name in known if name not in shown]
    if long:
        cuts = _one_place(long, set(shown.values()), room, dots, width)
        for alike in _alike(cuts, set(shown.values())):
            cuts |= _where_they_differ(alike, room, dots, width)
        shown |= cuts
        counts = Counter(shown.values())
        for number, name in enumerate(known, start=1):
            if name in cuts and counts[shown[name]] > 1:
                shown[name] = _numbered(name, number, room, dots, width)
    return {name: shown[name] for name in known}


def _one_place(long: Sequence[str], taken: set[str], room: int, dots: str, width: Width) -> dict[str, str]:
    """All names cut at one place: the nearest to their middle at which the fewest look alike."""
    left = max(0, room - width(dots))
    best: dict[str, str] = {}
    fewest = len(long) + 1
    step = 1 + len(long) * left // _TRIALS
    for front in sorted(range(left // 2 % step, left + 1, step), key=lambda front: (abs(front - left // 2), front)):
        cuts = {name: _cut(name, front, left - front, dots, width) for name in long}
        alike = sum(map(len, _alike(cuts, taken)))
        if alike < fewest:
            best, fewest = cuts, alike
        if not alike:
            break
    return best


def _alike(cuts: Mapping[str, str], taken: set[str]) -> list[list[str]]:
    """Names that look alike, group by group."""
    groups: dict[str, list[str]] = {}
    for name, text in cuts.items():
        groups.setdefault(text, []).append(name)
    return [group for text, group in groups.items() if len(group) > 1 or text in taken]


def _where_they_differ(alike: Sequence[str], room: int, dots: str, width: Width) -> dict[str, str]:
    """The same names with the part in which they differ between two ends; none where that has no room."""
    start = _shared(alike)
    stop = min(_shared([name[::-1] for name in alike]), min(map(len, alike)) - start)
    middles = {name: name[start : len(name) - stop] for name in alike}
    left = room - 2 * width(dots) - max(map(width, middles.values()))
    if left < 0:
        return {}
    front = left // 3
    ends = {name: _tail(name[len(name) - stop :], left - front, dots, width) for name in alike}
    return {name: f"{fitting_start(name, front, width)}{dots}{middle}{ends[name]}" for name, middle in middles.items()}


def _shared(texts: Sequence[str]) -> int:
    """How many signs all texts begin with alike."""
    return sum(1 for _ in takewhile(lambda signs: len(set(signs)) == 1, zip(*texts, strict=False)))


def _tail(text: str, room: int, dots: str, width: Width) -> str:
    return text if width(text) <= room else f"{dots}{fitting_start(text[::-1], room, width)[::-1]}"


def _numbered(name: str, number: int, room: int, dots: str, width: Width) -> str:
    sign = f"#{number}"
    left = room - width(dots) - len(sign)
    return f"{fitting_start(name, left, width)}{dots}{sign}" if left >= 0 else sign[:room]


def _cut(name: str, front: int, back: int, dots: str, width: Width) -> str:
    return f"{fitting_start(name, front, width)}{dots}{fitting_start(name[::-1], back, width)[::-1]}"


def fitting_start(text: str, room: int, width: Width = len) -> str:
    """As much of the beginning of a text as has room.

    Example:
        >>> fitting_start("encoder", 3)
        'enc'
    """
    if text.isascii():
        return text[: max(0, room)]
    used = 0
    for index, sign in enumerate(text):
        used += width(sign)
        if used > room:
            return text[:index]
    return text
