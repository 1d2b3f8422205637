"""One shard's moments as a file: safetensors with a JSON head, sealed, written whole or not at all."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from pfa_gate.analysis.covariance import Moments
from pfa_gate.errors import ArtifactError
from pfa_gate.files import remove_abandoned, replacing_file
from pfa_gate.record import Probe
from pfa_gate.report.ownership import MOMENTS, require_file

_HEAD, _VERSION = "pfa_gate.moments", 1
Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class ShardMoments:
    """What one of several machines measured.

    Attributes:
        gate: name of the gate.
        shard: which part, from 1.
        of: how many parts there are.
        samples: of the probe, in this part.
        probe: the whole probe.
        config: SHA-256 of what pfa.yaml says about the measuring.
        model: SHA-256 of the weights and of what is computed with them.
        versions: of what took part.
        moments: layer or group name -> moments of its jackknife shards.
    """

    gate: str
    shard: int
    of: int
    samples: int
    probe: Probe
    config: str
    model: str
    versions: Mapping[str, str]
    moments: Mapping[str, tuple[Moments, ...]]


def write_moments(path: Path, part: ShardMoments) -> None:
    """Write a part to a file, in one step.

    Raises:
        ArtifactError: the disk is full, the folder cannot be written, or the file is none that this wrote.
    """
    require_file(path, MOMENTS)
    arrays = dict(_arrays(part.moments))
    head = {key: value for key, value in vars(part).items() if key != "moments"}
    head |= {"version": _VERSION, "probe": vars(part.probe), "versions": dict(part.versions)}
    metadata = {_HEAD: json.dumps(head | {"seal": _seal(head, arrays)}, sort_keys=True)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(path) as fresh:
            save_file(arrays, fresh, metadata)
            fresh.chmod(0o644)
        remove_abandoned(path.parent)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        remedy = "Free some space, or name another file with --output."
        raise ArtifactError(f"The moments cannot be written to {path}: {reason}.", remedy=remedy) from error


def read_moments(path: Path) -> ShardMoments:
    """Read what `write_moments` wrote.

    Raises:
        ArtifactError: there is no such file, it is torn or changed, or it is another kind of file.

    Example:
        >>> read_moments(Path("nowhere.safetensors"))
        Traceback (most recent call last):
        pfa_gate.errors.ArtifactError: nowhere.safetensors cannot be read: there is no such file.
    """
    if not path.is_file():
        raise ArtifactError(f"{path} cannot be read: there is no such file.")
    remedy = "Collect this shard again."
    try:
        with safe_open(path, "numpy") as held:
            metadata = held.metadata() or {}
            names = list(held.keys())
            arrays = {name: held.get_tensor(name) for name in names}
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise ArtifactError(f"{path} is damaged, or not a safetensors file: {error}.", remedy=remedy) from error
    if _HEAD not in metadata:
        raise ArtifactError(f"{path} was not written by pfa-gate collect.", remedy=remedy)
    try:
        head = json.loads(metadata[_HEAD])
        seal, version = head.pop("seal"), head["version"]
        if version == _VERSION and seal == _seal(head, arrays):
            return _part(head, arrays)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"{path} has a head that cannot be read: {error!r}.", remedy=remedy) from error
    changed = "it was changed after it was written" if version == _VERSION else f"its version is {version!r}"
    raise ArtifactError(f"{path} cannot be used: {changed}.", remedy=remedy)


def _part(head: dict[str, Any], arrays: Arrays) -> ShardMoments:
    del head["version"]
    names = sorted(name.removesuffix(".count") for name in arrays if name.endswith(".count"))
    moments = {
        name: tuple(
            Moments(int(count), mean, scatter)
            for count, mean, scatter in zip(*(arrays[f"{name}.{part}"] for part in _FIELDS), strict=True)
        )
        for name in names
    }
    return ShardMoments(**head | {"probe": Probe(**head["probe"])}, moments=moments)


_FIELDS = ("count", "mean", "scatter")


def _arrays(moments: Mapping[str, tuple[Moments, ...]]) -> Arrays:
    """`count` int64 [S], `mean` float64 [S, C] and `scatter` float64 [S, C, C] of each layer or group."""
    return {
        f"{name}.{field}": np.stack([np.asarray(getattr(shard, field)) for shard in shards])
        for name, shards in moments.items()
        for field in _FIELDS
    }


def _seal(head: Mapping[str, Any], arrays: Arrays) -> str:
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"\n{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
