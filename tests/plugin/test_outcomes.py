"""Kept is passed, broken is failed, what could not be judged is an error, and nothing passes unmeasured."""

from xml.etree import ElementTree

import pytest
from projects import Pfa, config, gate, runs

TWO = "layers: [{match: '*', kl: 0.7, inactive: 0}], model: {parameters: 9 k}"


def write(project: pytest.Pytester, *gates: str) -> None:
    project.makefile(".yaml", pfa=config(*gates))


def test_kept_budgets_pass_beside_ordinary_tests(pfa: Pfa) -> None:
    result = pfa("-v")
    result.assert_outcomes(passed=3)
    assert result.ret == 0
    result.stdout.fnmatch_lines_random(
        [
            "pfa.yaml::digits::exact PASSED*",
            "pfa.yaml::digits::layers.kl PASSED*",
            "test_one.py::test_passes PASSED*",
        ]
    )


def test_a_broken_budget_fails_with_its_sentence_and_no_traceback(project: pytest.Pytester, pfa: Pfa) -> None:
    write(project, gate(TWO, "{broken: [layers.kl]}"))
    result = pfa("-ra")
    result.assert_outcomes(passed=4, failed=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "__* digits: layers.kl _*",
            "The sentence of layers.kl.",
            "  at pfa.yaml:6",
            "FAILED pfa.yaml::digits::layers.kl - Failed: The sentence of layers.kl.*",
        ]
    )
    result.stdout.no_fnmatch_line("*nodes.py*")


def test_a_budget_that_was_not_judged_is_an_error_of_the_set_up(project: pytest.Pytester, pfa: Pfa) -> None:
    write(project, gate(TWO, "{unknown: [layers.kl]}"))
    result = pfa("-ra")
    result.assert_outcomes(passed=4, errors=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*ERROR at setup of *layers.kl*", "The sentence of layers.kl.", "  at pfa.yaml:6"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_budget_without_a_verdict_is_an_error(project: pytest.Pytester, pfa: Pfa) -> None:
    write(project, gate(TWO, "{absent: [layers.kl]}"))
    result = pfa()
    result.assert_outcomes(passed=4, errors=1)
    result.stdout.fnmatch_lines(["The record of gate 'digits' holds no verdict on layers.kl.", "  at pfa.yaml:6"])


def test_a_mistake_of_the_user_is_told_without_traceback_and_found_once(project: pytest.Pytester, pfa: Pfa) -> None:
    write(project, gate(arguments="{raises: mistake}"))
    result = pfa("-ra")
    result.assert_outcomes(passed=1, errors=2)
    assert result.ret == 1
    assert runs(project) == ["digits main None"]
    result.stdout.fnmatch_lines(["The module net does not import.", "  at pfa.yaml:5:16", "  Correct the name."])
    result.stdout.no_fnmatch_line("*fakes.py*")
    pointer = "Not measured: pfa.yaml::digits::exact says why."
    result.stdout.fnmatch_lines(
        [
            pointer,
            "ERROR pfa.yaml::digits::exact - Failed: The module net does not import.*",
            "ERROR pfa.yaml::digits::layers.kl - Failed: Not measured: *",
        ]
    )
    assert result.stdout.str().count("\nThe module net does not import.") == 1


def test_a_reason_that_several_budgets_share_is_told_once(project: pytest.Pytester, pfa: Pfa) -> None:
    write(project, gate(TWO, "{unknown: [exact, layers.inactive], alike: true}"))
    result = pfa()
    result.assert_outcomes(passed=3, errors=2)
    pointer = "Not judged: pfa.yaml::digits::exact says why."
    result.stdout.fnmatch_lines(["Nothing could be cut.", "  at pfa.yaml:*", "  Again: *", pointer])
    alone = pfa("-k", "inactive", "--pfa-no-cache")
    alone.stdout.fnmatch_lines(["Nothing could be cut."])
    alone.stdout.no_fnmatch_line("Not judged: *")


def test_an_exception_that_nobody_foresaw_shows_its_traceback_once(project: pytest.Pytester, pfa: Pfa) -> None:
    write(project, gate(arguments="{raises: bug}"))
    result = pfa()
    result.assert_outcomes(passed=1, errors=2)
    assert len(runs(project)) == 1
    shown = result.stdout.str()
    assert shown.count("fakes.py:") >= 1
    assert shown.count('raise RuntimeError("boom")') == 1
    result.stdout.fnmatch_lines(
        [
            "RuntimeError: boom",
            "  The analysis of gate 'digits' stopped; pfa.yaml::digits::exact shows its traceback.",
        ]
    )


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("skip", "Code that the gate called asked to skip the test: no network."),
        ("xfail", "Code that the gate called asked to end by XFailed: it never works."),
        ("exit", "Code that the gate called asked to end by SystemExit: 0."),
    ],
)
def test_user_code_cannot_skip_a_gate(project: pytest.Pytester, pfa: Pfa, kind: str, said: str) -> None:
    write(project, gate(arguments=f"{{raises: {kind}}}"))
    result = pfa()
    result.assert_outcomes(passed=1, errors=2)
    assert result.ret == 1
    result.stdout.fnmatch_lines([said])


def test_a_bad_config_is_a_collection_error_without_traceback(project: pytest.Pytester, pfa: Pfa) -> None:
    project.makefile(".yaml", pfa="version: 1\ngate: {}\n")
    result = pfa()
    assert result.ret == 2
    result.stdout.fnmatch_lines(
        [
            "*ERROR collecting pfa.yaml*",
            "pfa.yaml:1:1: gates is missing",
            "pfa.yaml:2:1: unknown key 'gate'",
            "    gate: {}",
            "    ^",
            "  Did you mean gates?",
        ]
    )
    result.stdout.no_fnmatch_line("*nodes.py*")


def test_an_error_filter_of_the_project_does_not_judge_the_gate(project: pytest.Pytester, pfa: Pfa) -> None:
    write(project, gate(arguments="{raises: warning}"))
    result = pfa("-W", "error")
    result.assert_outcomes(passed=3, warnings=1)
    result.stdout.fnmatch_lines(["*UserWarning: a strange thing*"])


def test_junit_has_one_case_per_budget_with_its_properties(project: pytest.Pytester, pfa: Pfa) -> None:
    write(project, gate(TWO, "{broken: [model.parameters], unknown: [layers.inactive]}"))
    pfa("--junitxml", "junit.xml")
    cases = {
        case.attrib["name"]: case
        for case in ElementTree.parse(project.path / "junit.xml").iter("testcase")
        if case.attrib["classname"] == "pfa.yaml.digits"
    }
    assert list(cases) == ["exact", "layers.kl", "layers.inactive", "model.parameters"]
    failure, error = cases["model.parameters"].find("failure"), cases["layers.inactive"].find("error")
    assert failure is not None
    assert error is not None
    assert "The sentence of model.parameters." in failure.attrib["message"]
    assert "The sentence of layers.inactive." in str(error.text)
    properties = {each.attrib["name"]: each.attrib["value"] for each in cases["exact"].iter("property")}
    assert properties == {
        "pfa_outcome": "kept",
        "pfa_limit": "0.7",
        "pfa_observed": "0.5",
        "pfa_record": ".pfa/digits/record.json",
    }


def test_two_gates_of_one_config_are_each_analysed_once(project: pytest.Pytester, pfa: Pfa) -> None:
    write(project, gate(TWO, name="first"), gate(TWO, name="second"))
    pfa().assert_outcomes(passed=9)
    assert runs(project) == ["first main None", "second main None"]


def test_gates_of_two_configs_must_not_share_a_folder(project: pytest.Pytester, pfa: Pfa) -> None:
    project.makefile(".yaml", other=config())
    result = pfa("pfa.yaml", "other.yaml")
    assert result.ret == 2
    result.stdout.fnmatch_lines(
        [
            "Gate 'digits' of other.yaml writes to .pfa/digits, as pfa.yaml does.",
            "  Run one config at a time, or rename one of the two gates.",
        ]
    )
