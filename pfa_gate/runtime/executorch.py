"""model.pte: the compressed model for ExecuTorch, its operators given to XNNPACK, one sample a call."""

import importlib
from collections.abc import Mapping, Sequence
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

PACKAGES = ("executorch",)
_CODES = {"uint8": 0, "int8": 1, "int16": 2, "int32": 3, "int64": 4, "float16": 5, "float": 6, "double": 7, "bool": 11}
"""The numbers of torch's types, by the words of ONNX Runtime for them."""


def write(export: "Export", path: Path, model: "nn.Module", tried: Sequence["Inputs"]) -> None:
    """Write model.pte for one sample a call; in ExecuTorch it must equal `model` on the first sample of `tried`.

    Its memory is planned beforehand, so that no size may change. A model that takes no single sample keeps its batch.

    Raises:
        ExportFailedError: an operator has no form there, or the runtime gives something else.
        OSError: the disk is full.
    """
    from pfa_gate.artifacts.export import ExportFailedError  # noqa: PLC0415  not to run a file
    from pfa_gate.artifacts.program import check, quiet, reason_of  # noqa: PLC0415
    from pfa_gate.runtime.other_runtimes import first_sample, floating_values  # noqa: PLC0415

    inputs = first_sample(tried[0]) if export.dynamic else tried[0]
    try:
        with quiet():
            content = _converted(model, inputs)
    except Exception as error:  # whatever the converter meets in a user's model
        raise ExportFailedError(reason_of(error)) from error
    path.write_bytes(content)
    try:
        opened = ExecuTorchSession(str(path), path.name, 0, list(export.sizes))
        check(lambda given: floating_values(opened, export, given), model, inputs)
    except (ExportFailedError, CandidateError) as error:
        path.unlink(missing_ok=True)
        raise ExportFailedError(str(error)) from error


def _converted(model: "nn.Module", inputs: "Inputs") -> bytes:
    import torch  # noqa: PLC0415

    exir: Any = importlib.import_module("executorch.exir")
    partitioner: Any = importlib.import_module("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    with torch.no_grad():
        exported = torch.export.export(model, *inputs)
    lowered = exir.to_edge_transform_and_lower(exported, partitioner=[partitioner.XnnpackPartitioner()])
    return bytes(lowered.to_executorch().buffer)


class ExecuTorchSession:
    """A file of ExecuTorch with the face of a session of ONNX Runtime.

    Args:
        path: of model.pte.
        name: of the file, for people.
        threads: of XNNPACK, for the whole process; its own choice unless given.
        inputs: names of its inputs, which the file does not have.

    Raises:
        CandidateError: the runtime does not take it.
    """

    def __init__(self, path: str, name: str, threads: int = 0, inputs: Sequence[str] = ()) -> None:
        version = importlib.import_module("importlib.metadata").version("executorch")
        self.version = f"ExecuTorch {version}"
        try:
            if threads:
                bindings: Any = importlib.import_module("executorch.extension.pybindings.portable_lib")
                bindings._unsafe_reset_threadpool(threads)
            runtime = importlib.import_module("executorch.runtime").Runtime.get()
            self._program = runtime.load_program(Path(path).read_bytes())
            self._method = self._program.load_method("forward")
            self._given = _ports(self._method.metadata, inputs)
            self._gives = self._method.metadata.num_outputs()
        except Exception as error:  # the runtime refuses in exceptions of its own
            raise CandidateError(f"{self.version} does not take {name}: {first_line(error)}.") from error

    def get_inputs(self) -> list[SimpleNamespace]:
        """Name, type and shape of each input, in the words of ONNX Runtime."""
        return self._given

    def get_outputs(self) -> list[SimpleNamespace]:
        """The same of each output; the file has no names for them."""
        metas = [self._method.metadata.output_tensor_meta(place) for place in range(self._gives)]
        return [_port(meta, f"output_{place}") for place, meta in enumerate(metas)]

    def get_providers(self) -> list[str]:
        """What runs its operators."""
        return ["XNNPACK"]

    def run(self, names: Sequence[str] | None, feed: Mapping[str, Any]) -> list[np.ndarray[Any, Any]]:
        """The outputs of these names, or all, for arrays by the names of the inputs."""
        import torch  # noqa: PLC0415  it takes and gives tensors

        values = self._method.execute([torch.from_numpy(np.ascontiguousarray(feed[port.name])) for port in self._given])
        # The next call writes over their memory.
        arrays = [np.array(value.numpy()) for value in values]
        places = {port.name: place for place, port in enumerate(self.get_outputs())}
        return [arrays[places[name]] for name in names or places]


def _ports(metadata: Any, names: Sequence[str]) -> list[SimpleNamespace]:
    metas = [metadata.input_tensor_meta(place) for place in range(metadata.num_inputs())]
    known = names if len(names) == len(metas) else [f"input_{place}" for place in range(len(metas))]
    return [_port(meta, name) for meta, name in zip(metas, known, strict=True)]


def _port(meta: Any, name: str) -> SimpleNamespace:
    code = meta.dtype()
    kind = next((each for each, dtype in _CODES.items() if dtype == code), str(code))
    return SimpleNamespace(name=name, type=f"tensor({kind})", shape=list(meta.sizes()))


def run(path: str, name: str, threads: int = 0, inputs: Sequence[str] = ()) -> ExecuTorchSession:
    """A session of a file."""
    return ExecuTorchSession(path, name, threads, inputs)
