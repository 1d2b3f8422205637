"""`pfa-gate verify`: a run counts as kept only by what it wrote itself, for all that it declared."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from records import broken, kept

from pfa_gate.cli import main
from pfa_gate.errors import ArtifactError
from pfa_gate.record import Record, dumps
from pfa_gate.record.manifest import MANIFEST, DeclaredGate, Manifest, Unlisted, write_manifest
from pfa_gate.report.command import Verified, verify

RUN, BEGUN = "5e1f", "2026-11-20T08:30:00Z"
GOOD = replace(kept(), run=RUN)
BAD = replace(broken(), run=RUN)
NAMES = tuple(each.id for each in GOOD.budgets)
ENTRY = DeclaredGate(GOOD.config, GOOD.gate, "digits/record.json", NAMES)
WHOLE = Manifest(RUN, BEGUN, 0, (ENTRY,))


def left(folder: Path, manifest: Manifest, *records: Record) -> Path:
    """What a run leaves: its manifest, and a record in the folder of each gate."""
    folder.mkdir(exist_ok=True)
    (folder / MANIFEST).write_text(write_manifest(manifest), "utf-8")
    for declared, record in zip(manifest.gates, records, strict=False):
        path = folder / declared.record
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dumps(record), "utf-8")
    return folder


def test_a_run_that_kept_all_passes(tmp_path: Path) -> None:
    folder = left(tmp_path / "out", WHOLE, GOOD)
    said = f"{folder.as_posix()}: the run of {BEGUN} judged and kept {len(NAMES)} budgets of 1 gate."
    assert verify([folder]) == Verified((said,), ())


GATE = f"{GOOD.config}::{GOOD.gate}"
STRANGE = f"{GATE}: not judged in this run: digits/record.json is another run's, or another gate's."
FAULTS: dict[str, tuple[Manifest, Record, list[str]]] = {
    "an older record": (WHOLE, replace(GOOD, run="older"), [STRANGE]),
    "a record of no run": (WHOLE, replace(GOOD, run=""), [STRANGE]),
    "a record of another gate": (WHOLE, replace(GOOD, gate="other"), [STRANGE]),
    "a record of another config": (WHOLE, replace(GOOD, config="other/pfa.yaml"), [STRANGE]),
    "a run that was cut off": (
        replace(WHOLE, status=None), GOOD, ["The run did not finish, whatever exit status its process had."],
    ),
    "a run that failed": (replace(WHOLE, status=4), GOOD, ["The run ended with exit status 4."]),
    "a budget that the record lacks": (
        replace(WHOLE, gates=(replace(ENTRY, budgets=(*NAMES, "model.energy")),)), GOOD,
        [f"{GATE}: not judged in this run: model.energy."],
    ),
    "a budget not judged": (
        WHOLE, replace(GOOD, budgets=(replace(GOOD.budgets[0], outcome="not judged"), *GOOD.budgets[1:])),
        [f"{GATE}: not judged in this run: {NAMES[0]}."],
    ),
    "a budget broken": (
        WHOLE, replace(GOOD, budgets=(*GOOD.budgets[:-1], replace(GOOD.budgets[-1], outcome="broken"))),
        [f"{GATE}: broken in this run: {NAMES[-1]}."],
    ),
    "a config that does not hold": (
        replace(WHOLE, unlisted=(Unlisted("b/pfa.yaml", "the file is empty"),)), GOOD,
        ["b/pfa.yaml: its budgets could not be listed: the file is empty"],
    ),
    "no gate": (replace(WHOLE, gates=()), GOOD, ["No budget was judged: the run left them all out."]),
    "all left out": (
        replace(WHOLE, gates=(replace(ENTRY, left_out=NAMES),)), GOOD,
        ["No budget was judged: the run left them all out."],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("manifest", "record", "faults"), FAULTS.values(), ids=FAULTS)
def test_anything_less_does_not(tmp_path: Path, manifest: Manifest, record: Record, faults: list[str]) -> None:
    assert list(verify([left(tmp_path / "out", manifest, record)]).faults) == faults


def test_a_record_that_is_not_there_is_named(tmp_path: Path) -> None:
    folder = left(tmp_path / "out", WHOLE)
    path = (folder / "digits/record.json").as_posix()
    fault = f"{GATE}: not judged in this run: {path} cannot be read: No such file or directory."
    assert verify([folder]) == Verified((), (fault,))


def test_what_the_command_line_left_out_is_named_and_passes(tmp_path: Path) -> None:
    names = tuple(each.id for each in BAD.budgets)
    away = tuple(each.id for each in BAD.budgets if each.outcome != "kept")
    entry = DeclaredGate(BAD.config, BAD.gate, "digits/record.json", names, away)
    folder = left(tmp_path / "out", replace(WHOLE, gates=(entry,)), BAD)
    found = verify([folder])
    assert found.faults == ()
    assert found.sentences[1].startswith(
        f"{BAD.config}::{BAD.gate}: left out by the command line of the run: {away[0]}"
    )


def test_each_folder_of_a_run_speaks_for_all_of_it(tmp_path: Path) -> None:
    """Two configs with a `.pfa` each: the manifest in one says what is wrong in the other."""
    there = DeclaredGate("b/pfa.yaml", GOOD.gate, "../b/digits/record.json", NAMES)
    for name in ("a", "b"):
        left(tmp_path / name, replace(WHOLE, gates=(ENTRY, there)), GOOD)
    found = verify([tmp_path / "a"])
    other = "../b/digits/record.json is another run's, or another gate's."
    assert found.faults == (f"b/pfa.yaml::{GOOD.gate}: not judged in this run: {other}",)


REFUSED: dict[str, Callable[[Path], object]] = {
    "cannot be read": lambda path: path.mkdir(),
    "not JSON": lambda path: path.write_text("{"),
    "it is not UTF-8": lambda path: path.write_bytes(b"\xff"),
    "not a manifest of a run": lambda path: path.write_text('{"schema": "pfa_gate.run/9"}'),
    "lacks keys: 'begun', 'gates', 'run'": lambda path: path.write_text('{"schema": "pfa_gate.run/1"}'),
    "bears no token": lambda path: path.write_text(write_manifest(Manifest("", BEGUN, 0, (ENTRY,)))),
}


@pytest.mark.parametrize("says", REFUSED)
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, says: str) -> None:
    REFUSED[says](tmp_path / MANIFEST)
    with pytest.raises(ArtifactError, match=says):
        verify([tmp_path])


@pytest.mark.parametrize(("status", "code"), [(0, 0), (None, 1)])
def test_the_command_says_it_and_ends_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int | None, code: int
) -> None:
    folder = left(tmp_path / "out", replace(WHOLE, status=status), GOOD)
    assert main(["verify", str(folder)]) == code
    said = capsys.readouterr()
    assert bool(said.out) == (code == 0)
    assert said.err.startswith("ERROR: The run did not finish") == (code == 1)


def test_the_command_needs_a_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path)]) == 2
    assert f"{tmp_path.as_posix()} holds no {MANIFEST}: no run says what it judged." in capsys.readouterr().err
