"""Names that are too long for their column: each is cut, and no two look alike.

PYTEST_DONT_REWRITE
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile

_TRIALS = 100_000  # cuts of a name that are tried, all names together
Width = Callable[[str], int]


def distinct(names: Iterable[str], room: int, dots: str = "…", width: Width = len) -> Mapping[str, str]:
    """Each name in at most so much room; what tells names apart is kept.

    Names that fit stay as they are. All others lose a part at one place, in the middle where that tells them apart.
    Those that would still look alike keep the part in which they differ; where even that has no room, their number.

    Args:
        names: all that a reader could mix up, whether they are shown or not.
        room: cells; at least 8, or many names cannot be known apart.
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
    found = {name: name for name in known if width(name) <= room}
    long = [name for name in known if name not in found]
    if long:
        cuts = _one_place(long, set(found.values()), room, dots, width)
        for alike in _alike(cuts, set(found.values())):
            cuts |= _where_they_differ(alike, room, dots, width)
        found |= cuts
        counts = Counter(found.values())
        for number, name in enumerate(known, start=1):
            if name in cuts and counts[found[name]] > 1:
                found[name] = _numbered(name, number, room, dots, width)
    return {name: found[name] for name in known}


def _one_place(long: Sequence[str], taken: set[str], room: int, dots: str, width: Width) -> dict[str, str]:
    """All names cut at one place: the nearest to their middle at which the fewest look alike."""
    left = max(0, room - width(dots))
    best: dict[str, str] = {}
    fewest = len(long) + 1
    step = 1 + len(long) * left // _TRIALS
    for head in sorted(range(left // 2 % step, left + 1, step), key=lambda head: (abs(head - left // 2), head)):
        cuts = {name: _cut(name, head, left - head, dots, width) for name in long}
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
    head = left // 3
    return {
        name: f"{_head(name, head, width)}{dots}{middle}{_tail(name[len(name) - stop :], left - head, dots, width)}"
        for name, middle in middles.items()
    }


def _shared(texts: Sequence[str]) -> int:
    """How many signs all texts begin with alike."""
    return sum(1 for _ in takewhile(lambda signs: len(set(signs)) == 1, zip(*texts, strict=False)))


def _tail(text: str, room: int, dots: str, width: Width) -> str:
    return text if width(text) <= room else f"{dots}{_head(text[::-1], room, width)[::-1]}"


def _numbered(name: str, number: int, room: int, dots: str, width: Width) -> str:
    sign = f"#{number}"
    left = room - width(dots) - len(sign)
    return f"{_head(name, left, width)}{dots}{sign}" if left >= 0 else sign[:room]


def _cut(name: str, head: int, tail: int, dots: str, width: Width) -> str:
    return f"{_head(name, head, width)}{dots}{_head(name[::-1], tail, width)[::-1]}"


def _head(text: str, room: int, width: Width) -> str:
    if text.isascii():
        return text[: max(0, room)]
    used = 0
    for index, sign in enumerate(text):
        used += width(sign)
        if used > room:
            return text[:index]
    return text
