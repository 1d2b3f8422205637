"""What a gate's verdict is known to depend on before its code is loaded, as one digest."""

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from importlib.machinery import PathFinder
from importlib.metadata import entry_points, version
from pathlib import Path

from pfa_gate.cache.code import Code
from pfa_gate.cache.imports import file_state
from pfa_gate.config import Document, GateConfig
from pfa_gate.config.named_sources import (
    HUB,
    OWN_TRANSFORMS,
    ImageFolder,
    JsonLines,
    files_below,
    files_of_data,
    hub_folder,
)
from pfa_gate.config.paths import candidate_files, checkpoint_files, importable
from pfa_gate.config.recovery import DistillStep, FinetuneStep, Step
from pfa_gate.config.sections import SELECTIONS
from pfa_gate.errors import ConfigError

_VERSIONS = ("pfa-gate", "torch", "numpy")
_ARRAYS = (".npy", ".npz", ".safetensors")
_HERE = Path(__file__).parents[1]


@dataclass(frozen=True)
class GateFingerprint:
    """What a verdict is known to depend on before anything is loaded.

    Attributes:
        digest: of every such input; empty where one cannot be read.
        not_reusable: why the verdict may depend on more than files, so that it holds for one run only; empty if not.
        stamps: what the system says of each file; the same twice means that nobody wrote it in between.
    """

    digest: str
    not_reusable: str = ""
    stamps: tuple[tuple[int, ...], ...] = ()


def fingerprint(document: Document, gate: str, context: Mapping[str, str]) -> GateFingerprint:
    """Digest the inputs of a gate that are known before its code is loaded; the config is the one that was read.

    Args:
        document: the config.
        gate: name of the gate.
        context: what else the verdict depends on, by name: the baseline, the output folder.

    Raises:
        ConfigError: a glob under `watch` matches no file.
    """
    config, folder = document.gate(gate), document.path.parent
    facts = {
        # The whole config: a verdict names lines of it.
        "gate": [str(document.path), hashlib.sha256(document.content).hexdigest(), gate, os.getcwd()],
        "context": dict(context),
        "ended": [waiver.until < date.today() for waiver in config.allow],
        "versions": _versions(),
        "devices": _devices(),
        "plugins": _plugins(),
    }
    states = {str(path): file_state(path) for path in sorted({*_named(config, folder), *watched(document, gate)})}
    hashes = {path: found.sha256 for path, found in states.items() if found is not None}
    if len(hashes) < len(states):
        missing = next(path for path, found in states.items() if found is None)
        return GateFingerprint("", f"{missing} cannot be read")
    text = json.dumps([facts, hashes], sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    stamps = tuple(found.stamp for found in states.values() if found is not None)
    return GateFingerprint(digest, _why_not_reusable(config, folder) or _from_another_package(config, folder), stamps)


def code_of(document: Document, gate: str) -> Code:
    """The code of a gate, to be observed while it is loaded."""
    config = document.gate(gate)
    return Code(_references(config), document.path.parent, document.content, tuple(watched(document, gate)))


def _devices() -> list[str]:
    """What `model.device: auto` may mean on this machine; found without torch, whose import takes seconds."""
    cards = Path("/proc/driver/nvidia/gpus")
    names = sorted(each.name for each in cards.iterdir()) if cards.is_dir() else []
    return [os.environ.get("CUDA_VISIBLE_DEVICES", "all"), *names]


def _from_another_package(config: GateConfig, folder: Path) -> str:
    """The first reference that only the hook of another package can resolve, in a sentence; empty for none."""
    with importable(folder):
        strange = [name for name in _references(config) if not _findable(name.rpartition(":")[0])]
    return f"{strange[0]} comes from another package" if strange else ""


def _findable(module: str) -> bool:
    top = module.partition(".")[0]
    try:
        return module.endswith(".py") or top in sys.modules or PathFinder.find_spec(top) is not None
    except (ImportError, ValueError):
        return False


def _plugins() -> list[str]:
    points = entry_points(group="pfa_gate")
    return sorted(f"{each.name} {each.value} {each.dist.version if each.dist else ''}" for each in points)


def _references(config: GateConfig) -> list[str]:
    named = [config.model.factory, *(data for data in _data(config) if isinstance(data, str))]
    named += [data.transform for data in _data(config) if isinstance(data, ImageFolder)]
    if config.evaluation is not None:
        named.append(config.evaluation.metric)
    if config.candidate is not None and config.candidate.factory is not None:
        named.append(config.candidate.factory)
    named += [source for step in config.recovery if (source := _code_of(step))]
    return [name for name in named if ":" in name and not _is_array(name) and not name.startswith(HUB)]


def _data(config: GateConfig) -> list[str | ImageFolder | JsonLines]:
    scored = [config.evaluation.data] if config.evaluation else []
    return [config.probe.data, *scored, *([config.recipe.data] if config.recipe.data else [])]


def _code_of(step: Step) -> str | None:
    if isinstance(step, FinetuneStep):
        return step.finetune
    return step.distill.augment if isinstance(step, DistillStep) else None


def _named(config: GateConfig, folder: Path) -> Iterator[Path]:
    for data in _data(config):
        if isinstance(data, str):
            yield from [folder / data] if _is_array(data) else []
        else:
            yield from files_of_data(data, folder)
    yield from files_below(found) if (found := _hub(config, folder)) is not None else []
    if config.model.checkpoint is not None:
        yield from checkpoint_files(folder / config.model.checkpoint)
    if config.candidate is not None:
        yield from candidate_files(folder, config.candidate.files)


def watched(document: Document, gate: str) -> Iterator[Path]:
    """The files under `watch`.

    Raises:
        ConfigError: a glob matches none.
    """
    for index, pattern in enumerate(document.gate(gate).watch or ()):
        matches = [path for path in sorted(_glob(document.path.parent, pattern)) if path.is_file()]
        if not matches:
            error = ConfigError(f"The pattern '{pattern}' under watch matches no file.", remedy="Correct or remove it.")
            raise error.at(str(document.place("gates", gate, "watch", index)))
        yield from matches


def _glob(folder: Path, pattern: str) -> Iterator[Path]:
    anchor = Path(Path(pattern).anchor)
    return anchor.glob(str(Path(pattern).relative_to(anchor))) if anchor.parts else folder.glob(pattern)


def _hub(config: GateConfig, folder: Path) -> Path | None:
    """The folder of a model of transformers; None for other models, and for one of the local cache."""
    name = config.model.factory
    return hub_folder(name.removeprefix(HUB), folder) if name.startswith(HUB) else None


def _why_not_reusable(config: GateConfig, folder: Path) -> str:
    """Why the verdict depends on more than files and versions; empty where it does not."""
    return next(_beyond_files(config, folder), "") or (
        "" if config.watch is not None else next(_unwatched_code(config, folder), "")
    )


def _beyond_files(config: GateConfig, folder: Path) -> Iterator[str]:
    if config.model.factory.startswith(HUB) and _hub(config, folder) is None:
        yield f"{config.model.factory} is in the cache of this machine"
    for data in _data(config):
        if isinstance(data, JsonLines) and hub_folder(data.tokenizer, folder) is None:
            yield f"the tokenizer {data.tokenizer} is in the cache of this machine"
    limits = config.budgets
    if limits.compressed.parity is not None or config.int8:
        yield "parity is of this machine's CPU and runtime"
    if limits.compressed.latency or limits.quantized.latency or config.recipe.of == "latency":
        yield "latency is of the moment"
    if config.selection not in SELECTIONS:
        yield f"the selection {config.selection} comes from another package"


def _unwatched_code(config: GateConfig, folder: Path) -> Iterator[str]:
    remedy = "name the files it reads under watch"
    if config.model.checkpoint is None and _hub(config, folder) is None:
        yield f"model has no checkpoint, so its weights come from code; {remedy}"
    if config.candidate is not None and not config.candidate.files:
        yield f"candidate has no file, so its weights come from code; {remedy}"
    for section, data in zip(("probe", "evaluation", "recipe"), _data(config), strict=False):
        if not _hashed(data):
            yield f"{section}.data comes from code; {remedy}"
    if any(isinstance(step, FinetuneStep) for step in config.recovery):
        yield f"recovery.finetune is code; {remedy}"


def _hashed(data: str | ImageFolder | JsonLines) -> bool:
    """Whether data comes from files alone, and not from code of the user's."""
    if isinstance(data, str):
        return _is_array(data)
    return isinstance(data, JsonLines) or data.transform in OWN_TRANSFORMS


def _is_array(name: str) -> bool:
    return name.lower().endswith(_ARRAYS)


def _versions() -> dict[str, str]:
    return {
        **{name: version(name) for name in _VERSIONS},
        "pfa_gate": _own_code(),
        "python": platform.python_version(),
        "on": platform.platform(),
    }


def _own_code() -> str:
    """The code of pfa_gate itself: a checkout under development keeps its version while its code changes."""
    record = _HERE.parent / f"pfa_gate-{version('pfa-gate')}.dist-info" / "RECORD"
    if (found := file_state(record)) is not None:
        return found.sha256  # it has the digest of every file
    digest = hashlib.sha256()
    for path in sorted(_HERE.rglob("*.py")):
        digest.update(f"{path.relative_to(_HERE).as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
