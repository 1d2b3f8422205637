"""The files of a gate and of a study, in folders that are written whole or not at all."""

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_model
from torch import Tensor, nn
from torch.export import ExportedProgram

from pfa_gate.artifacts.export import Export, ExportFailedError, without_garbage_collection
from pfa_gate.artifacts.onnx_model import installed, write_onnx
from pfa_gate.artifacts.program import program_of, trials, write_program
from pfa_gate.artifacts.recipe import recipe_text
from pfa_gate.compress.prune import PrunedModel
from pfa_gate.compress.prune.prune_model import constant_name
from pfa_gate.errors import ArtifactError
from pfa_gate.files import display_path, remove_abandoned, sha256_of, unfinished_folder
from pfa_gate.graph import Coupling
from pfa_gate.graph.computed_weights import sources_of
from pfa_gate.graph.cost import Stored, storage_key
from pfa_gate.model.batch import Inputs
from pfa_gate.record import CompressedRecord, Record, Unmeasured, dumps
from pfa_gate.report.files import report_text
from pfa_gate.report.ownership import (
    FILES,
    ONNX,
    PROGRAM,
    RECIPE,
    RECORD,
    REPORTS,
    WEIGHTS,
    of_another,
    refuse,
    remove_own,
    require_folder,
    require_study,
)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A new folder that takes the place of `folder` when all went well, and vanishes when not.

    What a run that was killed has left beside it is removed once all went well.

    Args:
        folder: that of a gate, and named as the gate is.

    Raises:
        ArtifactError: the folder is not the gate's own, the disk is full, or the folder cannot be written.
    """
    fresh = None
    try:
        require_folder(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = unfinished_folder(f".{folder.name}", folder.parent)
        yield fresh
        _open_to_readers(fresh)
        _swap(fresh, folder)
        remove_abandoned(folder.parent)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ArtifactError(
            f"The results cannot be written to {folder}: {reason}.",
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
    require_folder(folder)
    if not folder.exists():
        os.replace(fresh, folder)
        return
    old = unfinished_folder(f".{folder.name}-old", folder.parent)
    aside = old / folder.name
    os.replace(folder, aside)
    try:
        # What has come since the last look is somebody's.
        refuse(folder, of_another(aside))
        os.replace(fresh, folder)
    except (OSError, ArtifactError):
        os.replace(aside, folder)
        old.rmdir()
        raise
    with suppress(OSError):  # the next run's sweep
        remove_own(aside)
        old.rmdir()


def write_study(folder: Path, texts: Mapping[str, str]) -> tuple[str, ...]:
    """Write study.json, study.md and study.svg; whatever else the folder holds stays.

    Args:
        folder: made where there is none.
        texts: of the files, by their names.

    Returns:
        The paths, from the working directory where they lie below it.

    Raises:
        ArtifactError: the folder cannot be written, or one of the files there is of no study.
    """
    require_study(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fresh = unfinished_folder(".study", folder)
        try:
            for name, text in texts.items():
                (fresh / name).write_text(text, encoding="utf-8", newline="\n")
            for name in texts:
                os.replace(fresh / name, folder / name)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        remove_abandoned(folder)
    except OSError as error:
        raise ArtifactError(
            f"The study cannot be written to {folder}: {error.strerror or error}.",
            remedy="Free some space, or name another folder with --output.",
        ) from error
    return tuple(display_path(folder.resolve() / name) for name in texts)


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
        record: of the run.
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
            files = {path.name: sha256_of(path) for path in sorted(fresh.iterdir())}
            (fresh / RECIPE).write_text(recipe_text(record, compressed, coupling, files), encoding="utf-8")
            record = replace(record, unmeasured=(*record.unmeasured, *gaps))
        made = (RECORD, *REPORTS)
        names = [name for name in FILES if name in made or (fresh / name).exists()]
        record = replace(record, files={FILES[name]: display_path(folder.resolve() / name) for name in names})
        # Made twice: the first time, with imports and templates, takes nearly all of it, and is in the record's time.
        _reports(record)
        record = finish(record)
        (fresh / RECORD).write_text(dumps(record), encoding="utf-8")
        for name, text in _reports(record).items():
            (fresh / name).write_text(text, encoding="utf-8", newline="\n")
    return record


def _reports(record: Record) -> dict[str, str]:
    return {name: report_text(record, name) for name in REPORTS}


def _write_programs(fresh: Path, compressed: PrunedModel, inputs: Inputs, recount: "Recount") -> list[Unmeasured]:
    """Write the forms that run without the user's code; give those that could not be made, and why."""
    wanted: dict[str, Callable[[Export, Path, nn.Module, Sequence[Inputs]], None]] = {PROGRAM: write_program}
    if installed():
        wanted[ONNX] = write_onnx
    try:
        export = program_of(compressed.model, inputs)
    except ExportFailedError as failure:
        return [Unmeasured(name, f"not written: {failure}") for name in wanted]
    recount.require(PROGRAM, recount.program(export.program))
    tried = trials(export, compressed.model, inputs)
    gaps = []
    for name, writer in wanted.items():
        try:
            writer(export, fresh / name, compressed.model, tried)
        except ExportFailedError as failure:
            gaps.append(Unmeasured(name, f"not written: {failure}"))
    if len(tried) == 1:
        fixed = f"the model's forward fixes the batch: it runs at {export.batch} samples only"
        gaps += [Unmeasured(name, fixed) for name in wanted if (fresh / name).exists()]
    return gaps


@dataclass(frozen=True)
class Recount:
    """Counts what the files of a compressed model hold, to compare it with the record.

    Attributes:
        counted: what the record says; None where it says nothing.
        model: the compressed model.
        buffers: names of its tensors that are no weights, from `buffers_of`.
    """

    counted: CompressedRecord | None
    model: nn.Module
    buffers: frozenset[str]

    def weights(self, path: Path) -> Stored:
        """What a .safetensors file holds, by its own header."""
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        header.pop("__metadata__", None)
        parameters = sum(math.prod(entry["shape"]) for name, entry in header.items() if name not in self.buffers)
        return Stored(parameters, sum(entry["data_offsets"][1] - entry["data_offsets"][0] for entry in header.values()))

    def program(self, exported: ExportedProgram) -> Stored:
        """What an exported program holds; tensors that are one in the model count once."""
        state = self.model.state_dict(keep_vars=True)
        own = {name: storage_key(tensor) for name, tensor in state.items() if isinstance(tensor, Tensor)}
        held: Mapping[str, Tensor] = exported.state_dict
        once = {own.get(name, name): (name, tensor) for name, tensor in held.items()}
        parameters = sum(tensor.numel() for name, tensor in once.values() if name not in self.buffers)
        return Stored(parameters, sum(tensor.numel() * tensor.element_size() for _, tensor in once.values()))

    def require(self, name: str, held: Stored) -> None:
        """Compare what a file holds with what the record says.

        Raises:
            ArtifactError: they differ.
        """
        counted = self.counted
        if counted is not None and held != Stored(counted.parameters, counted.bytes):
            raise ArtifactError(
                f"{name} holds {held.parameters:,} parameters in {held.bytes:,} bytes, but the compressed model was "
                f"counted as {counted.parameters:,} in {counted.bytes:,}.",
                remedy="No budget is judged on a wrong count. "
                "This is a fault of pfa_gate: please report it with the model.",
            )


def buffers_of(model: nn.Module, coupling: Coupling) -> frozenset[str]:
    """Names of a compressed model's tensors that are no weights.

    They are buffers of the full model too, or constants computed from such buffers alone. A buffer that is a parameter
    under another name is a weight: the files hold it once, under one of its names.
    """
    program = coupling.program
    trained = program.parameters
    full = set(program.held.values()) - trained
    constants = {constant_name(node): node for node in program.folded.values()}

    def no_weight(name: str) -> bool:
        constant = constants.get(name)
        return name in full or (constant is not None and trained.isdisjoint(sources_of(program, constant)))

    weights = {storage_key(parameter) for parameter in model.parameters()}
    buffers = model.named_buffers(remove_duplicate=False)
    return frozenset(name for name, buffer in buffers if storage_key(buffer) not in weights and no_weight(name))
