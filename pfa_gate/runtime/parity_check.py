"""`pfa-gate parity`: the files of a gate against what it stored, on this machine. ONNX Runtime and NumPy alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pfa_gate.budget.parity import Parity
from pfa_gate.errors import ArtifactError
from pfa_gate.report.ownership import PARITY
from pfa_gate.runtime.other_runtimes import digest, opened
from pfa_gate.runtime.parity import Array, Comparing, largest, thinned
from pfa_gate.runtime.parity_data import MOST_VALUES, ParityData, StoredCall, StoredFile, read_parity
from pfa_gate.runtime.session import ON_CPU, first_line, machine_of, onnx_session, runtime_version

Verdict = Literal["same", "other answers", "another file"]


@dataclass(frozen=True)
class Ask:
    """What `pfa-gate parity` is asked.

    Attributes:
        folders: of gates, or folders of such folders.
        file: to run in place of the one beside parity.npz; None for that one.
        threads: of each operator.
        providers: of kernels; the CPU's unless given.
    """

    folders: tuple[Path, ...]
    file: Path | None = None
    threads: int = 1
    providers: tuple[str, ...] = ON_CPU


@dataclass(frozen=True)
class CheckedFile:
    """A file on this machine.

    Attributes:
        gate: that it is of.
        path: where it lies.
        verdict: whether it gives the same answers, other ones, or is not the file that the gate judged.
        here: its answers here, against those that the gate stored.
        expected: what the gate stored of it.
        of: how many samples the gate compared; `here.samples` of them are stored.
        changed: whether its bytes are others than those that the gate judged.
    """

    gate: str
    path: str
    verdict: Verdict
    here: Parity
    expected: StoredFile
    of: int
    changed: bool


def check_parity(ask: Ask) -> tuple[CheckedFile, ...]:
    """Run every file of these folders on the inputs beside it.

    Raises:
        ArtifactError: nothing was stored, a file is missing, or the runtime does not take or run it.
    """
    found = [folder for given in ask.folders for folder in _folders(given)]
    stored = [(folder, read_parity(folder / PARITY)) for folder in found]
    pairs = [(folder, data, each) for folder, data in stored for each in data.about.files]
    if ask.file is not None and len(pairs) > 1:
        name = ask.file.name
        pairs = [each for each in pairs if Path(each[2].file).name == name] or pairs
    if ask.file is not None and len(pairs) != 1:
        named = ", ".join(str(folder / each.file) for folder, _, each in pairs)
        raise ArtifactError(f"--file stands for one file, and there are {len(pairs)}: {named}.",
                            remedy="Name the folder of one gate.")  # fmt: skip
    return tuple(_checked(ask, *pair) for pair in pairs)


def _folders(given: Path) -> list[Path]:
    """The folder itself, or those right below it that hold a parity.npz."""
    if (given / PARITY).exists() or not given.is_dir():
        return [given]
    below = sorted(path.parent for path in given.glob(f"*/{PARITY}"))
    return below or [given]


def _checked(ask: Ask, folder: Path, data: ParityData, expected: StoredFile) -> CheckedFile:
    path = ask.file or folder / Path(expected.file).name
    if not path.is_file():
        raise ArtifactError(
            f"{folder / PARITY} is of {expected.file}, which is not at {path}.",
            remedy="Copy it there, or name it with --file.",
        )
    parity = _parity(ask, path, data, expected)
    changed = digest(path) != expected.sha256
    flipped = parity.flips > expected.allowed
    verdict: Verdict = "other answers" if flipped else "another file" if changed and ask.file is None else "same"
    return CheckedFile(data.about.gate, str(path), verdict, parity, expected, data.about.samples, changed)


def _parity(ask: Ask, path: Path, data: ParityData, expected: StoredFile) -> Parity:
    # By its path: it may have tensors in files beside it.
    session = _opened(ask, path, data.calls)
    _require_ports(session, path, expected, data.calls)
    comparing = Comparing(path.name, expected.tolerance, expected.scores)
    for call in data.calls:
        given = _run(session, path, expected, call)
        comparing.update(call.outputs[expected.file], list(_kept(given, call, expected)), len(call.rows))
    found = comparing.difference(expected.spreads)
    rows = [row for call in data.calls for row in call.rows]
    return Parity(
        file=path.name,
        reference=expected.reference,
        machine=machine_of(session, ask.threads),
        source=data.about.source,
        samples=found.samples,
        classes=found.answers is not None,
        flips=len(found.flipped),
        gap=largest(found.gaps),
        relative_gap=largest(found.relative),
        tolerance=expected.tolerance,
        flipped=found.named(rows),
    )


def _opened(ask: Ask, path: Path, calls: Sequence[StoredCall]) -> Any:
    names = tuple(calls[0].inputs) if calls else ()
    other = opened(path, ask.threads, names)
    if other is not None:
        return other
    if find_spec("onnxruntime") is None:
        raise ArtifactError("Files run in ONNX Runtime, which is not installed.", remedy="Run pip install onnxruntime.")
    return onnx_session(str(path), path.name, ask.threads, providers=ask.providers)


def _run(session: Any, path: Path, expected: StoredFile, call: StoredCall) -> list[Array]:
    try:
        given: list[Array] = session.run(list(expected.outputs), dict(call.inputs))
    except Exception as error:  # the runtime refuses in exceptions of its own
        raise ArtifactError(f"{runtime_version()} does not run {path.name}: {first_line(error)}.") from error
    return given


def _require_ports(session: Any, path: Path, expected: StoredFile, calls: Sequence[StoredCall]) -> None:
    inputs, outputs = ({each.name for each in ports} for ports in (session.get_inputs(), session.get_outputs()))
    lacking = [("input", name) for name in sorted(inputs - set(calls[0].inputs if calls else ()))]
    lacking += [("output", name) for name in expected.outputs if name not in outputs]
    for kind, name in lacking:
        who = f"{PARITY} has no values for the input" if kind == "input" else f"{path.name} has no output"
        raise ArtifactError(f"{who} '{name}'.", remedy="This is another model: run the gate again.")


def _kept(given: Sequence[Array], call: StoredCall, expected: StoredFile) -> Iterator[Array]:
    """The values that were stored, of the samples that count."""
    for values, whole in zip(given, expected.whole, strict=True):
        yield stored_values(np.asarray(values), call.size, len(call.rows), whole)


def stored_values(values: Array, size: int, samples: int, whole: bool) -> Array:
    """What is stored of an output.

    Args:
        values: the output.
        size: samples of the call.
        samples: of them, those that count.
        whole: whether all values of a sample are stored.

    Returns:
        The values [samples, values]; of an output without an axis of samples [1, values].

    Example:
        >>> stored_values(np.arange(6.0).reshape(3, 2), 3, 2, whole=True).tolist()
        [[0.0, 1.0], [2.0, 3.0]]
    """
    rows = thinned(values, size, values.size if whole else MOST_VALUES)
    return rows[:samples]
