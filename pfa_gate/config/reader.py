"""A strict YAML reader: the scalars of YAML 1.2, no duplicate keys, and the mark of every key and value."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
import yaml.composer
import yaml.parser
import yaml.reader
import yaml.resolver
import yaml.scanner

from pfa_gate.config.complaints import Complaint, describe, shortened, source_lines

Keys = tuple[str | int, ...]
"""Path of a value: keys of mappings and indices of lists, outermost first."""

_CORE = "tag:yaml.org,2002:"
_DEEPEST = 50
_LARGEST = 20_000
_TOO_LARGE = f"the config holds more than {_LARGEST} values once its aliases are written out"


@dataclass(frozen=True)
class Mark:
    """Where a value stands: (line, column) of its key and of itself, both from 1."""

    key: tuple[int, int] | None
    value: tuple[int, int]
    scalar: bool

    @property
    def best(self) -> tuple[int, int]:
        """The value's own place if it is a scalar, else its key's, which says more than a first child."""
        return self.value if self.scalar or self.key is None else self.key


@dataclass(frozen=True)
class ParsedYaml:
    """What a text says: plain data, the mark of every path, and what is wrong with the YAML itself.

    `data` is None when there is nothing to go on with.
    """

    data: Any
    marks: Mapping[Keys, Mark]
    complaints: tuple[Complaint, ...]

    def mark(self, keys: Keys) -> Mark:
        """Mark of a path, or of its nearest ancestor that exists."""
        while keys and keys not in self.marks:
            keys = keys[:-1]
        return self.marks.get(keys, Mark(None, (1, 1), False))


class _Resolver(yaml.resolver.BaseResolver):
    """YAML 1.2 core schema: `1e-3` is a number, `on`, `yes` and `1_000` are text."""


_NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_INT = re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z")
_FLOAT = re.compile(
    r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
)
_PATTERNS = {"null": _NULL, "bool": _BOOL, "int": _INT, "float": _FLOAT}
for _name, _pattern in _PATTERNS.items():
    # typeshed knows this classmethod only on the class that also resolves YAML 1.1.
    _Resolver.add_implicit_resolver(f"{_CORE}{_name}", _pattern, None)


class _TooLargeError(yaml.MarkedYAMLError):
    """Aliases write out more than a config can mean."""


class _Loader(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser, yaml.composer.Composer, _Resolver):
    """Text to nodes, to a bounded depth and size."""

    def __init__(self, text: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)
        yaml.composer.Composer.__init__(self)
        _Resolver.__init__(self)
        self._depth = 0
        self._sizes: dict[int, int] = {}
        self._written = 0

    def scan_flow_scalar_non_spaces(self, double: bool, start_mark: Any) -> list[str]:
        try:
            characters: list[str] = super().scan_flow_scalar_non_spaces(double, start_mark)
        except (ValueError, OverflowError):  # it stands on the digits that it has given to chr
            fact = "an escape names no character"
            raise yaml.MarkedYAMLError(problem=fact, problem_mark=self.get_mark()) from None
        return characters

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        self._depth += 1
        if self._depth > _DEEPEST:
            fact = f"nested deeper than {_DEEPEST} levels"
            raise yaml.MarkedYAMLError(problem=fact, problem_mark=event.start_mark)
        before = self._written
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        # An alias is as large as what its anchor holds; one in its own anchor is complained about later.
        self._written += self._sizes.get(id(node), 1) if isinstance(event, yaml.AliasEvent) else 1
        if self._written > _LARGEST:
            raise _TooLargeError(problem=_TOO_LARGE, problem_mark=event.start_mark)
        if not isinstance(event, yaml.AliasEvent):
            self._sizes[id(node)] = self._written - before
        return node


def read(text: str) -> ParsedYaml:
    r"""Read one YAML document.

    Args:
        text: the document; a byte order mark and any line ends are fine.

    Example:
        >>> reading = read("kl: 1e-3\non: yes")
        >>> reading.data, reading.mark(("on",)).value
        ({'kl': 0.001, 'on': 'yes'}, (2, 5))
    """
    text = text.removeprefix("\ufeff")
    try:
        node = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        return ParsedYaml(None, {}, (_of_syntax(error),))
    except yaml.reader.ReaderError as error:
        return ParsedYaml(None, {}, (_of_character(text, error),))
    if node is None:
        return ParsedYaml(None, {}, (Complaint(1, 1, "the file is empty", "Begin with version: 1."),))
    return _Construction().reading(node)


def _of_syntax(error: yaml.MarkedYAMLError) -> Complaint:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or "does not parse"
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    if problem == "second occurrence":
        name = str(error.context).partition("'")[2].partition("'")[0]
        return Complaint(line, column, f"the anchor {shortened(name)!r} is given twice", "Rename one of the two.")
    if isinstance(error, _TooLargeError):
        return Complaint(line, column, problem, "Shorten it.")
    if "'\\t'" in problem:
        return Complaint(line, column, "a tab cannot indent YAML", "Indent with spaces.")
    if "another document" in problem:
        return Complaint(line, column, "a second document starts here", "Keep one document per file.")
    if error.context == "while scanning an alias":
        return Complaint(line, column, "not valid YAML: a bare * begins an alias", 'Write "*" in quotes.')
    return Complaint(line, column, f"not valid YAML: {problem}", _context(error))


def _context(error: yaml.MarkedYAMLError) -> str:
    """Say in what the problem arose, and where that began: an open quote is seen only at the end."""
    if not error.context:
        return ""
    mark = error.context_mark
    begun = f", which begins in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"It happened {error.context}{begun}."


def _of_character(text: str, error: yaml.reader.ReaderError) -> Complaint:
    position = int(error.position)
    before = source_lines(text[:position])
    letter = f"U+{ord(text[position]):04X}"
    message = f"not valid YAML: the character {letter} is not allowed"
    return Complaint(len(before), len(before[-1]) + 1, message, "Remove it.")


@dataclass
class _Construction:
    """Nodes to plain data; gathers marks and complaints on its way."""

    marks: dict[Keys, Mark] = field(default_factory=dict)
    complaints: list[Complaint] = field(default_factory=list)
    open: set[int] = field(default_factory=set)

    def reading(self, node: yaml.Node) -> ParsedYaml:
        data = self.value(node, (), None)
        if data is None and not self.complaints:
            self._complain(node, "the config must be a mapping, not nothing", "Begin with version: 1.")
        return ParsedYaml(data, self.marks, tuple(self.complaints))

    def value(self, node: yaml.Node, keys: Keys, key: yaml.Node | None) -> Any:
        place = _place(key) if key is not None else None
        self.marks[keys] = Mark(place, _place(node), isinstance(node, yaml.ScalarNode))
        if id(node) in self.open:
            return self._complain(node, "an alias stands inside its own anchor", "Write the value out.")
        self.open.add(id(node))
        data = self._plain(node, keys)
        self.open.remove(id(node))
        return data

    def _plain(self, node: yaml.Node, keys: Keys) -> Any:
        tag = node.tag.removeprefix(_CORE)
        match node, tag:
            case yaml.MappingNode(), "map":
                return self._mapping(node, keys)
            case yaml.SequenceNode(), "seq":
                return [self.value(child, (*keys, i), None) for i, child in enumerate(node.value)]
            case yaml.ScalarNode(), "str" | "null" | "bool" | "int" | "float":
                return self._scalar(node, tag)
        shown = node.tag.replace(_CORE, "!!")
        return self._complain(node, f"the tag {shown} is not known", "Write the value without a tag.")

    def _scalar(self, node: yaml.ScalarNode, tag: str) -> Any:
        try:
            return _scalar(node.value, tag)
        except ValueError:
            return self._complain(node, f"{describe(node.value)} cannot be read as {tag}", "Correct it.")

    def _mapping(self, node: yaml.MappingNode, keys: Keys) -> dict[str, Any]:
        first: dict[str, int] = {}
        data: dict[str, Any] = {}
        for key, child in self._pairs(node):
            if key.value in data:
                message = f"the key {shortened(key.value)!r} is given twice; first in line {first[key.value]}"
                self._complain(key, message, "Remove one of the two.")
                continue
            first[key.value] = _place(key)[0]
            data[key.value] = self.value(child, (*keys, key.value), key)
        return data

    def _pairs(self, node: yaml.MappingNode) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._complain(key, f"a key must be text, not {_kind(key)}", "Write a word before the colon.")
            elif key.value == "<<" and key.style is None:
                self._complain(key, "merge keys ('<<') are not read", "Write the keys out.")
            elif key.tag != f"{_CORE}str":
                shown = shortened(key.value) or "nothing"
                self._complain(key, f"a key must be text, not {shown}", "Write it in quotes.")
            else:
                yield key, child

    def _complain(self, node: yaml.Node, message: str, remedy: str) -> None:
        self.complaints.append(Complaint(*_place(node), message, remedy))


def _place(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _kind(node: yaml.Node) -> str:
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"


def _scalar(text: str, tag: str) -> object:
    if tag == "str":
        return text
    # Far beyond any use, and Python refuses to print an integer of thousands of digits.
    if len(text) > 100 or not _PATTERNS[tag].match(text):
        raise ValueError(text)
    match tag:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return int(text, 0 if text[:2] in {"0o", "0x"} else 10)
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
