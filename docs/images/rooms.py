"""Print the picture of the rooms in `docs/architecture.md`, made from the imports: `python docs/images/rooms.py`.

A room is a package or module right below `pfa_gate`. An arrow leads from a room to one that it imports; an arrow that
follows from others is left out.
"""

from collections.abc import Mapping

import grimp

PACKAGE = "pfa_gate"
Imports = Mapping[str, frozenset[str]]


def imports() -> Imports:
    """Room -> the rooms that a file of it imports, lazily or not."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    rooms = sorted(graph.find_children(PACKAGE))

    def imported(importer: str) -> frozenset[str]:
        others = (room for room in rooms if room != importer)
        direct = (
            each for each in others if graph.direct_import_exists(importer=importer, imported=each, as_packages=True)
        )
        return frozenset(each.removeprefix(f"{PACKAGE}.") for each in direct)

    return {room.removeprefix(f"{PACKAGE}."): imported(room) for room in rooms}


def below(room: str, rooms: Imports) -> frozenset[str]:
    """All rooms on which a room rests, over others too.

    Example:
        >>> sorted(below("a", {"a": frozenset("b"), "b": frozenset("c"), "c": frozenset()}))
        ['b', 'c']
    """
    return rooms[room].union(*(below(each, rooms) for each in rooms[room]))


def needed(rooms: Imports) -> Imports:
    """The same without the arrows that follow from others; the imports have no circle.

    Example:
        >>> needed({"a": frozenset("bc"), "b": frozenset("c"), "c": frozenset()})["a"]
        frozenset({'b'})
    """

    def follows(room: str, other: str) -> bool:
        return any(other in below(each, rooms) for each in rooms[room] - {other})

    return {room: frozenset(each for each in others if not follows(room, each)) for room, others in rooms.items()}


def mermaid(rooms: Imports) -> str:
    """The picture as GitHub draws it.

    Example:
        >>> print(mermaid({"a": frozenset("b"), "b": frozenset()}), end="")
        flowchart TD
            _a["a"]
            _b["b"]
            _a --> _b
    """
    # Some names, graph among them, are words of the language: none stands alone.
    names = [f'    _{room}["{room}"]' for room in sorted(rooms)]
    arrows = [f"    _{room} --> _{other}" for room, others in needed(rooms).items() for other in sorted(others)]
    return "\n".join(["flowchart TD", *names, *arrows]) + "\n"


if __name__ == "__main__":
    print(mermaid(imports()), end="")
