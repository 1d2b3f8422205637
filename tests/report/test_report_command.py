"""`pfa-gate report`: records rendered again, drawn over time, and foreign files named."""

import dataclasses
import json
import os
from pathlib import Path

import pytest
import records

from pfa_gate.cli import main
from pfa_gate.errors import ArtifactError, PfaWarning
from pfa_gate.record import Record, dumps, to_dict
from pfa_gate.report.ci import badge
from pfa_gate.report.files import MOST_TOGETHER, find_record, find_records, restore
from pfa_gate.report.html import render
from pfa_gate.report.markdown import comment


def put(path: Path, record: Record) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dumps(record), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two gates that have run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    put(tmp_path / ".pfa/digits/record.json", records.broken())
    put(tmp_path / ".pfa/other/record.json", dataclasses.replace(records.kept(), gate="other"))
    (tmp_path / ".pfa/digits/badge.json").write_text("{}")
    return tmp_path


def test_without_arguments_it_prints_what_the_last_runs_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report"]) == 0
    said = capsys.readouterr().out
    assert "digits  BROKEN" in said
    assert "other  KEPT" in said
    assert "Left out" not in said


def test_files_are_written_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--html", "a.html", "--markdown", "a.md", "--badge", "a.json"]
    assert main(["report", ".pfa/digits", *arguments]) == 0
    assert capsys.readouterr().out == "Written: a.html\nWritten: a.md\nWritten: a.json\n"
    assert (folder / "a.html").read_text(encoding="utf-8") == render(records.broken())
    assert (folder / "a.md").read_text(encoding="utf-8") == comment([records.broken()])
    assert (folder / "a.json").read_text(encoding="utf-8") == badge(records.broken())
    assert main(["report", ".pfa/digits", "--html", "b.html", "--base", ".pfa/other"]) == 0
    assert '<path class="base"' in (folder / "b.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--html", "a.html"], "--html takes one record, and there are 2: digits, other."),
        (["gone"], "gone cannot be read: No such file or directory."),
        (["--html", "no/such/a.html", ".pfa/digits"], "no/such/a.html cannot be written: No such file or directory."),
        (["--history", "gone"], "There is no folder gone."),
        (["--history", "empty"], "There is no record below empty."),
        (["empty"], "There is no record below empty."),
    ],
)
def test_what_cannot_be_done_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    (folder / "empty").mkdir()
    assert main(["report", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not (folder / "a.html").exists()


FOREIGN = {
    "text.json": "no JSON",
    "list.json": "[]",
    "old.json": json.dumps({"schema": "pfa_gate.record/0"}),
    "cut.json": dumps(records.kept())[:500],
    "more.json": json.dumps({**to_dict(records.kept()), "extra": 1}),
    "deep.json": "[" * 100_000,
    "nan.json": dumps(records.kept()).replace("0.99444", "NaN"),
}


def test_history_draws_what_it_can_and_names_the_rest(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for day, example in enumerate((records.kept, records.broken, records.not_judged), 1):
        put(folder / f"past/{day}.json", dataclasses.replace(example(), written=f"2026-11-0{day}T08:00:00Z"))
    for name, content in FOREIGN.items():
        (folder / "past" / name).write_text(content)
    (folder / "past/binary.json").write_bytes(b"\xff\xfe\x00")
    (folder / "past/dangling.json").symlink_to("nowhere")
    (folder / "past/folder.json").mkdir()
    assert main(["report", "--history", "past"]) == 0
    said = capsys.readouterr().out
    assert "digits · example_project/pfa.yaml · 3 runs" in said
    assert "✓✗?" in said
    for name in (*FOREIGN, "binary.json"):
        assert f"Left out: past/{name}" in said
    assert main(["report", "--history", "past", "--html", "history.html"]) == 0
    page = (folder / "history.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == 5
    assert "past/cut.json: The record is not JSON" in page


def test_a_record_without_a_time_has_that_of_its_file(folder: Path) -> None:
    path = folder / ".pfa/digits/record.json"
    os.utime(path, (1_700_000_000, 1_700_000_000))
    assert find_record(path).written == "2023-11-14T22:13:20Z"
    put(path, dataclasses.replace(records.kept(), written="2026-11-20T08:30:00Z"))
    assert find_record(path).written == "2026-11-20T08:30:00Z"


def test_a_file_too_large_for_a_record_is_not_read(folder: Path) -> None:
    path = folder / "large.json"
    with path.open("wb") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(ArtifactError, match="too large"):
        find_record(path)
    assert find_records([path]).refused == (f"{path} is too large for a record.",)


@pytest.mark.parametrize("arguments", [["past"], ["--history", "past"]])
def test_more_than_can_be_read_at_once_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    for number in range(3):
        (folder / "past" / str(number)).mkdir(parents=True)
        with (folder / "past" / str(number) / "record.json").open("wb") as file:
            file.truncate(MOST_TOGETHER // 2)
    assert main(["report", *arguments]) == 2
    assert capsys.readouterr().err == (
        f"There are 3 files of {MOST_TOGETHER // 2 * 3:,} bytes; at most {MOST_TOGETHER:,} are read at once.\n"
        "  Name fewer of them, or move the oldest to another folder.\n"
    )


def test_what_never_ends_is_no_record(folder: Path) -> None:
    os.mkfifo(folder / "pipe.json")
    for path in (Path("/dev/zero"), folder / "pipe.json"):
        assert find_records([path]).refused == (f"{path} cannot be read: it is not a regular file.",)


def test_missing_reports_are_restored_and_others_left_alone(folder: Path) -> None:
    files = {"record": "record.json", "html": "report.html", "markdown": "report.md", "badge": "badge.json"}
    record = dataclasses.replace(records.kept(), files={key: f".pfa/digits/{name}" for key, name in files.items()})
    place = folder / ".pfa/digits"
    (place / "record.json").write_text(dumps(record), encoding="utf-8")
    (place / "badge.json").write_text("mine")
    restore(to_dict(record), place)
    assert (place / "report.html").read_text(encoding="utf-8") == render(record)
    assert (place / "report.md").read_text(encoding="utf-8") == comment([record])
    assert (place / "badge.json").read_text() == "mine"
    assert sorted(path.name for path in place.iterdir()) == ["badge.json", "record.json", "report.html", "report.md"]


def test_a_report_that_cannot_be_restored_is_a_warning(folder: Path) -> None:
    record = dataclasses.replace(records.kept(), files={"badge": "wherever/badge.json"})
    (folder / "gone").write_text("a file where a folder should be")
    with pytest.warns(PfaWarning, match=r"The report .*gone/digits/badge.json cannot be written"):
        restore(to_dict(record), folder / "gone/digits")
    assert not (folder / "wherever").exists()
