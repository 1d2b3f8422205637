"""Long names: cut to their room, and no two alike."""

import dataclasses

import pytest
import records
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from pfa_gate.report.markdown import comment
from pfa_gate.report.terminal import render
from pfa_gate.report.text import distinct

BERT = [
    f"distilbert.transformer.layer.{block}.{part}"
    for block in range(6)
    for part in (*(f"attention.{kind}_lin" for kind in ("q", "k", "v", "out")), "ffn.lin1", "ffn.lin2")
]
EXPERTS = [
    f"model.layers.{i}.block_sparse_moe.experts.{e}.w{w}" for i in range(32) for e in range(8) for w in (1, 2, 3)
]
LETTERS = st.sampled_from("ab.0層😀\u0301")


@pytest.mark.parametrize("room", [12, 16, 20, 24, 32, 60])
@pytest.mark.parametrize("names", [BERT, EXPERTS], ids=["bert", "experts"])
def test_layers_of_real_networks_are_told_apart(names: list[str], room: int) -> None:
    short = distinct([*names, "head"], room)
    assert list(short) == [*names, "head"]
    assert len(set(short.values())) == len(short)
    assert max(map(len, short.values())) <= room


@given(st.lists(st.text(LETTERS, min_size=1, max_size=40), unique=True, max_size=30), st.integers(8, 30))
def test_any_names_are_told_apart_in_any_room(names: list[str], room: int) -> None:
    short = distinct(names, room, "..", cell_len)
    assert list(short) == names
    assert len(set(short.values())) == len(names)
    assert all(cell_len(text) <= room for text in short.values())
    assert all(short[name] == name for name in names if cell_len(name) <= room)


def layer_of(name: str) -> records.LayerRecord:
    return dataclasses.replace(records.layer(name, 64, 0.2), group=name)


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("verbosity", [1, 2])
def test_no_two_layers_of_a_report_look_alike(width: int, verbosity: int) -> None:
    record = records.record(tuple(map(layer_of, BERT)), {"layers": [{"match": "*", "kl": 0.7}]})
    text = render(record, width=width, colour=False, unicode=True, verbosity=verbosity)
    table = text.partition("Layers\n")[2].partition("   limit")[0].splitlines()[1:]
    names = [line.split()[0] for line in table]
    assert len(names) == len(set(names)) == len(BERT)
    if verbosity > 1:
        spectra = text.partition("Spectra\n")[2].splitlines()[: 3 * len(BERT) : 3]
        assert len({line.split()[0] for line in spectra}) == len(BERT)


def test_no_two_layers_of_a_comment_look_alike() -> None:
    deep = [f"a.module.of.a.module.{'in.a.module.' * 8}{number}{'.of.a.layer' * 9}" for number in range(12)]
    record = records.record(tuple(map(layer_of, deep)), {"layers": [{"match": "*", "kl": 0.7}]})
    rows = [line.split("|")[2] for line in comment([record]).splitlines() if "a.module" in line and line[0] == "|"]
    assert len(rows) == len(set(rows)) == 12


def test_a_name_in_a_sentence_is_broken_and_not_cut() -> None:
    record = records.record(tuple(map(layer_of, BERT)), {"layers": [{"match": "*", "kl": 0.01}]})
    text = render(record, width=40, colour=False, unicode=True)
    assert "…" not in text.partition("Budgets")[2]
    whole = "".join(text.partition("Budgets")[2].split())
    assert all(f"{name}0" in whole for name in BERT[:3])
