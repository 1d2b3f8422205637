"""A run while it goes on: what it set out to judge, written beside its results, and how far it is."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pfa_gate.errors import ArtifactError
from pfa_gate.record.plain_data import plain, read_as, text_of

MANIFEST = "pfa_gate.run.json"
"""Its file's name, in the folder that holds the folders of the gates."""

SCHEMA = "pfa_gate.run/1"
MARK = re.compile(rb'\A\{\s*"schema": "pfa_gate\.run/')
"""How the file begins."""
_REMEDY = "Run `pytest --pfa` again to write a fresh one."


@dataclass(frozen=True)
class DeclaredGate:
    """A gate of a run.

    Attributes:
        config: path of its pfa.yaml, as in its record.
        gate: its name.
        record: path of its record.json from the manifest's folder, with forward slashes.
        budgets: all that it declares, in the order of the config.
        left_out: those that the command line of the run chose away by -k, -m or an id.
    """

    config: str
    gate: str
    record: str
    budgets: tuple[str, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unlisted:
    """A config of a run whose gates could not be listed, and why."""

    config: str
    reason: str


@dataclass(frozen=True)
class Manifest:
    """A run of pytest under --pfa.

    Attributes:
        run: the token that its records bear.
        begun: when it began, in UTC, as 2026-11-20T08:30:00Z.
        status: the exit status with which it came to its end; None until then.
        gates: of all its configs.
        unlisted: configs that do not hold.
        schema: name and version of this layout.
    """

    run: str
    begun: str
    status: int | None = None
    gates: tuple[DeclaredGate, ...] = ()
    unlisted: tuple[Unlisted, ...] = ()
    schema: str = SCHEMA


def write_manifest(manifest: Manifest) -> str:
    """Give a manifest as JSON text.

    Example:
        >>> read_manifest(write_manifest(Manifest("ab", "2026-11-20T08:30:00Z"))).run
        'ab'
    """
    return text_of({"schema": SCHEMA, **plain(manifest)})


def read_manifest(text: str) -> Manifest:
    """Read a manifest from JSON text.

    Raises:
        ArtifactError: it is none of this schema.

    Example:
        >>> read_manifest("{}")
        Traceback (most recent call last):
            ...
        pfa_gate.errors.ArtifactError: This is not a manifest of a run of this version of pfa_gate.
          Run `pytest --pfa` again to write a fresh one.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"The manifest is not JSON: {error}.", remedy=_REMEDY) from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ArtifactError("This is not a manifest of a run of this version of pfa_gate.", remedy=_REMEDY)
    manifest: Manifest = read_as(Manifest, data, "The manifest", _REMEDY)
    if not manifest.run:
        raise ArtifactError("The manifest bears no token of a run.", remedy=_REMEDY)
    return manifest


Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total) while a gate runs."""

WAITED = "waited"
"""The stage that ends a wait for another process, after which there may be no other."""


@dataclass(frozen=True)
class Wait:
    """A wait for a gate, which the seconds of its record add up to.

    Attributes:
        progress: called with how far the gate is; None to stay silent.
        since: `time.perf_counter()` of when it began.
    """

    progress: Progress | None = None
    since: float = field(default_factory=time.perf_counter)
