"""Runtimes beside ONNX Runtime: each is a module with `write`, which makes its file, and `run`, which opens one."""

import importlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfa_gate.budget.wording import listed
from pfa_gate.errors import ArtifactError
from pfa_gate.files import sha256_bytes, sha256_of
from pfa_gate.report.ownership import EXECUTORCH, OPENVINO, OPENVINO_WEIGHTS

if TYPE_CHECKING:
    from torch import Tensor

    from pfa_gate.artifacts.export import Export
    from pfa_gate.model.batch import Inputs


@dataclass(frozen=True)
class OtherRuntime:
    """A runtime beside ONNX Runtime.

    Attributes:
        form: its name among `artifacts`, and that of its extra.
        file: that it runs.
    """

    form: str
    file: str

    @property
    def module(self) -> Any:
        """That writes and runs its file."""
        return importlib.import_module(f"pfa_gate.runtime.{self.form}")

    @property
    def missing(self) -> list[str]:
        """Its packages that are not installed."""
        return [name for name in self.module.PACKAGES if find_spec(name) is None]


RUNTIMES: Mapping[str, OtherRuntime] = {
    each.form: each for each in (OtherRuntime("openvino", OPENVINO), OtherRuntime("executorch", EXECUTORCH))
}


def asked(forms: Collection[str] | None) -> tuple[OtherRuntime, ...]:
    """The other runtimes among what a gate writes; none unless it names them.

    Example:
        >>> [each.file for each in asked(("weights", "openvino"))], asked(None)
        (['model.xml'], ())
    """
    return tuple(runtime for form, runtime in RUNTIMES.items() if forms is not None and form in forms)


def require(forms: Collection[str] | None) -> None:
    """Refuse to go on towards a file that cannot be written here.

    Raises:
        ArtifactError: an extra is not installed.
    """
    for runtime in asked(forms):
        if runtime.missing:
            fact = f"The gate asks for {runtime.file}, which needs {listed(runtime.missing)}."
            remedy = f"Run pip install 'pfa-gate[{runtime.form}]', or take {runtime.form} out of artifacts."
            raise ArtifactError(fact, remedy=remedy)


def writers(forms: Collection[str] | None) -> dict[str, Callable[..., None]]:
    """What writes each of their files."""
    return {runtime.file: runtime.module.write for runtime in asked(forms)}


def opened(path: Path, threads: int = 0, inputs: Sequence[str] = ()) -> Any:
    """A session of a file of one of these runtimes, with the face of a session of ONNX Runtime; None for other files.

    Raises:
        CandidateError: the runtime does not take it.
    """
    suffixes = {Path(runtime.file).suffix: runtime for runtime in RUNTIMES.values()}
    runtime = suffixes.get(path.suffix)
    return None if runtime is None else runtime.module.run(str(path), path.name, threads, inputs)


def digest(path: Path) -> str:
    """Of a file, and of the weights beside it that OpenVINO keeps in a second one."""
    weights = path.with_suffix(Path(OPENVINO_WEIGHTS).suffix)
    if path.suffix != Path(OPENVINO).suffix or not weights.exists():
        return sha256_of(path)
    return sha256_bytes(path.read_bytes() + weights.read_bytes())


def floating_values(session: Any, export: "Export", inputs: "Inputs") -> list["Tensor"]:
    """Floating outputs of a session, in the model's order."""
    import torch  # noqa: PLC0415  for those who write a file

    tensors = [leaf for leaf in export.leaves(inputs) if isinstance(leaf, torch.Tensor)]
    names = [each.name for each in session.get_inputs()]
    feed = {name: tensor.detach().cpu().numpy() for name, tensor in zip(names, tensors, strict=True)}
    outputs = (torch.from_numpy(value) for value in session.run(None, feed))
    return [value for value in outputs if value.is_floating_point()]


def first_sample(inputs: "Inputs") -> "Inputs":
    """The first sample of some inputs; what is not per sample stays as it is."""
    from pfa_gate.model import Batch  # noqa: PLC0415

    one = Batch(*inputs).take(slice(1))
    return one.args, one.kwargs
