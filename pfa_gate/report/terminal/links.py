"""Names of files as links, for terminals that open them."""

import re
from collections.abc import Mapping
from pathlib import Path

from pfa_gate.record import Record

# Terminals that follow OSC 8, by a variable that each of them sets.
_NAMES = ("iTerm.app", "WezTerm", "vscode", "ghostty", "Hyper", "Tabby", "rio")
_MARKS = ("KITTY_WINDOW_ID", "WT_SESSION", "DOMTERM", "KONSOLE_VERSION", "ALACRITTY_WINDOW_ID")
_FIRST_VTE = 5000


def follows_links(environment: Mapping[str, str]) -> bool:
    """Whether the terminal of an environment is known to follow links; in a log nothing does.

    Example:
        >>> follows_links({"TERM_PROGRAM": "WezTerm"}), follows_links({"TERM": "xterm"})
        (True, False)
        >>> follows_links({"TERM_PROGRAM": "WezTerm", "CI": "true"})
        False
    """
    if environment.get("CI") or environment.get("TERM") == "dumb":
        return False
    version = environment.get("VTE_VERSION", "")
    known = environment.get("TERM_PROGRAM") in _NAMES or any(environment.get(name) for name in _MARKS)
    return known or (version.isdecimal() and int(version) >= _FIRST_VTE)


def linked(text: str, record: Record, folder: Path) -> str:
    r"""A report whose names of files are links; nothing that is seen changes.

    Args:
        text: the report.
        record: the one it tells of.
        folder: which the paths of the record start from.

    Example:
        >>> from pfa_gate.record import Probe, Size
        >>> files = {"record": ".pfa/digits/record.json"}
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"), files=files)
        >>> linked("Files\n   .pfa/digits: record.json\n", record, Path("/p"))[9:]
        '.pfa/digits: \x1b]8;;file:///p/.pfa/digits/record.json\x1b\\record.json\x1b]8;;\x1b\\\n'
    """
    head, title, files = text.rpartition("Files")
    for path in map(Path, record.files.values()):
        address = Path(folder, path).absolute().as_uri()
        name = re.compile(rf"(?<![\w./-]){re.escape(path.name)}(?![\w/-])")
        files = name.sub(lambda found, at=address: f"\x1b]8;;{at}\x1b\\{found[0]}\x1b]8;;\x1b\\", files, count=1)  # type: ignore[misc]
    return head + title + files
