"""The names of a config's tests, remembered while its text is the same: listing them need not read YAML anew.

What is remembered saves time and decides nothing: before a gate is judged its config is read and checked whole, and at
the end of a run the budgets that it declares are compared with those that were found kept.

PYTEST_DONT_REWRITE
"""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pfa_gate.files import replacing_file, sweep

_MOST = 64
_NAME = re.compile(r"[0-9a-f]{32}\.json")
_READER = Path(__file__).parents[1] / "config"

Listing = Mapping[str, Mapping[str, int]]
"""Gate -> budget -> line in the config, from 1; in the order of the config."""


def listing(path: Path, root: Path, cache: Path | None) -> Listing:
    """List the tests of a config.

    Args:
        path: of the config; absolute.
        root: pytest's rootdir.
        cache: folder of what earlier runs found; None for none.

    Raises:
        ConfigError: the config does not hold.
    """
    place = None if cache is None else _place(path, root, cache)
    found = None if place is None else _remembered(place)
    if found is not None:
        return found
    from pfa_gate.config import load  # noqa: PLC0415  pydantic and yaml are needed from here on only

    document = load(path, root)
    gates = {
        name: {each.name: document.line(*each.keys) for each in gate.budgets_declared()}
        for name, gate in document.gates.items()
    }
    if place is not None:
        _remember(place, gates)
    return gates


def _place(path: Path, root: Path, cache: Path) -> Path | None:
    """The file that remembers a text, as this version of the reader understands it, in this place."""
    try:
        states = [(each.name, each.stat().st_size, each.stat().st_mtime_ns) for each in sorted(_READER.glob("*.py"))]
        facts = repr([str(path), str(root), states]).encode(errors="surrogatepass")
        with path.open("rb") as file:
            content = file.read(2**20)
    except OSError:
        return None
    return cache / "listings" / f"{hashlib.sha256(facts + content).hexdigest()[:32]}.json"


def _remembered(place: Path) -> Listing | None:
    """What a file remembers, or None where there is none, or none that can be read."""
    try:
        found = json.loads(place.read_bytes())
        whole = all(
            isinstance(gate, str) and isinstance(name, str) and type(line) is int and line > 0
            for gate, budgets in found.items()
            for name, line in budgets.items()
        )
        return found if whole and found and all(found.values()) else None
    except (OSError, ValueError, AttributeError, RecursionError):
        return None


def _remember(place: Path, gates: Listing) -> None:
    # Without it the next run reads the config anew; that is all.
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        own = (each for each in place.parent.glob("*.json") if _NAME.fullmatch(each.name))
        for old in sorted(own, key=lambda each: each.stat().st_mtime)[:-_MOST]:
            old.unlink(missing_ok=True)
        with replacing_file(place) as fresh:
            fresh.write_text(json.dumps(gates), encoding="utf-8")
        sweep(place.parent)
