"""The last word on a run, asked in this process: which budgets count as found kept, and who may do without them."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from projects import config, gate

from pfa_gate.config.paths import from_root
from pfa_gate.plugin.command_line import Choice, share_left_out
from pfa_gate.plugin.exit_guard import JUDGED
from pfa_gate.plugin.exit_status import ExitStatus, Gap, gaps
from pfa_gate.plugin.gate_analysis import Result, analyse_once
from pfa_gate.plugin.result_files import begin_manifests
from pfa_gate.plugin.run_plan import RunPlan
from pfa_gate.record.manifest import MANIFEST, DeclaredGate, Manifest, read_manifest

NAMES = ("exact", "layers.kl", "model.parameters")
BUDGETS = "layers: [{match: '*', kl: 0.7}], model: {parameters: 9 k}"


def planned(folder: Path, *gates: str, chosen: bool = False) -> RunPlan:
    (folder / "pfa.yaml").write_text(config(*(gates or [gate(BUDGETS)])), "utf-8")
    return RunPlan((folder / "pfa.yaml",), folder / "shared", names_tests_only=chosen)


def found(plan: RunPlan, name: str = "digits", at: int = 0, **outcomes: str) -> None:
    """Leave a record behind, as the process that measured would."""
    named = {each: outcomes.get(each.rpartition(".")[2], "kept") for each in NAMES}
    record = {"budgets": [{"id": each, "outcome": outcome} for each, outcome in named.items()]}
    path = plan.configs[at]
    analyse_once(plan.shared, path, name, lambda: Result(str(path), name, record=record))


def missed(plan: RunPlan, root: Path) -> list[tuple[str, tuple[str, ...], str]]:
    return [(each.gate, each.budgets, each.outcome) for each in gaps(plan, root)]


def test_a_run_that_found_every_budget_kept_has_no_gaps(tmp_path: Path) -> None:
    plan = planned(tmp_path, gate(BUDGETS), gate(BUDGETS, name="other"))
    found(plan)
    found(plan, "other")
    assert missed(plan, tmp_path) == []


def test_what_is_broken_and_what_was_not_judged_are_told_apart(tmp_path: Path) -> None:
    plan = planned(tmp_path, gate(BUDGETS), gate(BUDGETS, name="other"), gate(BUDGETS, name="third"))
    found(plan, kl="not judged", parameters="broken")
    found(plan, "third", exact="broken", kl="broken", parameters="broken")
    assert missed(plan, tmp_path) == [
        ("digits", ("model.parameters",), "broken"),
        ("digits", ("layers.kl",), "not judged"),
        ("other", NAMES, "not judged"),
        ("third", NAMES, "broken"),
    ]


def test_an_outcome_that_no_budget_has_is_not_kept(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    found(plan, kl="Kept", parameters="")
    assert missed(plan, tmp_path) == [("digits", NAMES[1:], "not judged")]


@pytest.mark.parametrize("what", [{"error": "No factory."}, {"crash": "RuntimeError: boom"}])
def test_a_gate_that_ended_in_an_error_was_not_judged(tmp_path: Path, what: dict[str, str]) -> None:
    plan = planned(tmp_path)
    analyse_once(plan.shared, plan.configs[0], "digits", lambda: Result(str(plan.configs[0]), "digits", **what))
    assert missed(plan, tmp_path) == [("digits", NAMES, "not judged")]


def test_a_record_speaks_for_its_own_config_alone(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    strict = tmp_path / "pfa.strict.yaml"
    strict.write_text(config(gate(BUDGETS)), "utf-8")
    plan = RunPlan((*plan.configs, strict), plan.shared)
    found(plan, at=1)
    assert [(each.config, each.budgets) for each in gaps(plan, tmp_path)] == [(plan.configs[0], NAMES)]


@pytest.mark.parametrize(("base", "shown"), [("/p", "sub/pfa.yaml"), ("/p/sub", "pfa.yaml"), ("/q", "/p/sub/pfa.yaml")])
def test_a_path_is_told_from_where_it_is_asked(base: str, shown: str) -> None:
    said = Gap(Path("/p/sub/pfa.yaml"), "digits", ("exact",), "broken").sentence(Path(base))
    assert said == f"{shown}::digits: broken in this run: exact."


class Answering:
    """A gateway of a worker that lives, or whose connection is closed."""

    def __init__(self, name: str, alive: bool) -> None:
        self.id, self.alive = name, alive

    def remote_status(self) -> None:
        if not self.alive:
            raise EOFError


def ledger(plan: RunPlan, root: Path, **options: Any) -> ExitStatus:
    given = {"keyword": "", "markexpr": "", **options}
    choice = given.pop("choice", Choice())
    plan = replace(plan, choice=choice, output=root / "results")
    plugins = SimpleNamespace(hasplugin=lambda name: name == "terminalreporter" and given.get("terminal", True))
    config: Any = SimpleNamespace(option=SimpleNamespace(**given), rootpath=root, pluginmanager=plugins, stash={})
    return ExitStatus(config, plan, begin_manifests(plan, config))


def ended(one: ExitStatus, status: int, others: int | None = None) -> int:
    """The exit status of a session, after other plugins have made theirs of it."""
    session = SimpleNamespace(exitstatus=status)
    hook = one.pytest_sessionfinish(session, status)  # type: ignore[arg-type]
    next(hook)
    if others is not None:
        session.exitstatus = others
    with pytest.raises(StopIteration) as over:
        hook.send("what the others gave")
    assert over.value.value == "what the others gave"
    assert one.config.stash[JUDGED] == session.exitstatus
    return int(session.exitstatus)


HEAD = "ERROR: --pfa: no test failed, but not every budget was found kept, so the run does not pass."
GAP = "pfa.yaml::digits: not judged in this run: exact, layers.kl, model.parameters."
REMEDY = "Run pytest --pfa without what left them out: where tests are split over jobs, give the gate its own."


def test_a_run_with_a_gap_does_not_end_with_0_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = ledger(planned(tmp_path), tmp_path)
    assert ended(one, 0) == 4
    assert one.said == "\n  ".join([HEAD, GAP, REMEDY])
    assert capsys.readouterr() == ("", "")


def test_without_a_terminal_it_is_said_on_the_error_stream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = ledger(planned(tmp_path), tmp_path, terminal=False)
    assert ended(one, 0) == 4
    assert capsys.readouterr() == ("", f"{one.said}\n")


def test_a_run_without_gaps_ends_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(tmp_path)
    found(plan)
    one = ledger(plan, tmp_path, terminal=False)
    assert (ended(one, 0), one.said) == (0, "")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("status", [1, 2, 3, 4, 5])
def test_a_run_that_failed_is_told_nothing_more_and_stays_failed(tmp_path: Path, status: int) -> None:
    one = ledger(planned(tmp_path), tmp_path)
    assert (ended(one, status), one.said) == (status, "")


@pytest.mark.parametrize("status", [0, 1, 5])
def test_no_other_plugin_makes_a_success_of_a_failure(
    tmp_path: Path, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    stays = status or 4
    assert ended(ledger(planned(tmp_path), tmp_path), status, others=0) == stays
    assert capsys.readouterr().err == f"ERROR: --pfa: a hook set the exit status to 0; it stays {stays}.\n"


def test_another_failure_is_the_other_plugins_to_choose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(tmp_path)
    assert ended(ledger(plan, tmp_path), 1, others=2) == 2
    found(plan)
    assert ended(ledger(plan, tmp_path), 0, others=3) == 3
    assert capsys.readouterr().err == ""


CHOICES = {
    "-k": ("exact", Choice(keyword="exact")),
    "-m": ("", Choice(mark="slow")),
    "a node id": ("exact", Choice(arguments=("{root}/pfa.yaml::digits::exact",))),
    "a gate's id": ("exact layers.kl model.parameters", Choice(arguments=("{root}/pfa.yaml::digits",))),
}
NO_CHOICES = {
    "nothing": ({}, Choice()),
    "an option that somebody else added": ({"keyword": "exact", "markexpr": "not slow"}, Choice()),
    "an id of another file": ({}, Choice(arguments=("{root}/test_one.py::test_passes",))),
    "an id, and the folder": ({}, Choice(arguments=("{root}/pfa.yaml::digits::exact", "{root}"))),
}


def absolute_ids(choice: Choice, root: Path) -> Choice:
    return replace(choice, arguments=tuple(each.format(root=root) for each in choice.arguments))


@pytest.mark.parametrize(("kept", "choice"), CHOICES.values(), ids=CHOICES)
def test_what_the_command_line_chose_away_is_no_gap(tmp_path: Path, kept: str, choice: Choice) -> None:
    plan = planned(tmp_path)
    left = [] if choice.arguments else [each for each in NAMES if each not in kept.split()]
    share_left_out(plan.shared, "main", [(str(plan.configs[0]), "digits", each) for each in left])
    broken = {each.rpartition(".")[2]: "broken" for each in NAMES if each not in kept.split()}
    found(plan, **broken)
    one = ledger(plan, tmp_path, choice=absolute_ids(choice, tmp_path))
    assert (ended(one, 0), one.said) == (0, "")


def test_what_one_worker_alone_left_out_is_a_gap(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    found(plan, kl="broken")
    share_left_out(plan.shared, "gw0", [(str(plan.configs[0]), "digits", "layers.kl")])
    share_left_out(plan.shared, "gw1", [])
    assert ended(ledger(plan, tmp_path, choice=Choice(keyword="exact")), 0) == 4


@pytest.mark.parametrize(("options", "choice"), NO_CHOICES.values(), ids=NO_CHOICES)
def test_who_chooses_nothing_away_gets_a_verdict(tmp_path: Path, options: dict[str, str], choice: Choice) -> None:
    one = ledger(planned(tmp_path), tmp_path, choice=absolute_ids(choice, tmp_path), **options)
    assert ended(one, 0) == 4
    by = "-k 'exact' and -m 'not slow' was not chosen for this run: only the command line of a run leaves budgets out."
    assert (by in one.said) == bool(options)


def test_who_only_looks_gets_no_verdict(tmp_path: Path) -> None:
    one = ledger(planned(tmp_path), tmp_path, choice=Choice(only_lists=True))
    assert (ended(one, 0), one.said) == (0, "")
    assert not (tmp_path / "results").exists()


def test_the_end_of_a_run_is_written_down(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    share_left_out(plan.shared, "main", [(str(plan.configs[0]), "digits", "exact")])
    one = ledger(replace(plan, run="ab"), tmp_path)
    path = tmp_path / "results" / MANIFEST
    before = read_manifest(path.read_text("utf-8"))
    gate = DeclaredGate(from_root(plan.configs[0]), "digits", "digits/record.json", NAMES)
    assert before == Manifest("ab", before.begun, None, (gate,))
    assert ended(one, 0) == 4
    after = replace(before, status=4, gates=(replace(gate, left_out=("exact",)),))
    assert read_manifest(path.read_text("utf-8")) == after


def test_a_config_that_went_away_in_the_middle_is_named(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    found(plan)
    plan.configs[0].unlink()
    one = ledger(plan, tmp_path)
    assert ended(one, 0) == 4
    head, read, *_, remedy = one.said.split("\n  ")
    assert (head, remedy) == (HEAD, REMEDY)
    assert read.startswith("A config can no longer be read: ")


DIED = "ERROR: --pfa: no test failed, but a worker died, so the run does not pass."
FEWER = "Run it again; if workers keep dying (out of memory?), use fewer, or none with -n0."


@pytest.mark.parametrize(
    ("workers", "told"),
    [
        ({"gw0": (True, None), "gw1": (True, None)}, []),
        ({"gw0": (True, None), "gw1": (True, "Not properly terminated")}, ["gw1: Not properly terminated"]),
        ({"gw0": (False, None), "gw1": (True, None)}, ["gw0: it no longer answers"]),
        ({"gw0": (False, None), "gw1": (False, "crashed")}, ["gw1: crashed"]),
    ],
)
def test_a_worker_that_died_fails_a_run_with_every_budget_kept(
    tmp_path: Path, workers: dict[str, tuple[bool, str | None]], told: list[str]
) -> None:
    plan = planned(tmp_path)
    found(plan)
    one = ledger(plan, tmp_path)
    for name, (alive, error) in workers.items():
        one.pytest_testnodedown(SimpleNamespace(gateway=Answering(name, alive)), error)
    assert ended(one, 0) == (4 if told else 0)
    assert one.said == ("\n  ".join([DIED, *told, FEWER]) if told else "")


def test_gaps_and_dead_workers_are_both_told_in_the_summary(tmp_path: Path) -> None:
    one = ledger(planned(tmp_path), tmp_path)
    one.pytest_testnodedown(SimpleNamespace(gateway=Answering("gw0", True)), "crashed")
    said: list[tuple[str, dict[str, bool]]] = []
    terminal = SimpleNamespace(write_line=lambda text, **how: said.append((text, how)))
    one.pytest_terminal_summary(terminal)  # type: ignore[arg-type]
    assert said == []
    assert ended(one, 0) == 4
    one.pytest_terminal_summary(terminal)  # type: ignore[arg-type]
    gap, died = "\n  ".join([HEAD, GAP, REMEDY]), "\n  ".join([DIED, "gw0: crashed", FEWER])
    assert said == [(f"{gap}\n{died}", {"red": True})]
