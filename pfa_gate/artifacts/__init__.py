"""The only writer to disk: what a gate leaves behind, whole or not at all.

A gate's folder holds `record.json` and the reports made from it, and beside them, where a compressed model was proved,
`recipe.yaml`, `weights.safetensors`, `model.pt2`, and with the extra `onnx` `model.onnx`. Nothing is a pickle.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_model
from torch import nn

from pfa_gate.artifacts.folder import digest, replacing, shown
from pfa_gate.artifacts.onnx_model import installed, write_onnx
from pfa_gate.artifacts.program import ExportFailedError, program_of, read_program, trials, write_program
from pfa_gate.artifacts.recipe import RecipeFile, read_recipe, recipe_text
from pfa_gate.artifacts.recount import Recount, buffers_of
from pfa_gate.compress.prune import PrunedModel, narrow, with_kept
from pfa_gate.errors import ArtifactError, SurgeryError
from pfa_gate.graph import Coupling, Program
from pfa_gate.graph.export import without_garbage_collection
from pfa_gate.model.batch import Inputs
from pfa_gate.record import Record, Unmeasured, dumps
from pfa_gate.report.files import report_text
from pfa_gate.report.ownership import FILES, ONNX, PROGRAM, RECIPE, RECORD, REPORTS, WEIGHTS

__all__ = ["load", "write"]


def write(
    output: Path,
    record: Record,
    cut: tuple[PrunedModel, Coupling] | None,
    inputs: Inputs = ((), {}),
    finish: Callable[[Record], Record] = lambda record: record,
) -> Record:
    """Write a gate's folder in one step and return the record with the paths of its files.

    Args:
        output: folder of all gates; the gate's own is `output / record.gate`.
        record: what was found.
        cut: the proved smaller model, and the groups it was cut by; None without a model.
        inputs: an example for the model; its values are not stored.
        finish: adds to the record what is known only after the model's files are written: the time it took.

    Raises:
        ArtifactError: the disk is full, the folder cannot be written, or a link leads out of it; or a file holds
            something else than the record says.
    """
    folder = output / record.gate
    with replacing(folder) as fresh, without_garbage_collection():
        if cut is not None:
            compressed, coupling = cut
            save_model(compressed.model, str(fresh / WEIGHTS), metadata={"format": "pt", "gate": record.gate})
            recount = Recount(record.compressed, compressed.model, buffers_of(compressed.model, coupling))
            recount.require(WEIGHTS, recount.weights(fresh / WEIGHTS))
            gaps = _write_programs(fresh, compressed, inputs, recount)
            files = {path.name: digest(path) for path in sorted(fresh.iterdir())}
            (fresh / RECIPE).write_text(recipe_text(record, compressed, coupling, files), encoding="utf-8")
            record = replace(record, unmeasured=(*record.unmeasured, *gaps))
        made = (RECORD, *REPORTS)
        names = [name for name in FILES if name in made or (fresh / name).exists()]
        record = replace(record, files={FILES[name]: shown(folder / name) for name in names})
        # Made twice: the first time takes nearly all of it, imports and templates, and so is in the time that is told.
        _reports(record)
        record = finish(record)
        (fresh / RECORD).write_text(dumps(record), encoding="utf-8")
        for name, text in _reports(record).items():
            (fresh / name).write_text(text, encoding="utf-8", newline="\n")
    return record


def _reports(record: Record) -> dict[str, str]:
    return {name: report_text(record, name) for name in REPORTS}


def _write_programs(fresh: Path, compressed: PrunedModel, inputs: Inputs, recount: Recount) -> list[Unmeasured]:
    """Write the forms that run without the user's code; give those that could not be made, and why."""
    wanted: dict[str, Callable[[Program, Path, nn.Module, Sequence[Inputs]], None]] = {PROGRAM: write_program}
    if installed():
        wanted[ONNX] = write_onnx
    try:
        program = program_of(compressed.model, inputs)
    except ExportFailedError as failure:
        return [Unmeasured(name, f"not written: {failure}") for name in wanted]
    recount.require(PROGRAM, recount.program(program.exported))
    tried = trials(program, compressed.model, inputs)
    gaps = []
    for name, writer in wanted.items():
        try:
            writer(program, fresh / name, compressed.model, tried)
        except ExportFailedError as failure:
            gaps.append(Unmeasured(name, f"not written: {failure}"))
    if len(tried) == 1:
        fixed = f"the model's forward fixes the batch: it runs at {program.batch} samples only"
        gaps += [Unmeasured(name, fixed) for name in wanted if (fresh / name).exists()]
    return gaps


def load(directory: Path | str, model: nn.Module | None = None) -> nn.Module:
    """Rebuild a compressed model from a gate's folder.

    Args:
        directory: the gate's folder, such as `.pfa/digits`.
        model: a fresh, full model of the same factory; it is not changed, its weights do not matter. Without it,
            or where the model's own class does not run at the new widths, the exported program is loaded.

    Returns:
        The compressed model in eval mode, with `.kept`.

    Raises:
        ArtifactError: a file is missing, broken or another one, or the model is not the one that was compressed.
    """
    plan = read_recipe(Path(directory))
    if model is None or plan.form == "graph":
        return with_kept(read_program(plan.file(PROGRAM)), plan.axis_indices)
    return with_kept(_in_place(plan, model), plan.axis_indices)


def _add_biases(model: nn.Module, weights: Path) -> None:
    """A reader that took over the constants of dead filters has a bias, even where the factory gives it none."""
    known = set(model.state_dict())
    with safe_open(weights, "pt") as held:
        names = held.keys()
        for name in names:
            owner, _, attribute = name.rpartition(".")
            if name not in known and attribute == "bias" and getattr(model.get_submodule(owner), "bias", 0) is None:
                model.get_submodule(owner).bias = nn.Parameter(held.get_tensor(name))


def _in_place(plan: RecipeFile, model: nn.Module) -> nn.Module:
    weights = plan.file(WEIGHTS)
    try:
        smaller = narrow(model, plan.axis_indices)
        _add_biases(smaller, weights)
        load_model(smaller, weights, strict=True)
    except (SurgeryError, SafetensorError, RuntimeError, IndexError, OSError) as error:
        raise ArtifactError(
            f"The compressed weights in {plan.folder} do not fit the model: {str(error).splitlines()[0]}",
            remedy="Pass a model from the same factory, with the same arguments, as in pfa.yaml.",
        ) from error
    return smaller.eval()
