"""The names of a config's tests, cached while its text is the same, so that listing them need not read YAML.

The cache saves time and decides nothing. Before a gate is judged its config is read and checked whole, and at the end
of a run the budgets that it declares are compared with those that were found kept.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pfa_gate.files import remove_abandoned, replacing_file

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
    stored = None if cache is None else _cache_file(path, root, cache)
    known = None if stored is None else _read(stored)
    if known is not None:
        return known
    from pfa_gate.config import load  # noqa: PLC0415  pydantic and yaml are needed from here on only

    document = load(path, root)
    gates = {
        name: {each.name: document.line(*each.keys) for each in gate.budgets_declared()}
        for name, gate in document.gates.items()
    }
    if stored is not None:
        _write(stored, gates)
    return gates


def _cache_file(path: Path, root: Path, cache: Path) -> Path | None:
    """The cache file of a config's text, path and rootdir, as this version of the reader understands them."""
    try:
        states = [(each.name, each.stat().st_size, each.stat().st_mtime_ns) for each in sorted(_READER.glob("*.py"))]
        facts = repr([str(path), str(root), states]).encode(errors="surrogatepass")
        with path.open("rb") as file:
            content = file.read(2**20)
    except OSError:
        return None
    return cache / "listings" / f"{hashlib.sha256(facts + content).hexdigest()[:32]}.json"


def _read(stored: Path) -> Listing | None:
    """What a cache file holds, or None where there is none, or none that can be read."""
    try:
        gates = json.loads(stored.read_bytes())
        whole = all(
            isinstance(gate, str) and isinstance(name, str) and type(line) is int and line > 0
            for gate, budgets in gates.items()
            for name, line in budgets.items()
        )
        return gates if whole and gates and all(gates.values()) else None
    except (OSError, ValueError, AttributeError, RecursionError):
        return None


def _write(stored: Path, gates: Listing) -> None:
    # Where it cannot be written, the next run reads the config.
    with suppress(OSError):
        stored.parent.mkdir(parents=True, exist_ok=True)
        own = (each for each in stored.parent.glob("*.json") if _NAME.fullmatch(each.name))
        for old in sorted(own, key=lambda each: each.stat().st_mtime)[:-_MOST]:
            old.unlink(missing_ok=True)
        with replacing_file(stored) as fresh:
            fresh.write_text(json.dumps(gates), encoding="utf-8")
        remove_abandoned(stored.parent)
