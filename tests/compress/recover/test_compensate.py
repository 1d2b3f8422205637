"""Compensation by law: closed form, never worse, each model run once, any layer that reads a changed stream."""

import copy
import tempfile
from functools import cache
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import CONNECTED, NETWORKS, network
from torch import nn

from pfa_gate.compress.prune import compress, narrow
from pfa_gate.compress.prune.cut import axis_indices_of
from pfa_gate.compress.recover.activation_store import ActivationStore
from pfa_gate.compress.recover.compensate import compensate
from pfa_gate.compress.recover.staged_run import StagedProgram
from pfa_gate.compress.regress import FEWEST, FOLDS, Equations, outputs, patches, position_count
from pfa_gate.graph import record_model, trace_program
from pfa_gate.graph.calls import calls, matrix_of, weight_of

MENDED = [(name, "project") for name in (*NETWORKS, *CONNECTED) if name != "shared"]
PADDED = [(name, "pad") for name in ("residual", "padded_shortcut", "attention")]  # those that have a sum


@cache
def cut(name: str, residual: Literal["project", "pad"] = "project", share: float = 0.6):
    """A network, its program, a model with a share of every free group, what was kept, and probe batches."""
    model, example = network(name)
    program = record_model(model, (example,), {})
    coupling = trace_program(program, residual)
    draw = np.random.default_rng(0)
    keep = {g.name: np.sort(draw.permutation(g.width)[: max(1, int(share * g.width))]) for g in coupling.free}
    found = compress(model, coupling, keep, ((example,), {}))
    assert found.put_back == {}
    generator = torch.Generator().manual_seed(2)
    batches = [torch.randn(64, *example.shape[1:], generator=generator) for _ in range(4)]
    return model, program, found.model, found.axis_indices, batches


def distance(one: nn.Module, other: nn.Module, batch: torch.Tensor) -> float:
    with torch.no_grad():
        return float((one(batch) - other(batch)).square().mean())


@pytest.mark.parametrize(("name", "residual"), MENDED + PADDED)
def test_every_network_comes_closer_to_the_full_model_on_fresh_data(name, residual):
    model, program, smaller, kept, batches = cut(name, residual)
    mended, repairs = compensate(program, smaller, kept, batches[:3])
    assert repairs
    assert distance(model, mended, batches[3]) < distance(model, smaller, batches[3])


@pytest.mark.parametrize(("name", "residual"), [*MENDED, *PADDED, ("shared", "project")])
def test_no_layer_is_worse_on_held_out_positions_and_reasons_are_given(name, residual):
    _, program, smaller, kept, batches = cut(name, residual)
    repairs = compensate(program, smaller, kept, batches)[1]
    assert repairs
    for repair in repairs:
        if repair.ridge is None:
            assert repair.reason
            assert repair.after == repair.before
        else:
            assert repair.after < repair.before


def test_a_weight_that_is_used_twice_is_left_alone_and_named():
    _, program, smaller, kept, batches = cut("shared")
    repairs = compensate(program, smaller, kept, batches)[1]
    assert {repair.reason for repair in repairs} == {"its weight is used 2 times"}


class Transposed(nn.Module):
    """Its second layer mixes positions, so that its rows are the filters of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.tokens, self.head = nn.Linear(8, 16), nn.Linear(5, 7), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.tokens(self.embed(x).relu().transpose(1, 2)).relu().mean(2))


def test_a_layer_whose_rows_are_filters_is_left_alone_and_named():
    torch.manual_seed(0)
    model, x = Transposed().eval(), torch.randn(128, 5, 8)
    program = record_model(model, (x[:2],), {})
    coupling = trace_program(program)
    found = compress(model, coupling, {"embed": range(8)}, ((x[:2],), {}))
    mended, (tokens, head) = compensate(program, found.model, found.axis_indices, [x])
    assert (tokens.layer, tokens.reason) == ("tokens", "its rows are filters, of which 8 of 16 are left")
    assert (head.layer, head.solved) == ("head", True)
    assert distance(model, mended, x) < distance(model, found.model, x)


@pytest.mark.parametrize("name", ["residual", "branches"])
def test_neither_model_is_changed_and_the_result_is_the_same_again(name):
    model, program, smaller, kept, batches = cut(name)
    before = [copy.deepcopy(each.state_dict()) for each in (model, smaller)]
    one, two = (compensate(program, smaller, kept, batches)[0] for _ in range(2))
    for each, held in zip((model, smaller), before, strict=True):
        assert all(torch.equal(tensor, held[key]) for key, tensor in each.state_dict().items())
    assert all(torch.equal(one.state_dict()[key], tensor) for key, tensor in two.state_dict().items())


def test_a_linear_reader_equals_least_squares():
    model = nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 3)).double().eval()
    program = record_model(model, (torch.zeros(2, 6).double(),), {})
    kept = axis_indices_of(trace_program(program), {"0": np.arange(7)})
    probe = torch.randn(4000, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    mended, (repair,) = compensate(program, narrow(model, kept), kept, [probe])
    with torch.no_grad():
        hidden, wanted = model[:2](probe)[:, :7], model(probe)
        design = torch.cat([hidden, torch.ones(len(hidden), 1)], 1)
        best = (design @ torch.linalg.lstsq(design, wanted).solution - wanted).square().mean()
        reached = (mended(probe) - wanted).square().mean()
    assert repair.after < repair.before
    assert reached == pytest.approx(float(best), rel=1e-2)


@given(
    rows=st.integers(60, 300), columns=st.sampled_from([3, 150, 310]), size=st.integers(1, 30),
    mean=st.floats(-1e3, 1e3), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_sums_of_single_precision_equal_two_passes_in_double(rows, columns, size, mean, seed):
    """Whatever the batches."""
    draw = np.random.default_rng(seed)
    read, made = (draw.standard_normal((rows, width)).astype(np.float32) + np.float32(mean) for width in (columns, 2))
    equations = Equations(1, columns, 2)
    for start in range(0, rows, size):
        part = torch.arange(start, min(start + size, rows))
        equations.add(torch.from_numpy(read)[None, part], torch.from_numpy(made)[None, part], start // size % FOLDS)
    sums, taken = equations.of([1, 3]), np.arange(rows) // size % 2 == 1
    x, y = (each[taken].astype(np.float64) - each[taken].mean(0, dtype=np.float64) for each in (read, made))
    scale = np.trace(x.T @ x) / columns
    np.testing.assert_allclose(sums.gram[0], x.T @ x, rtol=0, atol=1e-6 * scale)
    np.testing.assert_allclose(sums.cross[0], x.T @ y, rtol=0, atol=1e-6 * scale)
    np.testing.assert_allclose(sums.square[0], (y * y).sum(0), rtol=1e-6)
    np.testing.assert_allclose(
        sums.row_mean[0], read[taken].mean(0, dtype=np.float64), rtol=0, atol=1e-6 * (1 + abs(mean))
    )


@pytest.mark.parametrize("name", [*NETWORKS, *CONNECTED])
def test_patches_times_the_weight_are_the_layer(name):
    """Every convolution, grouped, depthwise, transposed or strided, and every linear, at every position."""
    model, example = network(name)
    program = record_model(model, (example,), {})
    values = {}
    program.run((example,), {}, lambda node, value: values.setdefault(node.name, copy.deepcopy(value)))
    values.update({n.name: example for n in program.graph.nodes if n.name == "x"})
    found = calls(program)
    assert found
    for call in found:
        made = values[call.node.name]
        positions = torch.arange(position_count(call, tuple(made.shape))).expand(len(made), -1)
        rows = patches(call, values[call.source.name], tuple(made.shape), positions)
        weight = program.tensors[call.weight]
        product = (rows @ matrix_of(call, weight)).transpose(0, 1).reshape(len(positions.flatten()), -1)
        bias = 0 if call.bias is None else program.tensors[call.bias]
        torch.testing.assert_close(product + bias, outputs(call, made, positions), rtol=1e-4, atol=1e-4)
        assert torch.equal(weight_of(call, matrix_of(call, weight), tuple(weight.shape)), weight)


def test_a_stream_computes_each_node_once_and_drops_what_is_done(monkeypatch):
    model, example = network("residual")
    program = record_model(model, (example,), {})
    nodes = [node for node in program.nodes if node.op == "call_function"]
    counts: dict[str, int] = {}
    compute = StagedProgram._compute

    def counted(self, node, *rest):
        counts[node.name] = counts.get(node.name, 0) + 1
        return compute(self, node, *rest)

    monkeypatch.setattr(StagedProgram, "_compute", counted)
    staged = StagedProgram(program, [[nodes[2]], [nodes[5], nodes[6]], [nodes[-1]]])
    values = staged.start((example,), {})
    for stage in staged.stages:
        values = staged.run(stage, values)
    assert set(counts.values()) == {1}
    torch.testing.assert_close(values[nodes[-1].name], model(example))
    assert list(values) == [nodes[-1].name]


class InPlace(nn.Module):
    """As torchvision writes residual blocks: rectifiers and sums in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv1, self.conv2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.act, self.head = nn.ReLU(inplace=True), nn.Linear(8, 3)

    def forward(self, x):
        x = self.act(self.stem(x))
        out = self.conv2(self.act(self.conv1(x)))
        out += x
        return self.head(self.act(out).mean((2, 3)))


def test_operators_in_place_do_not_reach_kept_values():
    torch.manual_seed(0)
    model, probe = InPlace().eval(), torch.randn(256, 3, 6, 6)
    program = record_model(model, (probe[:2],), {})
    nodes = [node for node in program.nodes if node.op == "call_function"]
    staged = StagedProgram(program, [[node] for node in nodes])
    values = staged.start((probe,), {})
    for stage in staged.stages:
        values = staged.run(stage, values)
    torch.testing.assert_close(values[nodes[-1].name], model(probe))
    kept = axis_indices_of(trace_program(program), {"conv1": np.arange(5)})
    mended, _ = compensate(program, narrow(model, kept), kept, [probe])
    fresh = torch.randn(64, 3, 6, 6)
    assert distance(model, mended, fresh) < distance(model, narrow(model, kept), fresh)


def test_no_more_samples_are_run_than_the_layers_need_and_they_come_from_all_over_the_probe(monkeypatch):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 3)).eval()
    program = record_model(model, (torch.zeros(2, 6),), {})
    kept = axis_indices_of(trace_program(program), {"0": np.arange(7)})
    batches = [torch.randn(64, 6) for _ in range(64)]
    numbers = {batch.data_ptr(): number for number, batch in enumerate(batches)}
    begun, start = [], StagedProgram.start

    def started(self, args, kwargs):
        begun.append(numbers[args[0].data_ptr()])
        return start(self, args, kwargs)

    monkeypatch.setattr(StagedProgram, "start", started)
    compensate(program, narrow(model, kept), kept, batches)
    assert len(begun) == 2 * FEWEST // 64
    assert min(np.histogram(begun, 4, (0, 64))[0]) >= len(begun) // 6


def test_the_spool_gives_the_same_from_memory_and_from_disk():
    values = {"conv": torch.randn(4, 3)[:, :2], "size": 7, "pair": [torch.ones(2), torch.zeros(1)]}
    for memory in (0, 2**20):
        with ActivationStore(memory) as store:
            store.put(0, {"conv": torch.zeros(1)})
            store.put(0, values)
            got = store.get(0)
            assert torch.equal(got["conv"], values["conv"])
            assert got["size"] == 7


def test_the_spool_writes_a_tensor_once_and_drops_what_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with ActivationStore(memory=0) as store:
        store.put(0, {"sum": torch.ones(2), "conv": torch.zeros(3)})
        (folder,) = tmp_path.iterdir()
        first = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
        store.put(0, {"sum": store.get(0)["sum"], "relu": torch.full((4,), 5.0)})
        second = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
        assert len(first) == len(second) == 2
        assert len(first.items() & second.items()) == 1
        assert {name: value.tolist() for name, value in store.get(0).items()} == {"sum": [1] * 2, "relu": [5] * 4}
    assert list(tmp_path.iterdir()) == []


def test_it_is_no_worse_for_a_probe_in_batches_of_one_sample():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 3, padding=1), nn.ReLU(), nn.Flatten()
    net = nn.Sequential(*layers, nn.Linear(6 * 36, 4)).eval()
    images = torch.randn(320, 3, 6, 6)
    full = record_model(net, (images[:2],), {})
    kept = axis_indices_of(trace_program(full), {"0": [0, 1, 2, 3, 4]})
    gaps = []
    for size in (1, 64):
        mended, repairs = compensate(full, narrow(net, kept), kept, images.split(size))
        assert all(repair.ridge is not None for repair in repairs)
        with torch.no_grad():
            gaps.append(float((mended(images) - net(images)).square().mean()))
    assert gaps[0] < 1.1 * gaps[1]
