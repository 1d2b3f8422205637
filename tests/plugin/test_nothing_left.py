"""A gate that does not run never passes: exit 4 and a sentence, unless -k, -m or a test id chose so."""

import pytest
from projects import Pfa, runs

DROPS_ALL = "def pytest_collection_modifyitems(items):\n    items[:] = [i for i in items if 'pfa' not in i.nodeid]\n"


def test_no_config_at_all(project: pytest.Pytester, pfa: Pfa) -> None:
    (project.path / "pfa.yaml").unlink()
    result = pfa()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            f"ERROR: --pfa: found no pfa.yaml in or below this folder, nor upward to {project.path}.",
            "  Write one, or name another with --pfa-config.",
        ]
    )


def test_a_named_config_that_is_not_there(pfa: Pfa) -> None:
    result = pfa("--pfa-config", "nets/pfa.yaml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --pfa: there is no file nets/pfa.yaml."])
    assert pfa("nets/pfa.yaml").ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.parametrize("more", [[], ["-n2"], ["--co"]])
@pytest.mark.parametrize("arguments", [["--deselect", "pfa.yaml::digits"], []])
def test_budgets_that_were_collected_and_then_dropped(
    project: pytest.Pytester, pfa: Pfa, arguments: list[str], more: list[str]
) -> None:
    if not arguments:
        project.makeconftest(DROPS_ALL)
    result = pfa(*arguments, *more)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    told = [
        "ERROR: --pfa: no budget of pfa.yaml is left to run.",
        "  Something ignored or deselected them all, so the gate would pass without judging anything.",
        "  Give the gate a run of its own, `pytest --pfa pfa.yaml`; run the tests in others, without --pfa.",
    ]
    result.stderr.fnmatch_lines(told, consecutive=True)
    assert runs(project) == []


def test_an_ignored_config(pfa: Pfa) -> None:
    assert pfa("--ignore=pfa.yaml").ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.parametrize("more", [[], ["-n2"]])
@pytest.mark.parametrize("arguments", [["-k", "passes"], ["-m", "no_mark"], ["test_one.py::test_passes"]])
def test_a_choice_on_the_command_line(
    project: pytest.Pytester, pfa: Pfa, arguments: list[str], more: list[str]
) -> None:
    project.makeini("[pytest]\nmarkers = no_mark\n")
    expected = 5 if "-m" in arguments else 0
    assert pfa(*arguments, *more).ret == expected
    assert runs(project) == []


def test_rerunning_what_failed_last(project: pytest.Pytester, pfa: Pfa) -> None:
    project.makepyfile(test_one="def test_fails():\n    assert False\n")
    assert pfa().ret == 1
    pfa("--lf").assert_outcomes(failed=1)
    assert len(runs(project)) == 1


def test_options_of_the_gate_without_it(project: pytest.Pytester) -> None:
    for option in ("--pfa-config=pfa.yaml", "--pfa-output=out"):
        result = project.runpytest_subprocess(option)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: {option.partition('=')[0]} has no effect without --pfa."])
