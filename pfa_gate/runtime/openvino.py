"""model.xml and model.bin: the compressed model as OpenVINO has it, and how OpenVINO runs it. No torch to run it."""

import importlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from pfa_gate.errors import CandidateError
from pfa_gate.runtime.session import first_line

if TYPE_CHECKING:
    from torch import nn

    from pfa_gate.artifacts.export import Export
    from pfa_gate.model.batch import Inputs

PACKAGES = ("openvino",)
_TELEMETRY = "openvino_telemetry"
_TYPES = {
    "f32": "float", "f64": "double", "f16": "float16", "bf16": "bfloat16", "boolean": "bool",
    **{f"{sign}{bits}": f"{'u' * (sign == 'u')}int{bits}" for sign in "iu" for bits in (8, 16, 32, 64)},
}  # fmt: skip
# At half precision, which it takes by itself where the processor has it, it is no longer the model.
_EXACT = {"INFERENCE_PRECISION_HINT": "f32"}


def write(export: "Export", path: Path, model: "nn.Module", tried: Sequence["Inputs"]) -> None:
    """Write model.xml, and model.bin beside it; in OpenVINO they must equal `model` on the inputs `tried`.

    Raises:
        ExportFailedError: an operator has no form there, or the runtime gives something else.
        OSError: the disk is full.
    """
    from pfa_gate.artifacts.export import ExportFailedError  # noqa: PLC0415  not to run a file
    from pfa_gate.artifacts.onnx_model import output_names  # noqa: PLC0415
    from pfa_gate.artifacts.program import check, quiet, reason_of  # noqa: PLC0415
    from pfa_gate.runtime.other_runtimes import floating_values  # noqa: PLC0415

    try:
        with quiet(), _calling_nobody():
            converted = _openvino().convert_model(export.program)
            _name(converted, list(export.sizes), output_names(export))
            _openvino().save_model(converted, str(path), compress_to_fp16=False)
        opened = OpenVinoSession(str(path), path.name, settings=_EXACT)
    except Exception as error:  # whatever the converter meets in a user's model
        for file in (path, path.with_suffix(".bin")):
            file.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise
        raise ExportFailedError(reason_of(error)) from error
    try:
        for inputs in tried:
            check(lambda given: floating_values(opened, export, given), model, inputs)
    except ExportFailedError:
        del opened  # it maps the file
        for file in (path, path.with_suffix(".bin")):
            file.unlink(missing_ok=True)
        raise


def _name(converted: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """The model's own names for inputs and outputs; the converter numbers all others anew in each process."""
    converted.set_friendly_name("model")
    for place, operator in enumerate(converted.get_ordered_ops()):
        operator.set_friendly_name(f"{operator.get_type_name()}_{place}")
    for port, name in zip(converted.inputs, inputs, strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_friendly_name(name)
    for port, name in zip(converted.outputs, outputs, strict=True):
        port.get_tensor().set_names({name})
        port.get_node().set_friendly_name(f"result_{name}")


def _openvino() -> Any:
    return importlib.import_module("openvino")


@contextmanager
def _calling_nobody() -> Iterator[None]:
    """Have the converter do without the package by which it tells its makers of each conversion."""
    before, absent = dict(sys.modules), None
    sys.modules[_TELEMETRY] = absent  # type: ignore[assignment]
    try:
        importlib.import_module("openvino.tools.ovc")
    finally:
        del sys.modules[_TELEMETRY]
        if _TELEMETRY in before:
            sys.modules[_TELEMETRY] = before[_TELEMETRY]
    yield


class OpenVinoSession:
    """A file of OpenVINO with the face of a session of ONNX Runtime.

    Args:
        path: of model.xml.
        name: of the file, for people.
        threads: of all operators together; OpenVINO's own choice unless given.
        settings: of OpenVINO's, beside its own.

    Raises:
        CandidateError: the runtime does not take it.
    """

    def __init__(self, path: str, name: str, threads: int = 0, settings: Mapping[str, Any] | None = None) -> None:
        chosen = {**(settings or {}), **({"INFERENCE_NUM_THREADS": threads} if threads else {})}
        self.version = f"OpenVINO {str(_openvino().__version__).partition('-')[0]}"
        try:
            self._compiled = _openvino().Core().compile_model(path, "CPU", chosen)
        except Exception as error:  # the runtime refuses in exceptions of its own
            raise CandidateError(f"{self.version} does not take {name}: {first_line(error)}.") from error

    def get_inputs(self) -> list[SimpleNamespace]:
        """Name, type and shape of each input, in the words of ONNX Runtime."""
        return [_port(each) for each in self._compiled.inputs]

    def get_outputs(self) -> list[SimpleNamespace]:
        """The same of each output."""
        return [_port(each) for each in self._compiled.outputs]

    def get_providers(self) -> list[str]:
        """The device, and the precision that the runtime has chosen."""
        precision = re.sub(
            r"[^a-z0-9]", "", str(self._compiled.get_property("INFERENCE_PRECISION_HINT")).partition("'")[2]
        )
        return [*map(str, self._compiled.get_property("EXECUTION_DEVICES")), precision or "float32"]

    def run(self, names: Sequence[str] | None, feed: Mapping[str, Any]) -> list[np.ndarray[Any, Any]]:
        """The outputs of these names, or all, for arrays by the names of the inputs."""
        values = self._compiled(dict(feed))
        ports = {each.get_any_name(): each for each in self._compiled.outputs}
        return [np.array(values[ports[name]]) for name in names or ports]


def _port(port: Any) -> SimpleNamespace:
    shape = [int(size.get_length()) if size.is_static else "any" for size in port.get_partial_shape()]
    kind = _TYPES.get(port.get_element_type().get_type_name(), port.get_element_type().get_type_name())
    return SimpleNamespace(name=port.get_any_name(), type=f"tensor({kind})", shape=shape)


def run(path: str, name: str, threads: int = 0, inputs: Sequence[str] = ()) -> OpenVinoSession:
    """A session of a file; it knows the names of its inputs itself."""
    return OpenVinoSession(path, name, threads)
