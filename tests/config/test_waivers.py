"""Waivers, watched files and limits against a baseline: what is taken, and what is refused at which place."""

from datetime import date
from pathlib import Path

import pytest

from pfa_gate.config import load
from pfa_gate.config.document import resolved
from pfa_gate.errors import ConfigError

GATE = """\
version: 1
gates:
  digits:
    model: {factory: net:build}
    probe: {data: net:probe}
    budgets:
      layers: [{match: "*", kl: {max: 0.7, max_increase: 0.05, ratchet: true}}]
      model: {parameters: {max_increase: 5%}}
"""
WAIVER = "{layer: stem, budget: kl, reason: to be retrained, until: 2027-01-31}"


def refused(tmp_path: Path, more: str) -> str:
    path = tmp_path / "pfa.yaml"
    path.write_text(GATE + more, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load(path)
    return str(error.value)


def test_a_waiver_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pfa.yaml"
    path.write_text(f"{GATE}    allow: [{WAIVER}]\n    watch: ['data/*.npy']\n", encoding="utf-8")
    gate = load(path).gate("digits")
    (waiver,) = gate.allow
    assert (waiver.layer, waiver.budget, waiver.until) == ("stem", "layers.kl", date(2027, 1, 31))
    assert gate.watch == ("data/*.npy",)
    again = tmp_path / "again.yaml"
    again.write_text(resolved(load(path)), encoding="utf-8")
    assert load(again).gates == load(path).gates


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("until: 2027-01-31", "until: 2027-02-30", "9:71: allow[0].until is not a day of the calendar: 2027-02-30"),
        ("until: 2027-01-31", "until: 31.1.2027", "allow[0].until must be a day such as 2027-01-31"),
        ("until: 2027-01-31", "until: 2027", "allow[0].until must be a day such as 2027-01-31, not 2027"),
        (", until: 2027-01-31", "", "9:13: allow[0].until is missing"),
        ("reason: to be retrained, ", "", "9:13: allow[0].reason is missing"),
        ("to be retrained", '""', "allow[0].reason must not be empty"),
        ("layer: stem, ", "", "9:13: the waiver of kl names no layer"),
        ("budget: kl", "budget: layers.lk", "must name a budget, not be the text 'layers.lk'"),
        ("budget: kl", "budget: exact", "names exact, the proof, which nothing can waive"),
        ("budget: kl", "budget: inactive", "9:35: the waiver matches nothing: there is no budget inactive"),
        ("budget: kl", "budget: model.macs", "the waiver matches nothing: there is no budget model.macs"),
        ("budget: kl", "budget: model.parameters", "9:21: model.parameters is not a budget of layers"),
        ("layer:", "layers:", "9:14: unknown key 'layers' in allow[0]"),
    ],
)
def test_a_waiver_that_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert WAIVER.count(old) == 1
    assert said in refused(tmp_path, f"    allow: [{WAIVER.replace(old, new)}]\n")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("    allow: {}\n", "allow must be a list of waivers, not a mapping"),
        ("    watch: []\n", "watch must not be empty"),
        ("    watch: data.npy\n", "watch must be a list of patterns"),
        ("    artifacts: []\n", "artifacts must not be empty"),
        ("    artifacts: weights\n", "artifacts must be a list of files, not the text 'weights'"),
        (
            "    artifacts: [weights, onxn]\n",
            "must be one of weights, pt2, onnx, onnx-int8, openvino, executorch, not the text 'onxn'",
        ),
        ("    recipe: {strategy: parameters, parameters: {max_increase: 5%}}\n", "has the unknown key 'max_increase'"),
    ],
)
def test_sections_that_are_refused(tmp_path: Path, more: str, said: str) -> None:
    assert said in refused(tmp_path, more)
