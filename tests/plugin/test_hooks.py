"""Other plugins add to the report, and can neither pass nor fail a gate by it."""

import pytest
from projects import Pfa

TOY = "def pytest_pfa_report_section(record):\n    {body}\n"


@pytest.mark.parametrize("way", [[], ["-n2"]])
def test_a_section_follows_the_report(project: pytest.Pytester, pfa: Pfa, way: list[str]) -> None:
    project.makepyfile(toy=TOY.format(body="return f'{record.gate} costs {record.model.macs} MACs'"))
    result = pfa("-p", "toy", *way)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["digits  KEPT*", "digits costs 81 MACs"])


def test_nothing_to_add(project: pytest.Pytester, pfa: Pfa) -> None:
    project.makeconftest(TOY.format(body="return None"))
    result = pfa()
    assert result.ret == 0
    result.stdout.no_fnmatch_line("None")


def test_an_exception_is_told_and_changes_no_verdict(project: pytest.Pytester, pfa: Pfa) -> None:
    project.makeconftest(TOY.format(body="raise ValueError('no such column')"))
    result = pfa()
    assert result.ret == 0
    result.stdout.fnmatch_lines(["A plugin's pytest_pfa_report_section raised ValueError: no such column"])
    project.makeconftest(TOY.format(body="raise SystemExit(0)"))
    project.makefile(".yaml", pfa=(project.path / "pfa.yaml").read_text().replace("{}", "{broken: [exact]}"))
    assert pfa().ret != 0


def test_the_hook_may_be_there_without_the_gate(project: pytest.Pytester) -> None:
    project.makeconftest(TOY.format(body="raise ValueError"))
    assert project.runpytest_subprocess("--strict-config").ret == 0
