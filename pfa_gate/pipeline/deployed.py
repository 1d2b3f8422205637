"""What is deployed: the files of the compressed model, made before the gate judges, and what was measured of them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch.fx import GraphModule

from pfa_gate.artifacts import Delivery, ModelFiles, write_model
from pfa_gate.artifacts.graph_sizes import let_follow
from pfa_gate.budget import Parity
from pfa_gate.config.field_types import OTHERS
from pfa_gate.graph import inputs_of
from pfa_gate.pipeline.cut import Cut, FileLatencies
from pfa_gate.record import CompressedRecord, Unmeasured
from pfa_gate.report.ownership import ONNX, WEIGHTS

if TYPE_CHECKING:
    from pfa_gate.pipeline.quantized import QuantizedFindings


@dataclass(frozen=True)
class ParityFindings:
    """What became of the files in their runtime.

    Attributes:
        found: section of the budgets -> its file against its reference.
        reasons: section -> why its file was not compared.
        gaps: what else was not done, and why.
    """

    found: Mapping[str, Parity] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    gaps: tuple[Unmeasured, ...] = ()


@dataclass(frozen=True)
class Deployed:
    """The files of the compressed model.

    Attributes:
        files: what was written.
        delivery: of what; None where there is no compressed model.
        parity: of the files in their runtime; None where the gate does not ask for it.
        quantized: the int8 file; None where the gate does not ask for one, or there is no compressed model.
        latencies: how long they take, where budgets ask for it.
    """

    files: ModelFiles
    delivery: Delivery | None = None
    parity: ParityFindings | None = None
    quantized: "QuantizedFindings | None" = None
    latencies: FileLatencies | None = None


def deploy(fresh: Path, folder: Path, cut: Cut | None, counted: CompressedRecord | None) -> Deployed:
    """Write the files of a compressed model, if there is one.

    Args:
        fresh: the gate's new folder.
        folder: whose place it takes.
        cut: the compressed model; None where none could be made.
        counted: what the record says that it stores.

    Raises:
        ArtifactError: the disk is full, or a file holds something else than `counted`.
    """
    if cut is None:
        return Deployed(ModelFiles(fresh))
    delivery = _delivery(cut)
    with cut.job.stages.stage("exporting"):
        files = write_model(fresh, folder, delivery, counted)
    return Deployed(files, delivery, quantized=quantize_files(cut, files, folder))


def quantize_files(cut: Cut, files: ModelFiles, folder: Path) -> "QuantizedFindings | None":
    """Store a model with few bits, as the section `quantize` says; None without it.

    Args:
        cut: the compressed model.
        files: what was written of it.
        folder: the gate's, whose place that of `files` takes.
    """
    if cut.job.config.quantize is None:
        return None
    if not cut.job.config.int8:
        from pfa_gate.pipeline.few_bits import few_bits  # noqa: PLC0415  for gates with fewer bits

        return few_bits(cut, (files.folder, folder))
    from pfa_gate.pipeline.quantized import quantized  # noqa: PLC0415  for gates with this section

    return quantized(cut, files.onnx, files.why_not(ONNX), (files.folder, folder))


def _writers(forms: Collection[str] | None) -> dict[str, Callable[..., None]]:
    if not set(OTHERS) & set(forms or ()):
        return {}
    from pfa_gate.runtime.other_runtimes import writers  # noqa: PLC0415  for gates that ask

    return writers(forms)


def _delivery(cut: Cut) -> Delivery:
    subject, model = cut.job.subject, cut.compressed
    inputs = inputs_of(subject.example)
    config = cut.job.config
    more = ("onnx",) if config.int8 else ()
    delivery = Delivery(
        model, cut.coupling, inputs, config.artifacts, measured=more, writers=_writers(config.artifacts)
    )
    # A graph was recorded at the example; the module of the user's own class runs its code at any size.
    if model.form == "module" or not isinstance(model.model, GraphModule) or set(delivery.made) <= {WEIGHTS}:
        return delivery
    return replace(delivery, same=let_follow(model.model, cut.coupling.program, subject.model, inputs))
