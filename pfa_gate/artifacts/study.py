"""The files of a study: its record, its tables and its plot."""

import os
import shutil
from pathlib import Path

from pfa_gate.artifacts.folder import shown
from pfa_gate.errors import ArtifactError
from pfa_gate.files import sweep, unfinished_folder
from pfa_gate.record.study import Study, dumps_study
from pfa_gate.report.ownership import require_study
from pfa_gate.report.study.svg import svg
from pfa_gate.report.study.tables import markdown


def write_study(folder: Path, study: Study) -> tuple[str, ...]:
    """Write study.json, study.md and study.svg; whatever else the folder holds stays.

    Args:
        folder: made where there is none.
        study: what was found.

    Returns:
        The paths, as people read them.

    Raises:
        ArtifactError: the folder cannot be written, or one of the files there is of no study.
    """
    texts = {"study.json": dumps_study(study), "study.md": markdown(study), "study.svg": svg(study)}
    require_study(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fresh = unfinished_folder(".study", folder)
        try:
            for name, text in texts.items():
                (fresh / name).write_text(text, encoding="utf-8", newline="\n")
            for name in texts:
                os.replace(fresh / name, folder / name)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        sweep(folder)
    except OSError as error:
        raise ArtifactError(
            f"The study cannot be written to {folder}: {error.strerror or error}.",
            remedy="Free some space, or name another folder with --output.",
        ) from error
    return tuple(shown(folder / name) for name in texts)
