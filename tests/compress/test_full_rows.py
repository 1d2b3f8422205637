"""What a selection keeps of the full model's pass spares compensation one, and changes nothing."""

import pytest
import torch
from networks import coupling, network

from pfa_gate.analysis.covariance import accumulate
from pfa_gate.analysis.responses import Stretch, respond
from pfa_gate.compress import full_rows
from pfa_gate.compress.full_rows import FullRows
from pfa_gate.compress.prune import compress
from pfa_gate.compress.recover import CompensateSettings, compensate, row_sampler
from pfa_gate.compress.recover.staged_run import StagedProgram
from pfa_gate.compress.select import SELECTIONS, Evidence, keep_last
from pfa_gate.graph.calls import calls
from pfa_gate.pipeline.spectra import spectra


def evidence(name: str, kept: FullRows | None) -> Evidence:
    _, example = network(name)
    found, generator = coupling(name), torch.Generator().manual_seed(1)
    batches = [torch.randn(64, *example.shape[1:], generator=generator) for _ in range(4)]
    taps = [tap for group in found.free for tap in group.taps]
    measured = spectra(found.free, [], accumulate(respond(found.program, batches, taps), {})).groups
    return Evidence(found.program, found.free, dict(measured), batches, seed=3, kept=kept)


def runs(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The programs of which stages are run from now on."""
    seen: list[object] = []
    run = StagedProgram.run

    def counted(self: StagedProgram, *rest: object) -> object:
        seen.append(self._program)
        return run(self, *rest)

    monkeypatch.setattr(StagedProgram, "run", counted)
    return seen


@pytest.mark.parametrize("name", ["residual", "depthwise"])
def test_compensation_is_the_same_without_running_the_full_model(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_sampler, "GAP", 1.0)  # no more rows than a layer begins with
    monkeypatch.setattr(row_sampler, "SAMPLES_GAP", 1.0)
    model, example = network(name)
    found = coupling(name)
    kept = FullRows(found.program, samples=256, seed=3)
    given = evidence(name, kept)
    orders = SELECTIONS["reconstruction"](given)
    indices = keep_last(orders, {group.name: max(1, group.width // 2) for group in given.groups}).indices
    cut = compress(model, found, indices, ((example,), {}))
    seen = runs(monkeypatch)
    results = {}
    for key, mine in (("shared", kept), ("alone", None)):
        settings = CompensateSettings(seed=3, kept=mine)
        results[key] = compensate(found.program, cut.model, cut.axis_indices, given.batches, settings)
        ran = [program is found.program for program in seen]
        assert any(ran) == (mine is None)
        seen.clear()
    assert [repair.rows for repair in results["shared"][1]] == [repair.rows for repair in results["alone"][1]]
    mine, other = (results[key][0].state_dict() for key in ("shared", "alone"))
    for key, tensor in mine.items():
        torch.testing.assert_close(tensor, other[key], rtol=1e-4, atol=1e-5)


def test_a_batch_that_was_not_kept_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model, example = network("residual")
    found = coupling("residual")
    kept = FullRows(found.program, samples=256, seed=3)
    given = evidence("residual", kept)
    SELECTIONS["reconstruction"](given)
    kept._held = {key: rows for key, rows in kept._held.items() if key[0] != 2}
    cut = compress(model, found, {group.name: range(group.width // 2) for group in found.free}, ((example,), {}))
    seen = runs(monkeypatch)
    _, repairs = compensate(
        found.program, cut.model, cut.axis_indices, given.batches, CompensateSettings(seed=3, kept=kept)
    )
    ran = [program is found.program for program in seen]
    assert 0 < sum(ran) < sum(not each for each in ran)
    assert any(repair.solved for repair in repairs)


def test_nothing_is_kept_where_it_would_take_too_much_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    found = coupling("residual")
    (call, *_), value = calls(found.program), torch.zeros(2, 8, 8, 8)
    for memory, has in ((full_rows.MEMORY, True), (1000, False)):
        monkeypatch.setattr(full_rows, "MEMORY", memory)
        kept = FullRows(found.program, samples=256, seed=0)
        kept.observe(0, call.node, value)
        assert kept.has(0, call, call.node, 1) is has


def test_layers_that_are_solved_on_most_of_the_probe_are_kept_from_its_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_sampler, "FEWEST", 64)
    monkeypatch.setattr(full_rows, "FEWEST", 64)
    model, example = network("residual")
    found = coupling("residual")
    given = evidence("residual", None)
    kept = FullRows(found.program, samples=300, seed=3, whole=True)
    taps = [tap for group in found.free for tap in group.taps]
    list(respond(found.program, given.batches, taps, stretch=Stretch(watch=kept.observe)))
    wide = {weight for _, weight, _ in kept._held}
    assert wide
    assert len(wide) < len(calls(found.program))
    cut = compress(model, found, {group.name: range(group.width // 2) for group in found.free}, ((example,), {}))
    asked = found.program, cut.model, cut.axis_indices, given.batches
    seen = runs(monkeypatch)
    alone, _ = compensate(*asked, CompensateSettings(seed=3))
    passes = sum(program is found.program for program in seen)
    seen.clear()
    shared, _ = compensate(*asked, CompensateSettings(seed=3, kept=kept))
    assert sum(program is found.program for program in seen) < passes
    for key, tensor in shared.state_dict().items():
        torch.testing.assert_close(tensor, alone.state_dict()[key], rtol=1e-4, atol=1e-5)
