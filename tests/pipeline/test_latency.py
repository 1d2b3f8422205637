"""Latency of a gate: that of its file, of modules where there is no file, and what cannot be judged is not kept."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pfa_gate.budget.wording import trimmed
from pfa_gate.pipeline import latency
from pfa_gate.pipeline.run import run
from pfa_gate.record import Record, TimingRecord, dumps, loads
from pfa_gate.report.terminal import render
from pfa_gate.runtime import cpu_time

PROJECT = """
import torch


class Fixed(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = build()

    def forward(self, x):
        return self.body(x.view(2, 64))


def build():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(64, 40), torch.nn.ReLU(), torch.nn.Linear(40, 3))


def probe():
    return torch.randn(96, 64, generator=torch.Generator().manual_seed(1))
"""
CONFIG = """\
version: 1
gates:
  net:
    model: {factory: net.py:build}
    probe: {data: net.py:probe, batch_size: 32}
    recipe: {strategy: parameters, parameters: 50%}
    recovery: []
    budgets: {compressed: {latency: 10000%}}
"""


@pytest.fixture(scope="module", autouse=True)
def _a_few_pairs() -> Iterator[None]:
    """Enough to see that both were timed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu_time, "FEWEST_PAIRS", 3)
        patch.setattr(cpu_time, "MOST_PAIRS", 3)
        yield


def gate(folder: Path, config: str = CONFIG) -> Record:
    (folder / "net.py").write_text(PROJECT)
    (folder / "pfa.yaml").write_text(config)
    return run(folder / "pfa.yaml").record


@pytest.fixture(scope="module")
def of_the_file(tmp_path_factory: pytest.TempPathFactory) -> Record:
    more = "    artifacts: [onnx, onnx-int8]\n    quantize: {bits: 8}\n    latency: {batch: 4}\n"
    config = CONFIG.replace("10000%}}", "10000%}, quantized: {latency: 10000%}}")
    return gate(tmp_path_factory.mktemp("file"), config + more)


@pytest.fixture(scope="module")
def of_modules(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return gate(tmp_path_factory.mktemp("modules"), CONFIG + "    artifacts: [weights]\n")


def timing(record: Record) -> TimingRecord:
    assert record.compressed is not None
    assert record.compressed.timing is not None
    return record.compressed.timing


def test_the_file_is_timed_for_one_sample_for_a_batch_of_the_probe_and_for_what_the_config_says(
    of_the_file: Record,
) -> None:
    found = timing(of_the_file)
    assert (found.file, found.clock, found.device, found.reason) == ("model.onnx", "CPU time", "CPU", "")
    assert found.runtime.startswith("ONNX Runtime ")
    assert [batch.samples for batch in found.batches] == [1, 4, 32]
    assert all(batch.full and batch.smaller and batch.interval for batch in found.batches)
    assert found.judged == 4
    assert of_the_file.compressed is not None
    assert of_the_file.compressed.latency == found.batches[1].ratio
    assert {budget.id: budget.outcome for budget in of_the_file.budgets}["compressed.latency"] == "kept"
    assert loads(dumps(of_the_file)) == of_the_file


def test_the_int8_file_is_timed_against_the_same_full_model(of_the_file: Record) -> None:
    assert of_the_file.quantized is not None
    found = of_the_file.quantized.timing
    assert found is not None
    assert (found.file, found.judged, [batch.samples for batch in found.batches]) == ("model.int8.onnx", 4, [1, 4, 32])
    outcomes = {budget.id: (budget.outcome, budget.observed) for budget in of_the_file.budgets}
    assert outcomes["quantized.latency"] == ("kept", f"{trimmed(100 * found.batches[1].ratio, 1)}%")


def test_where_the_full_model_has_no_file_the_int8_file_is_not_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise latency.NoFileError("the full model cannot be written as an ONNX file: no")

    monkeypatch.setattr(latency, "as_file", refuse)
    config = CONFIG.replace("10000%}}", "10000%}, quantized: {latency: 10000%}}")
    record = gate(tmp_path, config + "    artifacts: [onnx]\n    quantize: {bits: 8}\n")
    reason = "the full model cannot be written as an ONNX file: no"
    assert timing(record).reason == reason
    found = {budget.id: budget for budget in record.budgets}
    assert found["compressed.latency"].outcome == "kept"
    assert (found["quantized.latency"].outcome, found["quantized.latency"].sentence) == ("not judged", reason)


def test_without_a_file_modules_are_timed_and_every_reader_is_told(of_modules: Record) -> None:
    found = timing(of_modules)
    assert (found.file, found.runtime, found.reason) == ("", "torch, eager", "artifacts leaves out onnx")
    assert [batch.samples for batch in found.batches] == [1, 32]
    said = "measured in torch, eager, on CPU, because artifacts leaves out onnx."
    budget = of_modules.budgets[-1]
    assert budget.notes == (f"It was {said}",)
    assert f"   M{said[1:]}" in render(of_modules, width=100, colour=False, unicode=True)


def test_without_the_extra_modules_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "installed", lambda: False)
    record = gate(tmp_path, CONFIG + "    artifacts: [weights]\n")
    assert timing(record).reason == "the extra onnx is not installed"


def test_a_model_of_one_batch_is_timed_for_that_batch(tmp_path: Path) -> None:
    record = gate(tmp_path, CONFIG.replace("net.py:build", "net.py:Fixed") + "    artifacts: [weights]\n")
    found = timing(record)
    assert [batch.samples for batch in found.batches] == [2]
    assert (found.judged, dict(found.skipped)) == (2, {"1": "a call takes 2 samples"})


def test_multiples_are_foretold_where_fewer_macs_take_as_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TimingRecord, "saves_less_than_macs", lambda *_: True)
    record = gate(tmp_path, CONFIG + "    artifacts: [weights]\n")
    assert record.recipe is not None
    assert record.compressed is not None
    assert record.recipe.keep == {"0": 19}
    rounded = record.compressed.rounded
    assert rounded is not None
    assert (dict(rounded.keep), rounded.parameters, rounded.macs) == ({"0": 16}, 16 * 68 + 3, 16 * 67)
    assert " recipe.round_to: auto would give 40.0% of the MACs with 1 of 1 counts in multiples of 8." in render(
        record, width=200, colour=False, unicode=True
    )
