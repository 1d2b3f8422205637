"""The files of a gate: those of its model that it asks for, its recipe, its record and the reports."""

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save_model
from torch import Tensor, nn

from pfa_gate.artifacts.export import ExportFailedError
from pfa_gate.artifacts.folders import replacing
from pfa_gate.artifacts.recipe import recipe_text
from pfa_gate.budget.wording import listed
from pfa_gate.compress.prune import PrunedModel
from pfa_gate.compress.prune.prune_model import constant_name
from pfa_gate.errors import ArtifactError
from pfa_gate.files import display_path, sha256_of
from pfa_gate.graph import Coupling
from pfa_gate.graph.computed_weights import sources_of
from pfa_gate.graph.cost import Stored, storage_key
from pfa_gate.model.batch import Inputs
from pfa_gate.model.global_state import without_garbage_collection
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
)

if TYPE_CHECKING:
    from pfa_gate.artifacts.sizes import FreeSizes

_EXTRA = ("onnx", "onnxscript", "onnxruntime")
_FORMS = {"weights": WEIGHTS, "pt2": PROGRAM, "onnx": ONNX}


def installed() -> bool:
    """Whether the extra `onnx` is there."""
    return not _missing()


def _missing() -> list[str]:
    return [name for name in _EXTRA if find_spec(name) is None]


def require_onnx() -> None:
    """Refuse to go on towards a model.onnx that cannot be written here.

    Raises:
        ArtifactError: the extra `onnx` is not installed.
    """
    if not installed():
        fact = f"The gate asks for {ONNX}, which needs {listed(_missing(), len(_EXTRA))}."
        raise ArtifactError(fact, remedy="Run pip install 'pfa-gate[onnx]', or take onnx out of artifacts.")


@dataclass(frozen=True)
class Delivery:
    """A proved smaller model, and what is written of it.

    Attributes:
        compressed: the model.
        coupling: the groups that it was cut by.
        inputs: an example for the model; its values are not stored.
        forms: of `weights`, `pt2` and `onnx`; None for all that can be made here.
        same: whether the model does at inputs of other sizes what it does at the example, where it is a program
            recorded at the example.
    """

    compressed: PrunedModel
    coupling: Coupling
    inputs: Inputs = ((), {})
    forms: Collection[str] | None = None
    same: Callable[[Inputs], bool] = lambda inputs: True

    @property
    def names(self) -> list[str]:
        """Of the files that are to be written, in this order."""
        forms = self.forms or [form for form in _FORMS if form != "onnx" or installed()]
        return [name for form, name in _FORMS.items() if form in forms]


def write(
    output: Path,
    record: Record,
    delivery: Delivery | None,
    finish: Callable[[Record], Record] = lambda record: record,
) -> Record:
    """Write a gate's folder in one step and return the record with the paths of its files.

    Args:
        output: folder of all gates; the gate's own is `output / record.gate`.
        record: of the run.
        delivery: the smaller model; None without one.
        finish: adds to the record what is known only after the model's files are written: the time it took.

    Raises:
        ArtifactError: the disk is full, the folder cannot be written, or a link leads out of it; or a file holds
            something else than the record says.
    """
    folder = output / record.gate
    with replacing(folder) as fresh, without_garbage_collection():
        if delivery is not None:
            programs = _write_model(fresh, record, delivery)
            record = replace(record, unmeasured=(*record.unmeasured, *programs.gaps), inputs=programs.sizes)
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


def _write_model(fresh: Path, record: Record, delivery: Delivery) -> "_Programs":
    """Write the forms that are asked for, and the recipe."""
    compressed, coupling = delivery.compressed, delivery.coupling
    recount = Recount(record.compressed, compressed.model, buffers_of(compressed.model, coupling))
    if WEIGHTS in delivery.names:
        save_model(compressed.model, str(fresh / WEIGHTS), metadata={"format": "pt", "gate": record.gate})
        recount.require(WEIGHTS, recount.weights(fresh / WEIGHTS))
    programs = [name for name in delivery.names if name != WEIGHTS]
    made = _write_programs(fresh, delivery, programs, recount) if programs else _Programs((), {})
    files = {path.name: sha256_of(path) for path in sorted(fresh.iterdir())}
    (fresh / RECIPE).write_text(recipe_text(record, compressed, coupling, files), encoding="utf-8")
    return made


def _write_programs(fresh: Path, delivery: Delivery, names: Sequence[str], recount: "Recount") -> "_Programs":
    """Write the forms that run without the user's code, of one export, for as many sizes of the inputs as can be."""
    from pfa_gate.artifacts.sizes import FIXED, free_sizes  # noqa: PLC0415  for those who ask for such a file

    free = free_sizes(delivery.compressed.model, delivery.inputs, delivery.same)
    made = _attempt(fresh, delivery, names, recount, free)
    return _attempt(fresh, delivery, names, recount, FIXED) if made.elsewhere else made


@dataclass(frozen=True)
class _Programs:
    """What became of the forms that run without the user's code.

    Attributes:
        gaps: those that could not be made, and why.
        sizes: input -> its shape, with names for what may change.
        elsewhere: whether one was refused that was asked for other sizes than the example's.
    """

    gaps: tuple[Unmeasured, ...]
    sizes: Mapping[str, tuple[int | str, ...]]
    elsewhere: bool = False


def _attempt(fresh: Path, delivery: Delivery, names: Sequence[str], recount: "Recount", free: "FreeSizes") -> _Programs:
    from pfa_gate.artifacts import onnx_model  # noqa: PLC0415
    from pfa_gate.artifacts import program as programs  # noqa: PLC0415

    writers = {PROGRAM: programs.write_program, ONNX: onnx_model.write_onnx}
    model = delivery.compressed.model
    try:
        export = programs.program_of(model, delivery.inputs, free)
    except ExportFailedError as failure:
        return _Programs(tuple(Unmeasured(name, f"not written: {failure}") for name in names), {})
    recount.require(names[0], recount.program(export.program.state_dict))
    batches = programs.trials(export, model, delivery.inputs)
    tried = [*batches, *programs.resized_trial(export, delivery.inputs, free)]
    gaps = []
    for name in names:
        try:
            writers[name](export, fresh / name, model, tried)
        except ExportFailedError as failure:
            gaps.append(Unmeasured(name, f"not written: {failure}"))
    elsewhere = bool(gaps) and len(tried) > len(batches)
    if len(batches) == 1:
        fixed = f"the model's forward fixes the batch: it runs at {export.batch} samples only"
        gaps += [Unmeasured(name, fixed) for name in names if (fresh / name).exists()]
    return _Programs(tuple(gaps), export.sizes, elsewhere)


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

    def program(self, held: Mapping[str, Tensor]) -> Stored:
        """What an exported program holds, by name; tensors that are one in the model count once."""
        state = self.model.state_dict(keep_vars=True)
        own = {name: storage_key(tensor) for name, tensor in state.items() if isinstance(tensor, Tensor)}
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
