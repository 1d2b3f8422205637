"""Whose a folder or a file is: pfa_gate writes over its own files alone, and follows no link out of a project."""

import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pfa_gate.budget.wording import listed
from pfa_gate.errors import ArtifactError
from pfa_gate.files import display_path

HTML, MARKDOWN, BADGE_FILE = "report.html", "report.md", "badge.json"
REPORTS: Mapping[str, str] = {HTML: "html", MARKDOWN: "markdown", BADGE_FILE: "badge"}
"""The reports beside record.json, with their keys in `Record.files`, in the order in which reports list them."""

RECORD, RECIPE, WEIGHTS, PROGRAM, ONNX, INT8, PARITY = (
    "record.json", "recipe.yaml", "weights.safetensors", "model.pt2", "model.onnx", "model.int8.onnx", "parity.npz",
)  # fmt: skip
FEW_BITS = "weights.q.safetensors"
OPENVINO, OPENVINO_WEIGHTS, EXECUTORCH = "model.xml", "model.bin", "model.pte"
FILES: Mapping[str, str] = {
    RECORD: "record", **REPORTS, RECIPE: "recipe", WEIGHTS: "weights", PROGRAM: "program", ONNX: "onnx", INT8: "int8",
    FEW_BITS: "few_bits",
    OPENVINO: "openvino", OPENVINO_WEIGHTS: "openvino_weights", EXECUTORCH: "executorch", PARITY: "parity",
}  # fmt: skip
"""What a gate's folder may hold, with the keys in `Record.files`."""

PAGE = re.compile(rb'<p class="eyebrow">pfa_gate</p>')
COMMENT = re.compile(rb"\A<!-- pfa_gate:comment -->")
BADGE = re.compile(rb'\A\{"schemaVersion": 1, "label": "pfa ')
MOMENTS = re.compile(rb'\A.{8}\{"__metadata__":\{"pfa_gate\.moments":', re.DOTALL)
NOTHING = re.compile(rb"(?!)")
_ANYTHING = re.compile(rb"")
# What file browsers leave wherever they are pointed.
_BROWSERS = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
_MOST_BYTES = 64 * 2**20
_HEAD = 2**18


def require_folder(folder: Path) -> None:
    """Refuse a folder for the results of a gate, unless it is new, empty, or that gate's own.

    It is the gate's own where it holds a record.json of this gate, or the recipe.yaml of its model, and nothing that
    a gate does not write.

    Args:
        folder: bears the gate's name.

    Raises:
        ArtifactError: it is another's, or a link leads to it from out of the project.

    Example:
        >>> require_folder(Path("no/such/folder"))
    """
    refuse(folder, _way_out(folder, Path(os.path.abspath(folder)).parent.parent) or of_another(folder))


def refuse(folder: Path, why: str) -> None:
    """Raise the error of `require_folder`, if there is a reason."""
    if why:
        remedy = "Rename the gate, name another folder with --pfa-output, or move away what is there."
        raise ArtifactError(f"The results cannot be written to {display_path(folder)}: {why}.", remedy=remedy)


def of_another(folder: Path) -> str:
    """Why a folder is not for the results of the gate that it is named after; empty where it is."""
    why = ""
    for _ in range(3):
        before = file_state(folder)
        why = _fault(folder, before)
        # Another run of this gate may have put its own in place meanwhile.
        if not why or _identity(before) == _identity(file_state(folder)):
            break
    return why


def _fault(folder: Path, state: os.stat_result | None) -> str:
    if state is None:
        return ""
    if not stat.S_ISDIR(state.st_mode):
        return "it is a link" if stat.S_ISLNK(state.st_mode) else "it is a file"
    try:
        with os.scandir(folder) as entries:
            names = {
                entry.name: entry.is_file(follow_symlinks=False) for entry in entries if entry.name not in _BROWSERS
            }
    except OSError as error:
        return error.strerror or str(error)
    foreign = sorted(name for name, plain in names.items() if not plain or name not in FILES)
    if foreign:
        return f"it holds {listed(foreign, 3)}, which no gate writes"
    return _of_another_gate(folder, sorted(names)) if names else ""


def _identity(state: os.stat_result | None) -> tuple[int, int] | None:
    return None if state is None else (state.st_dev, state.st_ino)


def remove_own(folder: Path) -> None:
    """Remove a gate's folder: the files that a gate writes, one by one, and what then is empty.

    Raises:
        OSError: one cannot be removed, or there is more.
    """
    for name in (*FILES, *_BROWSERS):
        (folder / name).unlink(missing_ok=True)
    folder.rmdir()


def require_file(path: Path, mark: re.Pattern[bytes]) -> None:
    """Refuse a file for what is to be written, unless it is new, empty, or one that pfa_gate wrote.

    Args:
        path: of the file.
        mark: found in the first bytes of what pfa_gate writes there.

    Raises:
        ArtifactError: it is another's, or a link leads to it from out of the project.

    Example:
        >>> require_file(Path("no/such/report.html"), PAGE)
    """
    why = _way_out(path) or _other_file(path, mark)
    if why:
        fact = f"{display_path(path)} cannot be written: {why}."
        raise ArtifactError(fact, remedy="Name another file, or move this one away.")


def require_baseline(path: Path) -> None:
    """Refuse to write a baseline where a link leads out of the project, or the file is other JSON.

    A file that is not JSON counts as a torn baseline, and is not refused here.

    Raises:
        ArtifactError: it is so.

    Example:
        >>> require_baseline(Path("no/such/pfa.baseline.json"))
    """
    require_file(path, _ANYTHING)
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return
    if not isinstance(content, dict) or not str(content.get("schema")).startswith("pfa_gate.baseline/"):
        fact = f"{display_path(path)} cannot be written: pfa_gate has not written what is there."
        raise ArtifactError(fact, remedy="Move this file away.")


def _of_another_gate(folder: Path, names: list[str]) -> str:
    state = file_state(folder / RECORD)
    if state is None:
        if _same(_gate_of_recipe(folder / RECIPE), folder.name):
            return ""
        return f"it holds {listed(names, 3)}, but no {RECORD} of gate '{folder.name}'"
    record = _plain(folder / RECORD) if state.st_size <= _MOST_BYTES else {}
    if not str(record.get("schema")).startswith("pfa_gate.record/"):
        return f"its {RECORD} is not a record of a gate"
    gate = str(record.get("gate"))
    return "" if _same(gate, folder.name) else f"its {RECORD} is of gate '{gate:.80}'"


def _same(gate: str, name: str) -> bool:
    """Whether two names are of one folder, also on a disk that ignores case."""
    return gate.casefold() == name.casefold()


def _plain(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty where there is none."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _gate_of_recipe(path: Path) -> str:
    """The gate of a recipe.yaml: a workflow's cache keeps it beside the model, without a record."""
    try:
        head = re.match(r"version: \d+\n(gate: .*?)\nstrategy:", _head(path).decode("utf-8", "replace"), re.DOTALL)
    except OSError:
        return ""
    if head is None:
        return ""
    import yaml  # noqa: PLC0415  hardly any run has to ask

    try:
        return str(yaml.safe_load(head[1])["gate"])
    except yaml.YAMLError:
        return ""


def _other_file(path: Path, mark: re.Pattern[bytes]) -> str:
    try:
        state = file_state(path)
        if state is None:
            return ""
        if not stat.S_ISREG(state.st_mode):
            return "it is a link" if stat.S_ISLNK(state.st_mode) else "it is not a regular file"
        return "" if not state.st_size or mark.search(_head(path)) else "pfa_gate has not written what is there"
    except OSError as error:
        return error.strerror or str(error)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def file_state(path: Path) -> os.stat_result | None:
    """What is at a path, a link itself; None where there is nothing."""
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None  # what is in the way of a folder is said by who makes it


def _way_out(path: Path, *more: Path) -> str:
    """How a link leads a path out of its repository or folder, in words; empty where none does.

    Args:
        path: need not be there.
        more: folders, beside every repository and the current one.
    """
    plain = Path(os.path.abspath(path))
    real, borders = Path(os.path.realpath(plain)), {Path.cwd(), *more}
    for folder in plain.parents:
        inside = folder in borders or (folder / ".git").exists()
        if inside and not real.is_relative_to(os.path.realpath(folder)):
            below = (
                part for part in (*reversed(plain.parents), plain) if part.is_relative_to(folder) and part != folder
            )
            link = next((part for part in below if part.is_symlink()), plain)
            return f"the link {display_path(link)} leads out of {folder.as_posix()}, to {real.as_posix()}"
    return ""
