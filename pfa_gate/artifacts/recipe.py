"""recipe.yaml: how the model was compressed, and which files hold it; a compressed model is loaded by it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model
from torch import nn

from pfa_gate.artifacts.few_bits_file import put_into, read_few_bits
from pfa_gate.compress.factorize import with_two_layers
from pfa_gate.compress.prune import AxisIndices, Form, PrunedModel, narrow, with_kept
from pfa_gate.errors import ArtifactError, SurgeryError
from pfa_gate.files import sha256_of
from pfa_gate.graph import Coupling
from pfa_gate.record import Record
from pfa_gate.report.ownership import FEW_BITS, PROGRAM, RECIPE, WEIGHTS

_VERSION = 1
_AGAIN = "Run the gate again."
# The same in C, where PyYAML was built with it: the indices of a wide model take seconds otherwise.
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_IN_LINE, _NEXT_LINE = 20, ",\n" + " " * 6  # indices in a line, and what is between two lines
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class RecipeFile:
    """What a recipe.yaml says about the files beside it.

    Attributes:
        folder: where it lies.
        form: `module` or `graph`.
        axis_indices: for each parameter and axis, the indices that stayed.
        files: name of each file -> SHA-256 of its bytes.
        ranks: layer that is two -> how many values lie between the two.
    """

    folder: Path
    form: Form
    axis_indices: AxisIndices
    files: Mapping[str, str]
    ranks: Mapping[str, int] = field(default_factory=dict)

    def file(self, name: str) -> Path:
        """The path of a file of this recipe, its bytes being those that were written with it.

        Raises:
            ArtifactError: the recipe names no such file, or the file is missing or another one.
        """
        if name not in self.files:
            asked = "Write quantize, such as {bits: 4}," if name == FEW_BITS else "Name it under artifacts"
            raise ArtifactError(
                f"{self.folder} has no {name}.",
                remedy=f"{asked} in pfa.yaml; if it is, record.json says why under 'unmeasured'.",
            )
        path = self.folder / name
        try:
            same = path.resolve().parent == self.folder.resolve() and sha256_of(path) == self.files[name]
        except OSError as error:
            raise ArtifactError(f"{path} cannot be read: {error.strerror}.", remedy=_AGAIN) from error
        if not same:
            raise ArtifactError(f"{path} is not the file that was written with {RECIPE}.", remedy=_AGAIN)
        return path


def recipe_text(record: Record, compressed: PrunedModel, coupling: Coupling, files: Mapping[str, str]) -> str:
    """The recipe as YAML: how it was found, filters kept per group, ranks, and the cut of each parameter."""
    recipe = record.recipe
    plan: dict[str, Any] = {
        "version": _VERSION,
        "gate": record.gate,
        "strategy": recipe.strategy if recipe else None,
        "energy": recipe.energy if recipe else None,
        "form": compressed.form,
        "files": dict(files),
        "groups": {group.name: _group_plan(group.name, group.width, record) for group in coupling.groups},
    }
    if record.quantized is not None and record.quantized.plan is not None:
        plan["bits"] = {layer.name: _width(layer.width) for layer in record.quantized.plan.layers}
    if record.factorized is not None and record.factorized.layers:
        plan["factorized"] = record.factorized.ranks
    return _dumped(plan) + _parameters_text(compressed.axis_indices)


def _dumped(plan: Mapping[str, Any]) -> str:
    style: Any = {"sort_keys": False, "default_flow_style": None, "width": 110, "allow_unicode": True}
    return str(yaml.dump(plan, Dumper=_DUMPER, **style))


def _parameters_text(axis_indices: AxisIndices) -> str:
    """The cut of each parameter; its indices are written here, as PyYAML takes seconds for those of a wide model."""
    axes = {name: dict(sorted(axes.items())) for name, axes in sorted(axis_indices.items())}
    empty = _dumped({"parameters": {name: dict.fromkeys(each, ()) for name, each in axes.items()}})
    lists = iter([_flow(np.asarray(indices).tolist()) for each in axes.values() for indices in each.values()])
    return "".join(
        line.removesuffix("[]\n") + next(lists) + "\n" if line.endswith(": []\n") else line
        for line in empty.splitlines(keepends=True)
    )


def _flow(indices: Sequence[int]) -> str:
    """Indices as YAML, some in each line.

    Example:
        >>> _flow([0, 2, 3])
        '[0, 2, 3]'
    """
    rows = [", ".join(map(str, indices[at : at + _IN_LINE])) for at in range(0, len(indices), _IN_LINE)]
    return f"[{_NEXT_LINE.join(rows)}]"


def _width(width: str) -> int | str:
    return int(width) if width.isdecimal() else width


def _group_plan(name: str, width: int, record: Record) -> dict[str, Any]:
    recipe = record.recipe
    keep = recipe.keep.get(name) if recipe else None
    if keep is None:
        reason = recipe.reasons.get(name, "") if recipe else ""
        return {"filters": width, "whole": reason}
    return {"filters": width, "keep": keep}


def read_recipe(folder: Path) -> RecipeFile:
    """Read the recipe of a gate's folder.

    Raises:
        ArtifactError: there is none, it is broken, or it names a file outside its folder.
    """
    path = folder / RECIPE
    try:
        return _plan(folder, yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER))
    except OSError as error:
        raise ArtifactError(
            f"There is no compressed model in {folder}: {error.strerror}.", remedy="Run the gate first."
        ) from error
    except (yaml.YAMLError, LookupError, TypeError, ValueError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise ArtifactError(f"{path} is not a recipe: {type(error).__name__}: {reason}.", remedy=_AGAIN) from error


def _plan(folder: Path, data: Any) -> RecipeFile:
    if data["version"] != _VERSION:
        raise ValueError(f"its version is {data['version']!r}, not {_VERSION}")
    if data["form"] not in ("module", "graph"):
        raise ValueError(f"its form is {data['form']!r}")
    axis_indices = {
        str(name): {int(axis): np.asarray(indices, dtype=np.int64) for axis, indices in axes.items()}
        for name, axes in data["parameters"].items()
    }
    files = {str(name): str(hashed) for name, hashed in data["files"].items()}
    for name in files:
        if name in (".", "..") or "\\" in name or Path(name).name != name:
            raise ArtifactError(f"{folder / RECIPE} names a file outside its own folder: {name!r}.", remedy=_AGAIN)
    ranks = {str(name): int(rank) for name, rank in data.get("factorized", {}).items()}
    return RecipeFile(folder, data["form"], axis_indices, files, ranks)


def load(directory: Path | str, model: nn.Module | None = None, *, few_bits: bool | None = None) -> nn.Module:
    """Rebuild a compressed model from a gate's folder.

    Args:
        directory: the gate's folder, such as `.pfa/digits`.
        model: a fresh, full model of the same factory; it is not changed, its weights do not matter. Without it,
            where the model's own class does not run at the new widths, or where the gate wrote no weights, the exported
            program is loaded.
        few_bits: whether its weights are those of weights.q.safetensors, number times scale, on which the budgets of
            `quantized` were judged, bit for bit; wherever the gate wrote that file unless given.

    Returns:
        The compressed model in eval mode, with `.kept`.

    Raises:
        ArtifactError: a file is missing, broken or another one, or the model is not the one that was compressed.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> import torch
        >>> from pfa_gate import run
        >>> code = '''
        ... import torch
        ... def build():
        ...     return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        ... def probe():
        ...     return torch.eye(4).repeat(16, 1)
        ... '''
        >>> gate = "{model: {factory: net.py:build}, probe: {data: net.py:probe}, budgets: {model: {parameters: 100}}}"
        >>> with TemporaryDirectory() as folder:
        ...     _ = Path(folder, "net.py").write_text(code)
        ...     _ = Path(folder, "pfa.yaml").write_text(f"{{version: 1, gates: {{tiny: {gate}}}}}")
        ...     _ = run(Path(folder, "pfa.yaml"))
        ...     load(Path(folder, ".pfa", "tiny"))(torch.zeros(1, 4)).shape
        torch.Size([1, 2])
    """
    recipe = read_recipe(Path(directory))
    few = recipe.file(FEW_BITS) if few_bits or (few_bits is None and FEW_BITS in recipe.files) else None
    held = few is not None or WEIGHTS in recipe.files
    if model is None or recipe.form == "graph" or (not held and PROGRAM in recipe.files):
        from pfa_gate.artifacts.program import read_program  # noqa: PLC0415  only a program needs the exporter

        loaded = read_program(recipe.file(PROGRAM))
        return with_kept(loaded if few is None else _with_few_bits(recipe, loaded, few), recipe.axis_indices)
    return with_kept(_in_place(recipe, model, few), recipe.axis_indices)


def _add_biases(model: nn.Module, weights: Path) -> None:
    """A reader that took over the constants of dead filters has a bias, even where the factory gives it none."""
    known = set(model.state_dict())
    with safe_open(weights, "pt") as held:
        names = held.keys()
        for name in names:
            owner, _, attribute = name.rpartition(".")
            if name not in known and attribute == "bias" and getattr(model.get_submodule(owner), "bias", 0) is None:
                model.get_submodule(owner).bias = nn.Parameter(held.get_tensor(name))


def _in_place(recipe: RecipeFile, model: nn.Module, few_bits: Path | None) -> nn.Module:
    weights = recipe.file(WEIGHTS) if few_bits is None else few_bits
    try:
        smaller = with_two_layers(narrow(model, recipe.axis_indices), recipe.ranks)
        _add_biases(smaller, weights)
        if few_bits is not None:
            return _with_few_bits(recipe, smaller, few_bits).eval()
        load_model(smaller, weights, strict=True)
    except (SurgeryError, SafetensorError, RuntimeError, IndexError, OSError) as error:
        raise _misfit(recipe, error) from error
    return smaller.eval()


def _with_few_bits(recipe: RecipeFile, model: nn.Module, path: Path) -> nn.Module:
    """The model itself, with the weights of a file of few bits."""
    held = read_few_bits(path)
    try:
        put_into(model, held)
    except RuntimeError as error:
        raise _misfit(recipe, error) from error
    return model


def _misfit(recipe: RecipeFile, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"The compressed weights in {recipe.folder} do not fit the model: {str(error).splitlines()[0]}",
        remedy="Pass a model from the same factory, with the same arguments, as in pfa.yaml.",
    )
