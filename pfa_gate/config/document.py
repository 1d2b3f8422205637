"""From a path to a valid config, and back: the config written out with all its defaults."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel

from pfa_gate.config.candidate import IN_PLACE_OF
from pfa_gate.config.complaints import Complaint, Place, config_error, nearest, source_lines
from pfa_gate.config.project import project_of
from pfa_gate.config.quantity import Limit
from pfa_gate.config.reader import Keys, ParsedYaml, read
from pfa_gate.config.schema import validate
from pfa_gate.config.sections import GateConfig
from pfa_gate.errors import ConfigError

_LARGEST = 256 * 1024
_CODES = {"utf-16": "UTF-16", "utf-8-sig": "UTF-8"}


@dataclass(frozen=True)
class Document:
    """A valid config: its gates by name, the position of each value in the file, and the bytes that were read."""

    path: Path
    gates: dict[str, GateConfig]
    reading: ParsedYaml
    content: bytes

    def place(self, *keys: str | int) -> Place:
        """Place of a path, or of its nearest ancestor that exists.

        A scalar is shown by its value, a section by its key: `place("gates", "digits", "probe", "data")`.
        """
        return Place(self.path, *self.reading.mark(keys).best)

    def line(self, *keys: str | int) -> int:
        """Line, from 1, of the key at a path, or of its nearest ancestor that exists."""
        mark = self.reading.mark(keys)
        return (mark.key or mark.value)[0]

    def gate(self, name: str) -> GateConfig:
        """Give the gate of a name.

        Raises:
            ConfigError: there is none; names the nearest.
        """
        if name in self.gates:
            return self.gates[name]
        error = ConfigError(f"There is no gate {name!r}.", remedy=nearest(name, self.gates))
        raise error.at(str(self.place("gates")))


def load(path: Path | str, root: Path | None = None) -> Document:
    """Read and check a config.

    Args:
        path: of a pfa.yaml; a relative one is taken from the working directory.
        root: pytest's rootdir, in which its paths may lead as in its own project; the current folder if None.

    Raises:
        ConfigError: the file cannot be read or is not valid; its text lists all mistakes, by line.

    Example:
        >>> load("no/pfa.yaml")
        Traceback (most recent call last):
        pfa_gate.errors.ConfigError: There is no file no/pfa.yaml.
          Write one, or name another with --pfa-config.
    """
    file = Path(path).absolute()
    content = _bytes(file, str(path))
    return replace(parsed(_decoded(file, content), file, root), content=content)


def parsed(text: str, file: Path, root: Path | None = None) -> Document:
    """Check the text of a config.

    Args:
        text: all of it.
        file: absolute path, where it lies or will lie.
        root: as for `load`.

    Raises:
        ConfigError: it is not valid; lists all mistakes, by line.

    Example:
        >>> parsed("[]", Path("/pfa.yaml"))
        Traceback (most recent call last):
        pfa_gate.errors.ConfigError: /pfa.yaml:1:1: ...
    """
    reading = read(text)
    gates, complaints = ({}, reading.complaints) if reading.data is None else validate(reading, project_of(file, root))
    if complaints:
        raise config_error(file, source_lines(text), complaints)
    return Document(file, gates, reading, text.encode(errors="surrogatepass"))


def _bytes(file: Path, shown: str) -> bytes:
    try:
        with file.open("rb") as opened:
            content = opened.read(_LARGEST + 1)
    except FileNotFoundError as error:
        remedy = "Write one, or name another with --pfa-config."
        raise ConfigError(f"There is no file {shown}.", remedy=remedy) from error
    except OSError as error:
        raise ConfigError(f"The file {shown} cannot be read: {error.strerror}.") from error
    if len(content) > _LARGEST:
        message = f"the file is larger than {_LARGEST // 1024} KiB"
        complaint = Complaint(1, 1, message, "A config this long is a mistake; is it the right file?")
        raise config_error(file, (), [complaint])
    return content


def _decoded(file: Path, content: bytes) -> str:
    # A byte order mark says UTF-16; anything else that is YAML is UTF-8.
    code = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return content.decode(code)
    except UnicodeDecodeError as error:
        before = source_lines(content[: error.start].decode(code, "replace"))
        complaint = Complaint(len(before), len(before[-1]) + 1, f"not {_CODES[code]}", "Save the file as UTF-8.")
        raise config_error(file, before, [complaint]) from error


_INDENT = "  "


def resolved(document: Document) -> str:
    """Write a config with all its defaults, as YAML that means the same, each value with its origin.

    Args:
        document: a valid config.

    Returns:
        Lines `key: value  # pfa.yaml:12` or `# default`; a key that is not set is a comment.
    """
    rows = [("version: 1", _origin(document, ("version",))), ("gates:", "")]
    for name, gate in document.gates.items():
        rows.append((f"{_INDENT}{json.dumps(name)}:", ""))
        rows += _section(document, gate, ("gates", name))
    width = max(len(left) for left, _ in rows if len(left) <= 60)
    return "\n".join(f"{left:<{width}}  # {origin}" if origin else left for left, origin in rows)


def _section(document: Document, section: BaseModel, keys: Keys) -> Iterator[tuple[str, str]]:
    unread = {"name", *(IN_PLACE_OF if getattr(section, "candidate", None) is not None else ())}
    for name in type(section).model_fields:
        if len(keys) == 2 and name in unread:
            continue
        yield from _entry(document, f"{name}:", getattr(section, name), (*keys, name))


def _entry(document: Document, label: str, value: object, keys: Keys) -> Iterator[tuple[str, str]]:
    indent = _INDENT * (len(keys) - 1)
    if isinstance(value, BaseModel):
        rows = list(_section(document, value, keys))
        # A section of comments alone would be a key without a value.
        unset = all(left.lstrip().startswith("#") for left, _ in rows)
        yield f"{indent}{label}{' {}' if unset else ''}", ""
        yield from rows
    elif isinstance(value, tuple) and any(isinstance(item, BaseModel) for item in value):
        yield f"{indent}{label}", ""
        for index, item in enumerate(value):
            at = (*keys, index)
            yield f"{indent}{_INDENT}- {_flow(item)}", _origin(document, at)
    elif value is None:
        yield f"{indent}# {label} not set", ""
    else:
        yield f"{indent}{label} {_flow(value)}", _origin(document, keys)


def _flow(value: object) -> str:
    """A value on one line, in the part of YAML that is JSON."""
    if isinstance(value, BaseModel):
        given = {name: getattr(value, name) for name in type(value).model_fields}
        return _flow({name: part for name, part in given.items() if part is not None})
    if isinstance(value, Limit) and (value.relative or value.side):
        increase = value.increase and value.increase.text
        parts = {value.side or "max": value.text, "max_increase": increase, "ratchet": value.ratchet}
        return _flow({name: part for name, part in parts.items() if part})
    if isinstance(value, Limit):
        return value.text if value.unit == "absolute" and _is_number(value.text) else json.dumps(value.text)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)}: {_flow(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return json.dumps(value, ensure_ascii=False, default=str)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _origin(document: Document, keys: Keys) -> str:
    if keys not in document.reading.marks:
        return "default"
    return f"{document.path.name}:{document.line(*keys)}"
