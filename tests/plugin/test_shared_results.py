"""One analysis per gate and run."""

import json
import multiprocessing
from pathlib import Path

import pytest

from pfa_gate.cache.verdicts import GateVerdict
from pfa_gate.errors import FactoryError
from pfa_gate.plugin.gate_analysis import Attempt, Result, analyse_once, results

CONFIG = Path("/project/pfa.yaml")


def counting(folder: Path) -> Result:
    with (folder / "count").open("a") as count:
        count.write("x")
    return Result(str(CONFIG), "digits", record={"schema": "x"}, test="a")


def ask(folder: Path) -> Result:
    return analyse_once(folder, CONFIG, "digits", lambda: counting(folder))


def test_processes_at_once_share_one_analysis(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        found = pool.map(ask, [tmp_path] * 12)
    assert len({json.dumps(each.record) for each in found}) == 1
    assert (tmp_path / "count").read_text() == "x"


def test_gates_and_configs_are_apart(tmp_path: Path) -> None:
    for config in (CONFIG, Path("/project/pfa.strict.yaml")):
        for gate in ("a", "b"):
            result = Result(str(config), gate, error="no")
            assert analyse_once(tmp_path, config, gate, lambda result=result: result) == result
    assert len(list(results(tmp_path))) == 4


@pytest.mark.parametrize(
    "junk", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"config": "a", "gate": "b"}', b'{"unknown": 1}']
)
def test_a_file_that_cannot_be_trusted_is_made_again(tmp_path: Path, junk: bytes) -> None:
    first = ask(tmp_path)
    (written,) = tmp_path.glob("*.json")
    written.write_bytes(junk)
    assert list(results(tmp_path)) == []
    assert ask(tmp_path) == first
    assert (tmp_path / "count").read_text() == "xx"


def test_an_interrupt_is_not_a_result(tmp_path: Path) -> None:
    def interrupted() -> dict[str, object]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        analyse_once(tmp_path, CONFIG, "digits", lambda: Attempt(CONFIG, "digits", "a").result(interrupted))
    assert ask(tmp_path).record == {"schema": "x"}


def test_a_mistake_is_kept_as_text_and_a_bug_as_itself() -> None:
    def mistaken() -> dict[str, object]:
        raise FactoryError("The module does not import.", remedy="Install it.").at("pfa.yaml:5:16")

    def faulty() -> dict[str, object]:
        raise ZeroDivisionError("by zero")

    attempt = Attempt(CONFIG, "digits", "a")
    expected = "The module does not import.\n  at pfa.yaml:5:16\n  Install it."
    assert attempt.result(mistaken).error == expected
    found = attempt.result(mistaken)
    assert (found.line, found.column) == (5, 16)
    assert attempt.exception is None
    assert attempt.result(faulty).crash == "ZeroDivisionError: by zero"
    assert isinstance(attempt.exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("where", "place"),
    [
        (("net.py:7:1", "pfa.yaml:4:22", "in gate 'digits'"), (4, 22)),
        (("net.py:7:1",), (9, 0)),
        (("other/pfa.yaml:4:22",), (9, 0)),
        ((), (9, 0)),
    ],
)
def test_an_error_has_the_place_in_its_config_or_that_of_its_gate(
    where: tuple[str, ...], place: tuple[int, int]
) -> None:
    def mistaken() -> GateVerdict:
        raise FactoryError("No.", where=where)

    found = Attempt(CONFIG, "digits", "a", 9).result(mistaken)
    assert (found.line, found.column) == place
