"""The files of a gate: those of its model, its recipe, its record and the reports."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pfa_gate.artifacts.folders import replacing, written_to
from pfa_gate.artifacts.model_files import Delivery, ModelFiles, write_model
from pfa_gate.artifacts.recipe import recipe_text
from pfa_gate.files import display_path, sha256_of
from pfa_gate.model.global_state import without_garbage_collection
from pfa_gate.record import Record, dumps
from pfa_gate.report.files import report_text
from pfa_gate.report.ownership import FILES, RECIPE, RECORD, REPORTS

Finish = Callable[[Record], Record]


def write(output: Path, record: Record, delivery: Delivery | None, finish: Finish = lambda record: record) -> Record:
    """Write a gate's folder in one step and return the record with the paths of its files.

    Args:
        output: folder of all gates; the gate's own is `output / record.gate`.
        record: of the run.
        delivery: the smaller model; None without one.
        finish: adds to the record what is known only after the model's files are written: the time it took.

    Raises:
        ArtifactError: the disk is full, the folder cannot be written, or a link leads out of it; or a file holds
            something else than the record says.
    """
    folder = output / record.gate
    with replacing(folder) as fresh:
        if delivery is not None:
            files = write_model(fresh, folder, delivery, record.compressed)
            record = with_files(record, files)
        return write_record(fresh, folder, record, delivery, finish)


def with_files(record: Record, files: ModelFiles) -> Record:
    """The record with what became of the model's files."""
    return replace(record, unmeasured=(*record.unmeasured, *files.gaps), inputs=files.sizes)


def write_record(fresh: Path, folder: Path, record: Record, delivery: Delivery | None, finish: Finish) -> Record:
    """Write the recipe, the record and the reports beside the files of the model.

    Args:
        fresh: the gate's new folder, from `replacing`, with the files of the model.
        folder: whose place it takes.
        record: of the run.
        delivery: the smaller model; None without one.
        finish: as that of `write`.

    Returns:
        The record with the paths of all files.

    Raises:
        ArtifactError: the disk is full.
    """
    with written_to(folder), without_garbage_collection():
        if delivery is not None:
            files = {path.name: sha256_of(path) for path in sorted(fresh.iterdir())}
            text = recipe_text(record, delivery.compressed, delivery.coupling, files)
            (fresh / RECIPE).write_text(text, encoding="utf-8")
        made = (RECORD, *REPORTS)
        names = [name for name in FILES if name in made or (fresh / name).exists()]
        record = replace(record, files={FILES[name]: display_path(folder.resolve() / name) for name in names})
        # Made twice: the first time, with imports and templates, takes nearly all of it, and is in the record's time.
        _reports(record)
        record = finish(record)
        (fresh / RECORD).write_text(dumps(record), encoding="utf-8")
        for name, text in _reports(record).items():
            (fresh / name).write_text(text, encoding="utf-8", newline="\n")
    return record


def _reports(record: Record) -> dict[str, str]:
    return {name: report_text(record, name) for name in REPORTS}
