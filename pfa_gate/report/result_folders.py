"""Whose a folder of results is: of a study, a sensitivity or a comparison, which write over their own files alone."""

import re
import stat
from collections.abc import Sequence
from pathlib import Path

from pfa_gate.errors import ArtifactError
from pfa_gate.files import display_path
from pfa_gate.report.ownership import file_state, require_file

STUDY = re.compile(rb'"schema": "pfa_gate\.study/')
SENSITIVITY = re.compile(rb'"schema": "pfa_gate\.sensitivity/')
BITS = re.compile(rb'"schema": "pfa_gate\.bits/')
COMPARISON = re.compile(rb'"schema": "pfa_gate\.comparison/')
FAMILIES = re.compile(rb'"schema": "pfa_gate\.families/')
_FAMILIES = ("families.json", "families.md", "families.svg")
_COMPARISON = ("comparison.json", "comparison.md", "comparison.html")
_STUDY = ("study.json", "study.md", "study.svg")
_SENSITIVITY = ("sensitivity.json", "sensitivity.html")
_BITS = ("bits.json", "bits.html")


def require_study(folder: Path) -> None:
    """Refuse a folder for a study that holds files of the same names, and no study.

    Raises:
        ArtifactError: it does, or a link leads to it from out of the project.

    Example:
        >>> require_study(Path("no/such/folder"))
    """
    _require_files([folder / name for name in _STUDY], STUDY, "no study")


def require_sensitivity(folder: Path) -> None:
    """Refuse a folder for the sensitivity of a gate that holds files of the same names, and none.

    Raises:
        ArtifactError: it does, or a link leads to it from out of the project.

    Example:
        >>> require_sensitivity(Path("no/such/folder"))
    """
    _require_files([folder / name for name in _SENSITIVITY], SENSITIVITY, "no sensitivity")


def require_bits(folder: Path) -> None:
    """Refuse a folder for the sensitivity of bits that holds files of the same names, and none.

    Raises:
        ArtifactError: it does, or a link leads to it from out of the project.

    Example:
        >>> require_bits(Path("no/such/folder"))
    """
    _require_files([folder / name for name in _BITS], BITS, "no sensitivity of bits")


def require_comparison(folder: Path) -> None:
    """Refuse a folder for a comparison of two models that holds files of the same names, and none.

    Raises:
        ArtifactError: it does, or a link leads to it from out of the project.

    Example:
        >>> require_comparison(Path("no/such/folder"))
    """
    _require_files([folder / name for name in _COMPARISON], COMPARISON, "no comparison")


def require_families(folder: Path) -> None:
    """Refuse a folder for a study of families that holds files of the same names, and none.

    Raises:
        ArtifactError: it does, or a link leads to it from out of the project.
    """
    _require_files([folder / name for name in _FAMILIES], FAMILIES, "no study of families")


def _require_files(paths: Sequence[Path], mark: re.Pattern[bytes], whose: str) -> None:
    record, *others = paths
    require_file(record, mark)
    for path in others:
        state = file_state(path)
        plain = state is None or stat.S_ISREG(state.st_mode)
        if not plain or (state is not None and file_state(record) is None):
            why = f"there is no {record.name} beside it, so it is of {whose}" if plain else "it is not a regular file"
            fact = f"{display_path(path)} cannot be written: {why}."
            raise ArtifactError(fact, remedy="Name another folder with --output, or move this file away.")
