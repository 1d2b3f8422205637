"""Memory and energy of one sample in a whole gate: counted by hand, judged, recorded, and told of what cannot be."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from onnx_files import linear
from torch import nn

import pfa_gate
from pfa_gate.budget import Baseline, Context
from pfa_gate.config import load
from pfa_gate.errors import DataError
from pfa_gate.graph.live_memory import LiveMemory
from pfa_gate.model import Batch
from pfa_gate.pipeline.run import run_document
from pfa_gate.record import Record
from pfa_gate.record import loads as read_record
from pfa_gate.record.baseline import Stamp, baseline_entry

PROJECT = """
import torch
from torch import nn


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 8), nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.second(self.first(x).relu()).relu_())


class Pairs(Plain):
    '''It normalises over the samples of a batch, and so takes no single one.'''

    def forward(self, x):
        if len(x) < 2:
            raise ValueError("too few")
        return super().forward(x - x.mean(0))


def plain():
    torch.manual_seed(0)
    return Plain()


def pairs():
    torch.manual_seed(0)
    return Pairs()


def rows():
    return torch.randn(96, 4, generator=torch.Generator().manual_seed(0))
"""
BUDGETS = {
    "model": {"memory": 64, "energy": "1.9 uJ"},
    "compressed": {"memory": "100%", "energy": {"max": "100%", "ratchet": True}},
}


def run(folder: Path, factory: str = "plain", **changes: Any) -> Record:
    (folder / "net.py").write_text(PROJECT, encoding="utf-8")
    gate = {
        "model": {"factory": f"net.py:{factory}"},
        "probe": {"data": "net.py:rows"},
        "recipe": {"strategy": "parameters", "parameters": "70%"},
        "recovery": [],
        "artifacts": ["weights"],
        "energy": {"mac": "4.6 pJ", "byte": "640 pJ"},
        "budgets": BUDGETS,
        **changes,
    }
    if "candidate" in changes:
        gate = {key: value for key, value in gate.items() if key not in ("recipe", "recovery", "artifacts")}
    (folder / "pfa.yaml").write_text(yaml.safe_dump({"version": 1, "gates": {"tiny": gate}}), encoding="utf-8")
    return pfa_gate.run(folder / "pfa.yaml").record


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return run(tmp_path_factory.mktemp("tiny"))


def test_memory_and_energy_are_those_counted_by_hand(record: Record) -> None:
    # 4 -> 8 relu -> 8 -> 6 relu_ -> 2: at the relu two rows of 8 floats are live, of which nothing can be freed.
    assert record.model.memory == 64
    parameters = 4 * 8 + 8 + 8 * 6 + 6 + 6 * 2 + 2
    macs = 4 * 8 + 8 * 6 + 6 * 2
    moved = 4 * parameters + 4 * ((4 + 8) + (8 + 8) + (8 + 6) + (6 + 6) + (6 + 2))
    assert record.model.energy == pytest.approx(4.6 * macs + 640 * moved)
    assert [(each.id, each.outcome) for each in record.budgets] == [
        ("exact", "kept"),
        ("model.memory", "kept"),
        ("model.energy", "kept" if 4.6 * macs + 640 * moved <= 1.9e6 else "broken"),
        ("compressed.memory", "kept"),
        ("compressed.energy", "kept"),
    ]


def test_the_compressed_model_is_followed_itself(record: Record) -> None:
    assert record.compressed is not None
    assert record.demands is not None
    assert record.demands.compressed is not None
    assert record.recipe is not None
    first, second = record.recipe.keep["first"], record.recipe.keep["second"]
    assert first + second < 14
    assert record.compressed.memory == 4 * max(4 + first, 2 * first, first + second, second + 2)
    moved = record.compressed.bytes + 4 * (4 + first + 2 * first + first + second + 2 * second + second + 2)
    assert record.compressed.macs is not None
    assert record.compressed.energy == pytest.approx(4.6 * record.compressed.macs + 640 * moved)


def test_the_record_names_the_peak_and_what_is_live_there(record: Record) -> None:
    assert record.demands is not None
    full = record.demands.full
    assert full is not None
    assert full.peak is not None
    assert (full.operators, full.at, full.peak.name, full.peak.bytes) == (5, 1, "relu", 64)
    assert [(each.name, each.bytes) for each in full.alive] == [("linear of first", 32), ("relu", 32)]
    assert full.curve == (48, 64, 56, 24, 32)
    assert full.names == ("linear of first", "relu", "linear of second", "relu_", "linear of head")
    assert (record.demands.mac, record.demands.byte) == (4.6, 640.0)


def test_a_baseline_holds_them_and_a_later_run_is_held_to_it(record: Record, tmp_path: Path) -> None:
    assert record.compressed is not None
    entry = baseline_entry(record, Stamp("2026-11-20", "", {}))["budgets"]
    sizes = {"model": record.model, "compressed": record.compressed}
    for area, size in sizes.items():
        assert entry[f"{area}.memory"] == size.memory
        assert entry[f"{area}.energy"] == pytest.approx(size.energy, abs=1e-6)
    held = {"model": {"energy": {"ratchet": True}}, "compressed": {"memory": {"max_increase": 8}}}
    assert outcomes(tmp_path / "same", entry, held) == {"model.energy": "kept", "compressed.memory": "kept"}
    less = {**entry, "model.energy": entry["model.energy"] - 1, "compressed.memory": entry["compressed.memory"] - 9}
    assert outcomes(tmp_path / "less", less, held) == {"model.energy": "broken", "compressed.memory": "broken"}


def outcomes(folder: Path, entry: dict[str, float], budgets: dict[str, Any]) -> dict[str, str]:
    """What becomes of budgets against a baseline of these values."""
    folder.mkdir()
    run(folder, budgets=budgets)
    document = load(folder / "pfa.yaml")
    base = Baseline("pfa.baseline.json", "2026-11-20", values=entry)
    found = run_document(document, "tiny", Context(base, date(2026, 11, 21)), output=folder / "out").record
    return {each.id: each.outcome for each in found.budgets if each.id != "exact"}


def test_without_a_table_there_is_no_energy_and_memory_all_the_same(tmp_path: Path) -> None:
    found = run(tmp_path, energy={"mac": "1 pJ", "byte": "1 pJ"}, budgets={"model": {"parameters": 200}})
    assert found.model.energy is not None
    (tmp_path / "other").mkdir()
    text = yaml.safe_load((tmp_path / "pfa.yaml").read_text(encoding="utf-8"))
    del text["gates"]["tiny"]["energy"]
    (tmp_path / "pfa.yaml").write_text(yaml.safe_dump(text), encoding="utf-8")
    plain = pfa_gate.run(tmp_path / "pfa.yaml").record
    assert (plain.model.energy, plain.model.memory) == (None, 64)
    assert read_record((tmp_path / ".pfa" / "tiny" / "record.json").read_text(encoding="utf-8")) == plain


def test_a_model_that_takes_no_single_sample_is_followed_with_more_of_which_each_counts_its_share(
    tmp_path: Path,
) -> None:
    found = run(tmp_path, "pairs", budgets={"model": {"memory": "1 kB"}})
    assert found.demands is not None
    assert found.demands.full is not None
    assert found.demands.full.peak is not None
    samples = found.demands.full.samples
    assert samples > 1
    assert found.demands.full.peak.bytes == samples * 64
    assert found.model.memory == 64


def test_a_model_that_cannot_be_followed_is_not_judged_and_the_reason_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(model: nn.Module, example: Batch) -> LiveMemory:
        raise DataError("The memory of the activations cannot be followed: the model raised ValueError: no.")

    monkeypatch.setattr("pfa_gate.pipeline.demands.live_memory", refused)
    found = run(tmp_path)
    why = "The memory of the activations cannot be followed: the model raised ValueError: no."
    assert [(each.id, each.outcome, each.sentence) for each in found.budgets if each.id != "exact"] == [
        ("model.memory", "not judged", f"The memory of the full model is not known: {why}"),
        ("model.energy", "not judged", f"The energy of the full model is not known: {why}"),
        ("compressed.memory", "not judged", f"The memory of the compressed model is not known: {why}"),
        ("compressed.energy", "not judged", f"The energy of the compressed model is not known: {why}"),
    ]
    assert [(gap.what, gap.reason) for gap in found.unmeasured] == [
        ("memory of the full model", why),
        ("memory of the compressed model", why),
    ]
    assert found.demands is None


@pytest.mark.parametrize("form", ["factory", "pt2", "onnx"])
def test_a_candidate_is_followed(tmp_path: Path, form: str) -> None:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x)

    if form == "pt2":
        torch.export.save(torch.export.export(Small().eval(), (torch.zeros(7, 4),)), tmp_path / "small.pt2")
        candidate = {"pt2": "small.pt2"}
    elif form == "onnx":
        hidden = nn.Linear(4, 5)
        linear(tmp_path / "small.onnx", hidden)
        candidate = {"onnx": "small.onnx"}
    else:
        candidate = {"factory": "net.py:plain"}
    found = run(tmp_path, candidate=candidate, budgets={"compressed": {"memory": "80%"}})
    assert found.compressed is not None
    # A linear of the file casts its input before.
    assert found.compressed.memory == {"pt2": 40, "factory": 64, "onnx": 36}[form]
    assert found.compressed.energy is not None
