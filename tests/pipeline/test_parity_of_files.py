"""Gates that hold their files to the answers of a reference: what is judged, stored, and said where it cannot be."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx_files import FEATURES, linear, saturating

from pfa_gate.cache.fingerprint import fingerprint
from pfa_gate.cli import main
from pfa_gate.config import load
from pfa_gate.pipeline import parity as pipeline_parity
from pfa_gate.pipeline.run import run
from pfa_gate.record import Record, dumps, loads
from pfa_gate.report.ci import scalars
from pfa_gate.report.files import report_text
from pfa_gate.report.terminal import render
from pfa_gate.runtime import pair, parity_store
from pfa_gate.runtime.cpu import this_cpu
from pfa_gate.runtime.parity_data import MOST_BYTES, read_parity

NET = """
import torch
from torch import nn


def rows(seed, count):
    return torch.rand(count, 64, generator=torch.Generator().manual_seed(seed))


def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 2))


def probe():
    return rows(1, 90)


def test():
    inputs = rows(2, 150)
    inputs[:40] = 1.0
    return inputs, torch.zeros(150, dtype=torch.int64)


class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.body, self.head = nn.Embedding(20, 8), nn.Linear(8, 12), nn.Linear(12, 1)

    def forward(self, ids, mask):
        seen = self.body(self.words(ids)).relu() * mask[..., None]
        return {"score": self.head(seen.sum(1)), "map": seen}


class Scaled(nn.Module):
    # A second input that belongs to no sample.
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(64, 12), nn.Linear(12, 3)

    def forward(self, x, factors):
        return self.head(self.body(x).relu() * factors.mean())


def scaled():
    for seed in range(4):
        yield {"x": rows(seed, 20 + seed), "factors": torch.arange(1.0, 6.0)}


def sentences():
    drawn = torch.Generator().manual_seed(3)
    for length in (6, 6, 9, 6, 11):
        ids = torch.randint(0, 20, (16, length), generator=drawn)
        yield {"ids": ids, "mask": (ids > 2).float()}
"""
GATE = """\
version: 1
gates:
  net:
    model: {factory: net.py:build}
    probe: {data: net.py:probe}
    evaluation: {data: net.py:test, allow_chance: true}
    recovery: []
    artifacts: [onnx]
    budgets: {compressed: {parity: 0}}
"""
CANDIDATE = GATE.replace("    artifacts: [onnx]\n    recovery: []\n", "")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "pfa.yaml").write_text(GATE)
    return tmp_path


def gate(folder: Path, *changes: tuple[str, str]) -> Record:
    text = GATE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "pfa.yaml").write_text(text)
    return run(folder / "pfa.yaml").record


NO_RECOVERY = ("    recovery: []\n    artifacts: [onnx]\n", "")


def with_candidate(folder: Path, weights: type = np.int8) -> Record:
    saturating(folder / "bytes.onnx", weights=weights)
    return gate(folder, NO_RECOVERY, ("    budgets:", "    candidate: {onnx: bytes.onnx}\n    budgets:"))


def test_the_float_file_is_held_against_torch_on_the_whole_evaluation(folder: Path) -> None:
    record = gate(folder)
    found = record.parity["compressed"]
    assert (found.file, found.reference, found.source, found.samples, found.classes, found.flips) == (
        "model.onnx", "the compressed model in torch", "evaluation", 150, True, 0,
    )  # fmt: skip
    assert (found.machine.cpu, found.machine.flags) == (this_cpu().name, this_cpu().flags)
    assert found.machine.providers == ("CPUExecutionProvider",)
    assert found.gap is not None
    assert 0 <= found.gap < 1e-5
    assert record.budgets[-1].sentence == (
        "No answer of model.onnx flips on 150 samples of the evaluation, within the limit of 0."
    )
    assert record.files["parity"].endswith(".pfa/net/parity.npz")
    assert loads(dumps(record)) == record
    assert scalars(record, record.budgets[-1])["pfa_value"] == 0
    for text in (report_text(record, "report.html"), report_text(record, "report.md"), shown(record)):
        assert "0 of 150 answers flip against the compressed model in torch" in text
        assert found.machine.runtime in text
    before = json.loads((folder / ".pfa/net/record.json").read_text())
    del before["parity"]
    assert loads(json.dumps(before)).parity == {}, "records of before are still read"


def shown(record: Record) -> str:
    text = render(record, width=80, colour=False, unicode=True)
    assert max(map(len, text.splitlines())) <= 80
    return " ".join(text.split())


SATURATES = this_cpu().flags and "avx2" in this_cpu().flags and not {"avx_vnni", "avx512_vnni"} & set(this_cpu().flags)


def test_sums_of_unsigned_by_signed_bytes_are_caught_where_the_cpu_overflows(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = with_candidate(folder)
    found, budget = record.parity["compressed"], record.budgets[-1]
    assert (found.file, found.reference) == ("bytes.onnx", "the same file with all optimisations off")
    if not SATURATES:  # here bytes are multiplied as they should be; the next test has a session that overflows
        assert (found.flips, budget.outcome) == (0, "kept")
        return
    assert (found.flips, budget.outcome) == (40, "broken")
    assert budget.sentence == (
        "40 answers of bytes.onnx flip on 150 samples of the evaluation, 40 more than the limit of 0."
    )
    assert [(each.sample, each.reference, each.here) for each in found.flipped] == [(n, 0, 1) for n in range(20)]
    assert "has no VNNI, and sums of products of bytes may overflow there." in report_text(record, "report.html")
    assert main(["parity", str(folder / ".pfa"), "--file", str(folder / "bytes.onnx")]) == 1
    assert "sample 0: 0 there, 1 here; 0 led by 40" in " ".join(capsys.readouterr().out.split())


def test_an_altered_session_that_overflows_is_caught_on_every_cpu(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stands for the kernel of AVX2: where a pair of products exceeds sixteen bits, the sum is what fits in."""
    original = pair.onnx_session

    class Overflowing:
        def __init__(self, session: object) -> None:
            self._session = session

        def __getattr__(self, name: str) -> object:
            return getattr(self._session, name)

        def run(self, names: object, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            given = np.rint(feed["x"] * 255)
            pairs = (given[:, 0::2] + given[:, 1::2])[:, :, None] * np.array([127, 64])
            return [(np.minimum(pairs, 32767).sum(1) * 0.01 / 255 + [0, 1]).astype(np.float32)]

    def session(*given: object, optimised: bool = True) -> object:
        made = original(*given, optimised=optimised)  # type: ignore[arg-type]
        return Overflowing(made) if optimised else made

    monkeypatch.setattr(pair, "onnx_session", session)
    record = with_candidate(folder)
    assert (record.parity["compressed"].flips, record.budgets[-1].outcome) == (40, "broken")


def test_unsigned_weights_flip_nothing_and_are_stored(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = with_candidate(folder, np.uint8)
    assert (record.parity["compressed"].flips, record.budgets[-1].outcome) == (0, "kept")
    assert main(["parity", str(folder / ".pfa"), "--file", str(folder / "bytes.onnx")]) == 0
    capsys.readouterr()


def test_the_int8_file_is_held_against_itself_and_both_files_are_stored(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = gate(
        folder,
        ("    recovery: []\n", "    recovery: []\n    quantize: {bits: 8, samples: 64}\n"),
        ("{parity: 0}", "{parity: 0}, quantized: {parity: {max: 3}}"),
    )
    assert [(each.id, each.outcome) for each in record.budgets] == [
        ("exact", "kept"), ("compressed.parity", "kept"), ("quantized.parity", "kept"),
    ]  # fmt: skip
    found = record.parity["quantized"]
    assert (found.file, found.reference, found.tolerance) == (
        "model.int8.onnx", "the same file with all optimisations off", 0.5,
    )  # fmt: skip
    assert loads(dumps(record)) == record
    stored = read_parity(folder / ".pfa" / "net" / "parity.npz")
    assert [(each.file, each.allowed) for each in stored.about.files] == [("model.onnx", 0), ("model.int8.onnx", 3)]
    assert main(["parity", str(folder / ".pfa")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "net: model.int8.onnx: " in said
    assert "On 150 samples of the evaluation. 3 flips are allowed." in said
    assert main(["parity", str(folder / ".pfa"), "--file", str(folder / ".pfa/net/model.int8.onnx")]) == 0
    assert "model.onnx" not in capsys.readouterr().out, "one of two files was asked for"
    for text in (report_text(record, "report.html"), shown(record)):
        assert "answers flip against the same file with all optimisations off" in text


def test_without_an_evaluation_the_probe_serves_and_it_is_said(folder: Path) -> None:
    evaluation = "    evaluation: {data: net.py:test, allow_chance: true}\n"
    record = gate(folder, (evaluation, ""), ("artifacts: [onnx]", "artifacts: [onnx, weights]"))
    assert (record.parity["compressed"].source, record.parity["compressed"].samples) == ("probe", 90)
    assert record.budgets[-1].notes == ("There is no evaluation, so the samples are those of the probe.",)


def test_texts_of_several_lengths_are_stored_by_length_and_outputs_that_are_no_classes_have_a_tolerance(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity_store, "MOST_BYTES", 20_000)
    record = gate(
        folder,
        ("net.py:build", "net.py:Text"),
        ("net.py:probe", "net.py:sentences"),
        ("    evaluation: {data: net.py:test, allow_chance: true}\n", ""),
    )
    found = record.parity["compressed"]
    assert (found.classes, found.samples, found.flips, found.tolerance) == (False, 80, 0, 0.001)
    path = folder / ".pfa" / "net" / "parity.npz"
    stored = read_parity(path)
    arrays = sum(each.nbytes for call in stored.calls for each in call.inputs.values())
    arrays += sum(each.nbytes for call in stored.calls for each in call.outputs["model.onnx"])
    assert 12_000 < arrays <= 20_000
    rows = [row for call in stored.calls for row in call.rows]
    assert len(rows) == stored.stored < 80
    assert len(set(np.diff(rows))) <= 2, "evenly chosen"
    lengths = [call.inputs["ids"].shape[1] for call in stored.calls]
    assert lengths == [6, 9, 6, 11]
    assert main(["parity", str(folder / ".pfa")]) == 0


def test_a_file_that_takes_four_samples_is_stored_in_calls_of_four(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    linear(folder / "four.onnx", torch.nn.Linear(64, 2), batch=4)
    gate(folder, NO_RECOVERY, ("    budgets:", "    candidate: {onnx: four.onnx}\n    budgets:"))
    stored = read_parity(folder / ".pfa" / "net" / "parity.npz")
    assert [len(call.rows) for call in stored.calls] == [4] * 37 + [2]
    assert {call.size for call in stored.calls} == {4}
    assert main(["parity", str(folder / ".pfa"), "--file", str(folder / "four.onnx")]) == 0
    capsys.readouterr()


def test_batches_stay_whole_where_an_input_belongs_to_no_sample(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity_store, "MOST_BYTES", 17_500)
    record = gate(
        folder,
        ("net.py:build", "net.py:Scaled"),
        ("net.py:probe", "net.py:scaled"),
        ("    evaluation: {data: net.py:test, allow_chance: true}\n", ""),
    )
    assert (record.parity["compressed"].samples, record.parity["compressed"].flips) == (86, 0)
    stored = read_parity(folder / ".pfa" / "net" / "parity.npz")
    calls = [(call.size, call.rows[0], len(call.rows)) for call in stored.calls]
    assert calls == [(20, 0, 20), (21, 20, 21), (22, 41, 22)]
    assert main(["parity", str(folder / ".pfa")]) == 0
    capsys.readouterr()


def test_the_bound_holds_for_the_file_and_what_is_too_large_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST_BYTES == 8 * 10**6
    monkeypatch.setattr(parity_store, "MOST_BYTES", 200)
    record = gate(folder)
    assert record.budgets[-1].outcome == "kept"
    assert "parity" not in record.files
    assert [each.reason for each in record.unmeasured if each.what == "parity.npz"] == [
        "not written: one sample with its outputs takes more than 0 MB"
    ]


def test_what_cannot_be_compared_is_not_judged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = gate(folder, NO_RECOVERY, ("    budgets:", "    candidate: {factory: net.py:build}\n    budgets:"))
    assert (record.budgets[-1].outcome, record.budgets[-1].sentence) == (
        "not judged", "The candidate runs in torch, as the full model does; parity is of files that run elsewhere.",
    )  # fmt: skip
    monkeypatch.setattr("pfa_gate.artifacts.model_files.find_spec", lambda name: None if name == "onnxscript" else name)
    record = gate(folder, ("    artifacts: [onnx]\n", ""))
    assert (record.budgets[-1].outcome, record.budgets[-1].sentence) == (
        "not judged",
        "model.onnx was not written: the extra onnx is not installed; run pip install 'pfa-gate[onnx]'.",
    )


def test_a_gate_that_asks_for_nothing_runs_no_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_parity, "measure_parity", None)
    record = gate(folder, ("[onnx]", "[weights]"), ("{parity: 0}", "{parameters: 100%}"))
    assert record.parity == {}
    assert "parity" not in record.files


def test_a_file_that_ships_is_compared_even_if_no_budget_asks(folder: Path) -> None:
    record = gate(folder, ("{parity: 0}", "{parameters: 100%}"))
    assert record.parity["compressed"].flips == 0
    assert "parity" in record.files


def test_a_verdict_on_this_machine_is_not_kept_for_another(folder: Path) -> None:
    assert "parity is of this machine's CPU and runtime" in str(fingerprint(load(folder / "pfa.yaml"), "net", {}))


assert FEATURES == 64
