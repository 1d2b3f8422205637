"""Workflow commands: whole, escaped, and no more than a step shows."""

import dataclasses
import re

import pytest
import records
from examples import HOSTILE, named

from pfa_gate.report.ci import Failed, annotations

COMMAND = re.compile(r"::error (?P<properties>[^:]*)::(?P<message>.*)")


def parsed(line: str) -> tuple[dict[str, str], str]:
    """A command as the runner reads it."""
    found = COMMAND.fullmatch(line)
    assert found is not None, line
    properties = dict(each.split("=", 1) for each in found["properties"].split(","))
    signs = {"%3A": ":", "%2C": ",", "%0D": "\r", "%0A": "\n", "%25": "%"}

    def plain(text: str) -> str:
        return re.sub("|".join(signs), lambda sign: signs[sign[0]], text)

    return {name: plain(value) for name, value in properties.items()}, plain(found["message"])


def test_a_broken_budget_is_told_on_its_line() -> None:
    record = records.broken()
    first, *_ = annotations([record])
    properties, message = parsed(first)
    assert properties == {
        "file": "example_project/pfa.yaml",
        "line": "33",
        "title": "pfa_gate digits: layers.kl broken",
    }
    finding = next(each for each in record.budgets if each.id == "layers.kl")
    assert message.splitlines()[0] == finding.sentence
    assert message.splitlines()[-1] == "Again: pytest --pfa example_project/pfa.yaml::digits::layers.kl"


def test_the_worst_nine_and_a_count() -> None:
    crowd = [dataclasses.replace(records.not_judged(), gate="b"), records.broken()]
    lines = annotations(crowd, [Failed("pfa.yaml", "a", "There is no data.")])
    assert len(lines) == 10
    titles = [parsed(line)[0]["title"] for line in lines[:9]]
    assert titles[0] == "pfa_gate a: not measured"
    assert [title.rsplit(" ", 1)[1] for title in titles[1:6]] == ["broken"] * 5
    assert parsed(lines[9])[1] == "and 6 more budgets not kept; the report has them all"


def test_a_gate_that_could_not_be_measured_is_told_where_its_error_points() -> None:
    failed = [Failed("pfa.yaml", "a", "No data.", 4, 22), Failed("pfa.yaml", "b", "A bug.", 9)]
    first, second = (parsed(line)[0] for line in annotations([], failed))
    assert (first["line"], first["col"]) == ("4", "22")
    assert second == {"file": "pfa.yaml", "line": "9", "title": "pfa_gate b: not measured"}


def test_what_is_kept_is_not_annotated() -> None:
    assert annotations([records.kept()]) == ()


def test_the_path_is_that_of_the_repository() -> None:
    line = annotations([records.broken()], file=lambda config: f"sub/{config}")[0]
    assert parsed(line)[0]["file"] == "sub/example_project/pfa.yaml"


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_name_gives_neither_a_command_nor_a_property(name: str) -> None:
    lines = annotations([named(name)], [Failed(name, name, name, 3, 4)])
    assert len(lines) == 2
    for line in lines:
        assert len(line.splitlines()) == 1
        properties, _ = parsed(line)
        assert set(properties) - {"col"} == {"file", "line", "title"}
        assert not re.search("[\x00-\x1f\u202a-\u202e\u2066-\u2069]", line)
        line.encode("utf-8")
