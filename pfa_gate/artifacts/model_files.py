"""The files of a compressed model, in the forms that a gate asks for: made before the gate judges, which reads them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save_model

from pfa_gate.artifacts.export import ExportFailedError
from pfa_gate.artifacts.folders import written_to
from pfa_gate.artifacts.recount import Recount, buffers_of
from pfa_gate.budget.wording import listed
from pfa_gate.compress.prune import PrunedModel
from pfa_gate.errors import ArtifactError
from pfa_gate.graph import Coupling
from pfa_gate.model.batch import Inputs
from pfa_gate.model.global_state import without_garbage_collection
from pfa_gate.record import CompressedRecord, Unmeasured
from pfa_gate.report.ownership import EXECUTORCH, INT8, ONNX, OPENVINO, PROGRAM, WEIGHTS

if TYPE_CHECKING:
    from pfa_gate.artifacts.sizes import FreeSizes

_EXTRA = ("onnx", "onnxscript", "onnxruntime")
_FORMS = {"weights": WEIGHTS, "pt2": PROGRAM, "onnx": ONNX, "openvino": OPENVINO, "executorch": EXECUTORCH}
_UNASKED = ("weights", "pt2", "onnx")


def installed() -> bool:
    """Whether the extra `onnx` is there."""
    return not _missing()


def _missing() -> list[str]:
    return [name for name in _EXTRA if find_spec(name) is None]


def require_onnx(section: str = "artifacts") -> None:
    """Refuse to go on towards an ONNX file that cannot be written here.

    Args:
        section: of pfa.yaml that asks for it: artifacts, or quantize.

    Raises:
        ArtifactError: the extra `onnx` is not installed.
    """
    if not installed():
        file, remedy = (INT8, "remove quantize") if section == "quantize" else (ONNX, "take onnx out of artifacts")
        fact = f"The gate asks for {file}, which needs {listed(_missing(), len(_EXTRA))}."
        raise ArtifactError(fact, remedy=f"Run pip install 'pfa-gate[onnx]', or {remedy}.")


@dataclass(frozen=True)
class Delivery:
    """A proved smaller model, and what is written of it.

    Attributes:
        compressed: the model.
        coupling: the groups that it was cut by.
        inputs: an example for the model; its values are not stored.
        forms: of `weights`, `pt2`, `onnx` and those of other runtimes; None for the first three that can be made here.
        same: whether the model does at inputs of other sizes what it does at the example, where it is a program
            recorded at the example.
        measured: of these forms those that are made to be measured too, and not written unless they are in `forms`.
        writers: file of another runtime -> what writes it, as `write_onnx` does.
    """

    compressed: PrunedModel
    coupling: Coupling
    inputs: Inputs = ((), {})
    forms: Collection[str] | None = None
    same: Callable[[Inputs], bool] = lambda inputs: True
    measured: Collection[str] = ()
    writers: Mapping[str, Callable[..., None]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Of the files that are to be written, in this order."""
        forms = self.forms or [form for form in _UNASKED if form != "onnx" or installed()]
        return [name for form, name in _FORMS.items() if form in forms]

    @property
    def made(self) -> list[str]:
        """Names of the files that are made, in this order."""
        return [name for form, name in _FORMS.items() if name in self.names or form in self.measured]


@dataclass(frozen=True)
class ModelFiles:
    """What became of the files of a compressed model.

    Attributes:
        folder: where they lie.
        names: of those that were written, in the order of `Delivery.names`.
        gaps: those that could not be made, and why.
        sizes: input of a file that runs without the user's code -> its shape, with names for what may change.
        onnx: content of model.onnx, written or not; None where it was not made.
    """

    folder: Path
    names: tuple[str, ...] = ()
    gaps: tuple[Unmeasured, ...] = ()
    sizes: Mapping[str, tuple[int | str, ...]] = field(default_factory=dict)
    onnx: bytes | None = None

    def why_not(self, name: str) -> str:
        """Why a file could not be made; empty where that is not known."""
        reasons = (gap.reason.removeprefix("not written: ") for gap in self.gaps if gap.what == name)
        return next(reasons, "")


def write_model(fresh: Path, folder: Path, delivery: Delivery, counted: CompressedRecord | None) -> ModelFiles:
    """Write the files of a compressed model, in the forms that are asked for.

    Args:
        fresh: a gate's new folder, from `replacing`.
        folder: whose place it takes, named as the gate is.
        delivery: the model.
        counted: what the record says that it stores; None where it says nothing.

    Raises:
        ArtifactError: the disk is full, or a file holds something else than `counted`.
    """
    model = delivery.compressed.model
    recount = Recount(counted, model, buffers_of(model, delivery.coupling))
    with written_to(folder), without_garbage_collection():
        if WEIGHTS in delivery.names:
            save_model(model, str(fresh / WEIGHTS), metadata={"format": "pt", "gate": folder.name})
            recount.require(WEIGHTS, recount.weights(fresh / WEIGHTS))
        programs = [name for name in delivery.made if name != WEIGHTS]
        made = _write_programs(fresh, delivery, programs, recount) if programs else _Programs((), {})
        onnx = (fresh / ONNX).read_bytes() if (fresh / ONNX).exists() else None
        for name in set(programs) - set(delivery.names):
            (fresh / name).unlink(missing_ok=True)
    names = tuple(name for name in delivery.names if (fresh / name).exists())
    return ModelFiles(fresh, names, made.gaps, made.sizes, onnx)


def _write_programs(fresh: Path, delivery: Delivery, names: Sequence[str], recount: Recount) -> "_Programs":
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


def _attempt(fresh: Path, delivery: Delivery, names: Sequence[str], recount: Recount, free: "FreeSizes") -> _Programs:
    from pfa_gate.artifacts import onnx_model  # noqa: PLC0415
    from pfa_gate.artifacts import program as programs  # noqa: PLC0415

    writers = {PROGRAM: programs.write_program, ONNX: onnx_model.write_onnx, **delivery.writers}
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
