"""All that a gate's verdict depends on, as one digest: the same digest, the same verdict.

PYTEST_DONT_REWRITE
"""

import hashlib
import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path

from pfa_gate.config import Document, GateConfig
from pfa_gate.config.sections import SELECTIONS, DistillStep, FinetuneStep, Step
from pfa_gate.config.weights import every_file
from pfa_gate.errors import ConfigError
from pfa_gate.item.sources import Sources, sources

_VERSIONS = ("pfa-gate", "torch", "numpy")
_ARRAYS = (".npy", ".npz", ".safetensors")
_HERE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Inputs:
    """What a verdict depends on.

    Attributes:
        digest: of every input that is a file or a version; empty where one cannot be read.
        open: why the verdict may depend on more than that, so that it holds for one run only; empty if not.
    """

    digest: str
    open: str = ""


def inputs(document: Document, gate: str, context: Mapping[str, str]) -> Inputs:
    """Digest the inputs of a gate.

    Args:
        document: the config.
        gate: name of the gate.
        context: what else the verdict depends on, by name: the baseline, the output folder.

    Raises:
        ConfigError: a glob under `watch` matches no file.
    """
    config, folder = document.gate(gate), document.path.parent
    # The whole config: a verdict names lines of it.
    files = [document.path, *_named(config, folder), *_watched(document, config, folder)]
    code = sources(_references(config), folder)
    facts = {
        "gate": [str(document.path), gate, os.getcwd()],
        "context": dict(context),
        "ended": [waiver.until < date.today() for waiver in config.allow],
        "versions": _versions(code),
        "devices": _devices(),
        "plugins": _plugins(),
    }
    try:
        hashes = {str(path): _digest(path) for path in sorted({*files, *code.files})}
    except OSError as error:
        return Inputs("", f"{error.filename} cannot be read")
    text = json.dumps([facts, hashes], sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    return Inputs(digest, _open(config) or _elsewhere(config, code))


def _devices() -> list[str]:
    """What `model.device: auto` may come to mean; asked without torch, whose import a warm run is spared."""
    cards = Path("/proc/driver/nvidia/gpus")
    names = sorted(each.name for each in cards.iterdir()) if cards.is_dir() else []
    return [os.environ.get("CUDA_VISIBLE_DEVICES", "all"), *names]


def _elsewhere(config: GateConfig, code: Sources) -> str:
    """Which reference only another package's hook can answer; empty for none."""
    strange = [name for name in _references(config) if code.packages.get(name.partition(":")[0], _HERE) is None]
    return f"{strange[0]} comes from another package" if strange else ""


def _plugins() -> list[str]:
    found = entry_points(group="pfa_gate")
    return sorted(f"{each.name} {each.value} {each.dist.version if each.dist else ''}" for each in found)


def _references(config: GateConfig) -> list[str]:
    named = [config.model.factory, config.probe.data]
    if config.evaluation is not None:
        named += [config.evaluation.data, config.evaluation.metric]
    named += [source for step in config.recovery if (source := _code_of(step))]
    return [name for name in named if ":" in name and not _is_array(name)]


def _code_of(step: Step) -> str | None:
    if isinstance(step, FinetuneStep):
        return step.finetune
    return step.distill.augment if isinstance(step, DistillStep) else None


def _named(config: GateConfig, folder: Path) -> Iterator[Path]:
    data = [config.probe.data, config.evaluation.data if config.evaluation else ""]
    yield from (folder / name for name in data if _is_array(name))
    if config.model.checkpoint is not None:
        yield from every_file(folder / config.model.checkpoint)


def _watched(document: Document, config: GateConfig, folder: Path) -> Iterator[Path]:
    for index, pattern in enumerate(config.watch or ()):
        found = [path for path in sorted(_glob(folder, pattern)) if path.is_file()]
        if not found:
            error = ConfigError(f"The pattern '{pattern}' under watch matches no file.", remedy="Correct or remove it.")
            raise error.at(str(document.place("gates", config.name, "watch", index)))
        yield from found


def _glob(folder: Path, pattern: str) -> Iterator[Path]:
    anchor = Path(Path(pattern).anchor)
    return anchor.glob(str(Path(pattern).relative_to(anchor))) if anchor.parts else folder.glob(pattern)


def _open(config: GateConfig) -> str:
    """Why files and versions do not say all; empty where they do."""
    return next(_always_open(config), "") or ("" if config.watch is not None else next(_unwatched(config), ""))


def _always_open(config: GateConfig) -> Iterator[str]:
    if config.budgets.compressed.latency is not None:
        yield "latency is of the moment"
    if config.selection not in SELECTIONS:
        yield f"the selection {config.selection} comes from another package"


def _unwatched(config: GateConfig) -> Iterator[str]:
    remedy = "name the files it reads under watch"
    if config.model.checkpoint is None:
        yield f"model has no checkpoint, so its weights come from code; {remedy}"
    if not _is_array(config.probe.data):
        yield f"probe.data comes from code; {remedy}"
    if config.evaluation is not None and not _is_array(config.evaluation.data):
        yield f"evaluation.data comes from code; {remedy}"
    if any(isinstance(step, FinetuneStep) for step in config.recovery):
        yield f"recovery.finetune is code; {remedy}"


def _is_array(name: str) -> bool:
    return name.lower().endswith(_ARRAYS)


def _versions(code: Sources) -> dict[str, str]:
    known = {name: version(name) for name in _VERSIONS}
    imported = {name: _version(name, path) for name, path in code.packages.items()}
    return {
        **imported,
        **known,
        "pfa_gate": _own_code(),
        "python": platform.python_version(),
        "on": platform.platform(),
    }


def _version(name: str, path: Path | None) -> str:
    try:
        return version(name)
    except (PackageNotFoundError, ValueError):
        return _stamp([path] if path else [])


def _own_code() -> str:
    # A checkout that is worked on keeps its version while its code changes.
    return _stamp(sorted(_HERE.rglob("*.py")))


def _stamp(paths: Sequence[Path]) -> str:
    states = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(repr(states).encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
