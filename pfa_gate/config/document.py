"""From a path to a document that holds.

PYTEST_DONT_REWRITE
"""

from dataclasses import dataclass
from pathlib import Path

from pfa_gate.config.complaints import Complaint, Place, config_error, nearest, source_lines
from pfa_gate.config.reader import Reading, read
from pfa_gate.config.sections import GateConfig
from pfa_gate.config.validation import validate
from pfa_gate.errors import ConfigError

_LARGEST = 256 * 1024


@dataclass(frozen=True)
class Document:
    """A config that holds: its gates by name, and where each value stands in the file."""

    path: Path
    gates: dict[str, GateConfig]
    reading: Reading

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


def load(path: Path | str) -> Document:
    """Read and check a config.

    Args:
        path: of a pfa.yaml; a relative one is taken from the working directory.

    Raises:
        ConfigError: the file cannot be read or does not hold; its text lists all mistakes, by line.

    Example:
        >>> load("no/pfa.yaml")
        Traceback (most recent call last):
        pfa_gate.errors.ConfigError: There is no file no/pfa.yaml.
          Write one, or name another with --pfa-config.
    """
    file = Path(path).absolute()
    text = _decoded(file, _bytes(file, str(path)))
    reading = read(text)
    gates, complaints = ({}, reading.complaints) if reading.data is None else validate(reading)
    if complaints:
        raise config_error(file, source_lines(text), complaints)
    return Document(file, gates, reading)


def _bytes(file: Path, shown: str) -> bytes:
    try:
        content = file.read_bytes()
    except FileNotFoundError as error:
        remedy = "Write one, or name another with --pfa-config."
        raise ConfigError(f"There is no file {shown}.", remedy=remedy) from error
    except OSError as error:
        raise ConfigError(f"The file {shown} cannot be read: {error.strerror}.") from error
    if len(content) > _LARGEST:
        fact = f"The file {shown} is larger than {_LARGEST // 1024} KiB."
        raise ConfigError(fact, remedy="A config this long is a mistake; is it the right file?")
    return content


def _decoded(file: Path, content: bytes) -> str:
    try:
        # A byte order mark says UTF-16; anything else that is YAML is UTF-8.
        return content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig", "replace")
        place = source_lines(before)
        complaint = Complaint(len(place), len(place[-1]) + 1, "not UTF-8", "Save the file as UTF-8.")
        raise config_error(file, place, [complaint]) from error
