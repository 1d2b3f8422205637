"""The only writer to disk: what a gate leaves behind, whole or not at all.

A gate's folder holds `record.json`, and beside it, where a compressed model was proved, `recipe.yaml` and
`weights.safetensors`. Nothing is a pickle.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from pfa_gate.coupling.group import Coupling
from pfa_gate.errors import ArtifactError, SurgeryError
from pfa_gate.record import Record, dumps
from pfa_gate.surgery import Compressed, Kept, narrow

RECORD, RECIPE, WEIGHTS = "record.json", "recipe.yaml", "weights.safetensors"
_RECIPE_VERSION = 1


def write(output: Path, record: Record, compressed: Compressed | None, coupling: Coupling | None) -> Record:
    """Write a gate's folder in one step and return the record with the paths of its files.

    Args:
        output: folder of all gates; the gate's own is `output / record.gate`.
        record: what was found.
        compressed: the proved smaller model, or None.
        coupling: the groups it was cut by; None without a model.

    Raises:
        ArtifactError: the disk is full, the folder cannot be written, or a link leads out of it.
    """
    folder = output / record.gate
    names = [RECORD] if compressed is None else [RECORD, RECIPE, WEIGHTS]
    record = replace(record, files={name.partition(".")[0]: _shown(folder / name) for name in names})
    with _replacing(folder) as fresh:
        (fresh / RECORD).write_text(dumps(record), encoding="utf-8")
        if compressed is not None and coupling is not None:
            (fresh / RECIPE).write_text(recipe_text(record, compressed, coupling), encoding="utf-8")
            save_model(compressed.model, str(fresh / WEIGHTS), metadata={"format": "pt", "gate": record.gate})
    return record


def recipe_text(record: Record, compressed: Compressed, coupling: Coupling) -> str:
    """The recipe as YAML: how it was found, filters kept per group, and the cut of each parameter."""
    recipe = record.recipe
    plan: dict[str, Any] = {
        "version": _RECIPE_VERSION,
        "gate": record.gate,
        "strategy": recipe.strategy if recipe else None,
        "energy": recipe.energy if recipe else None,
        "weights": WEIGHTS,
        "groups": {group.name: _group_plan(group.name, group.width, record) for group in coupling.groups},
        "parameters": {
            name: {axis: np.asarray(indices).tolist() for axis, indices in sorted(axes.items())}
            for name, axes in sorted(compressed.kept.items())
        },
    }
    return yaml.safe_dump(plan, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)


def _group_plan(name: str, width: int, record: Record) -> dict[str, Any]:
    recipe = record.recipe
    keep = recipe.keep.get(name) if recipe else None
    if keep is None:
        reason = recipe.reasons.get(name, "") if recipe else ""
        return {"filters": width, "whole": reason}
    return {"filters": width, "keep": keep}


def _shown(path: Path) -> str:
    """A path as people write it, from the current folder where it lies below; the same in every checkout."""
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path.as_posix()


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A new folder that takes the place of `folder` when all went well, and vanishes when not."""
    fresh = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        yield fresh
        _open_to_readers(fresh)
        _swap(fresh, folder)
    except OSError as error:
        raise ArtifactError(
            f"The results cannot be written to {folder}: {error.strerror or error}.",
            remedy="Free some space, or name another folder with --pfa-output.",
        ) from error
    finally:
        if fresh is not None:
            shutil.rmtree(fresh, ignore_errors=True)


def _open_to_readers(folder: Path) -> None:
    # Temporary folders and safetensors files are made private; results are as public as any file of the project.
    mask = os.umask(0)
    os.umask(mask)
    folder.chmod(0o777 & ~mask)
    for path in folder.iterdir():
        path.chmod(0o666 & ~mask)


def _swap(fresh: Path, folder: Path) -> None:
    if not folder.exists():
        os.replace(fresh, folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
    os.replace(folder, old / folder.name)
    try:
        os.replace(fresh, folder)
    except OSError:
        os.replace(old / folder.name, folder)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def load(directory: Path | str, model: nn.Module | None = None) -> nn.Module:
    """Rebuild a compressed model from a gate's folder.

    Args:
        directory: the gate's folder, such as `.pfa/digits`.
        model: a fresh, full model of the same factory; it is not changed, its weights do not matter.

    Returns:
        The compressed model in eval mode, with `.kept`.

    Raises:
        ArtifactError: a file is missing or broken, or the model is not the one that was compressed.
    """
    folder = Path(directory)
    kept, weights = _read_recipe(folder)
    if model is None:
        raise ArtifactError(
            f"{folder} holds weights, not code.",
            remedy="Pass the full model: load(directory, model=factory()).",
        )
    try:
        smaller = narrow(model, kept)
        load_model(smaller, weights, strict=True)
    except (SurgeryError, SafetensorError, RuntimeError, IndexError, OSError) as error:
        raise ArtifactError(
            f"The compressed weights in {folder} do not fit the model: {str(error).splitlines()[0]}",
            remedy="Pass a model from the same factory, with the same arguments, as in pfa.yaml.",
        ) from error
    return smaller.eval()


def _read_recipe(folder: Path) -> tuple[Kept, Path]:
    path = folder / RECIPE
    try:
        plan = yaml.safe_load(path.read_text(encoding="utf-8"))
        parameters: Mapping[str, Mapping[int, list[int]]] = plan["parameters"]
        kept = {
            str(name): {int(axis): np.asarray(indices, dtype=np.int64) for axis, indices in axes.items()}
            for name, axes in parameters.items()
        }
        weights = folder / str(plan["weights"])
    except OSError as error:
        raise ArtifactError(
            f"There is no compressed model in {folder}: {error.strerror}.", remedy="Run the gate first."
        ) from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"{path} is not a recipe: {error!r}.", remedy="Run the gate again.") from error
    if weights.resolve().parent != folder.resolve():
        raise ArtifactError(f"{path} names weights outside its own folder.", remedy="Run the gate again.")
    return kept, weights
