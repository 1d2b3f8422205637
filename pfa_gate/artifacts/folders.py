"""Folders that are written whole or not at all: a gate's own, and that of a study."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from pfa_gate.errors import ArtifactError
from pfa_gate.files import display_path, remove_abandoned, unfinished_folder
from pfa_gate.report.ownership import (
    of_another,
    refuse,
    remove_own,
    require_folder,
)
from pfa_gate.report.result_folders import (
    require_bits,
    require_comparison,
    require_families,
    require_sensitivity,
    require_study,
)


@contextmanager
def written_to(folder: Path) -> Iterator[None]:
    """Say of what cannot be written that it was to go to this folder.

    Raises:
        ArtifactError: the disk is full, or the folder cannot be written.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ArtifactError(
            f"The results cannot be written to {folder}: {reason}.",
            remedy="Free some space, or name another folder with --pfa-output.",
        ) from error


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A new folder that takes the place of `folder` when all went well, and vanishes when not.

    What a run that was killed has left beside it is removed once all went well. What is written to it stands in
    `written_to`: other work may be done in between, and its errors are none of the disk.

    Args:
        folder: that of a gate, and named as the gate is.

    Raises:
        ArtifactError: the folder is not the gate's own, the disk is full, or the folder cannot be written.
    """
    fresh = None
    try:
        with written_to(folder):
            require_folder(folder)
            folder.parent.mkdir(parents=True, exist_ok=True)
            fresh = unfinished_folder(f".{folder.name}", folder.parent)
        yield fresh
        with written_to(folder):
            _open_to_readers(fresh)
            _swap(fresh, folder)
            remove_abandoned(folder.parent)
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
    return _written(folder, texts, "study")


def write_sensitivity(folder: Path, texts: Mapping[str, str]) -> tuple[str, ...]:
    """Write sensitivity.json and sensitivity.html, as `write_study` writes its files.

    Raises:
        ArtifactError: the folder cannot be written, or one of the files there is of no sensitivity.
    """
    require_sensitivity(folder)
    return _written(folder, texts, "sensitivity")


def write_bits(folder: Path, texts: Mapping[str, str]) -> tuple[str, ...]:
    """Write bits.json and bits.html, as `write_study` writes its files.

    Raises:
        ArtifactError: the folder cannot be written, or one of the files there is of no sensitivity of bits.
    """
    require_bits(folder)
    return _written(folder, texts, "bits")


def write_comparison(folder: Path, texts: Mapping[str, str]) -> tuple[str, ...]:
    """Write comparison.json, comparison.md and comparison.html, as `write_study` writes its files.

    Raises:
        ArtifactError: the folder cannot be written, or one of the files there is of no comparison.
    """
    require_comparison(folder)
    return _written(folder, texts, "comparison")


def write_families(folder: Path, texts: Mapping[str, str]) -> tuple[str, ...]:
    """Write families.json, families.md and families.svg, as `write_study` writes its files.

    Raises:
        ArtifactError: the folder cannot be written, or one of the files there is of no study of families.
    """
    require_families(folder)
    return _written(folder, texts, "families")


def _written(folder: Path, texts: Mapping[str, str], what: str) -> tuple[str, ...]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fresh = unfinished_folder(f".{what}", folder)
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
            f"The {what} cannot be written to {folder}: {error.strerror or error}.",
            remedy="Free some space, or name another folder with --output.",
        ) from error
    return tuple(display_path(folder.resolve() / name) for name in texts)
