"""A model that is cut as a graph takes other sizes too: a text encoder whose layers write the length into a `view`."""

import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from test_sizes import Style, UNet, images
from torch import Tensor, nn
from torch.fx import GraphModule

from pfa_gate.artifacts.graph_sizes import followed, let_follow
from pfa_gate.artifacts.onnx_model import write_onnx
from pfa_gate.artifacts.program import program_of, read_program, resized_trial, trials, write_program
from pfa_gate.artifacts.sizes import free_sizes
from pfa_gate.compress.prune.arguments import RemainingValues
from pfa_gate.compress.prune.cut import axis_indices_of
from pfa_gate.compress.prune.prune_model import compress, rewrite
from pfa_gate.graph import trace
from pfa_gate.graph.size_flow import size_flow
from pfa_gate.model.batch import Inputs
from pfa_gate.pipeline.run import run

MODEL = '''
import torch
from torch import Tensor, nn
from torch.nn import functional


class Layer(nn.Module):
    """As DistilBERT's, but that its heads are two numbers of its own: it is cut as a graph."""

    def __init__(self, dim: int = 16, heads: int = 4, hidden: int = 24) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.up, self.down = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.first, self.second = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.parts = heads, dim // heads

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = (part(x).view(batch, length, *self.parts).transpose(1, 2) for part in (self.q, self.k, self.v))
        scores = q @ k.transpose(2, 3) / self.parts[1] ** 0.5
        absent = (mask == 0).view(batch, 1, 1, length).expand(batch, self.parts[0], length, length)
        seen = scores.masked_fill(absent, -1e9).softmax(-1) @ v
        joined = seen.transpose(1, 2).contiguous().view(batch, length, self.parts[0] * self.parts[1])
        x = self.first(x + self.o(joined))
        return self.second(x + self.down(functional.gelu(self.up(x))))


class Encoder(nn.Module):
    """Words and their places, two layers, and the class of the first word; at most 48 words."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places, self.norm = nn.Embedding(40, 16), nn.Embedding(48, 16), nn.LayerNorm(16)
        self.register_buffer("numbers", torch.arange(48)[None])
        self.layers, self.head = nn.ModuleList([Layer(), Layer()]), nn.Linear(16, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        x = self.norm(self.words(input_ids) + self.places(self.numbers[:, : input_ids.shape[1]]))
        for layer in self.layers:
            x = layer(x, attention_mask)
        return {"logits": self.head(x[:, 0])}


def build() -> nn.Module:
    torch.manual_seed(0)
    return Encoder()


def texts(length: int = 8, count: int = 64, seed: int = 0):
    drawn = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 40, (count, length), generator=drawn)
    mask = (torch.arange(length) < torch.randint(3, length + 1, (count, 1), generator=drawn)).long()
    return {"input_ids": ids, "attention_mask": mask}


def probe():
    return [texts()]
'''
NAMES: dict[str, object] = {}
exec(compile(MODEL, "model.py", "exec"), NAMES)
build, texts = NAMES["build"], NAMES["texts"]


def words(length: int, count: int = 2, seed: int = 1) -> Inputs:
    return (), texts(length, count, seed)  # type: ignore[operator]


def cut(model: nn.Module, inputs: Inputs) -> tuple[GraphModule, object]:
    """As a graph, a quarter of all filters gone; and the program that it is cut from."""
    coupling = trace(model, inputs[1] or inputs[0][0])
    keep = {group.name: np.arange(group.width - group.width // 4) for group in coupling.free}
    indices = axis_indices_of(coupling, keep)
    return rewrite(coupling, RemainingValues(coupling, keep), indices), coupling.program


def test_a_graph_equals_at_every_length_the_model_that_was_cut_at_that_length(tmp_path: Path) -> None:
    model, inputs = build().eval(), words(8)  # type: ignore[operator]
    coupling = trace(model, inputs[1])
    keep = {group.name: np.arange(group.width - group.width // 4) for group in coupling.free}
    small = compress(model, coupling, keep, inputs)
    assert (small.form, small.put_back) == ("graph", {})
    assert isinstance(small.model, GraphModule)
    same = let_follow(small.model, coupling.program, model, inputs)
    free = free_sizes(small.model, inputs, same)
    assert free.sizes == {(0, 1): 16, (1, 1): 16}
    export = program_of(small.model, inputs, free)
    assert export.sizes == dict.fromkeys(("input_ids", "attention_mask"), ("batch", "length"))
    tried = [*trials(export, small.model, inputs), *resized_trial(export, inputs, free)]
    assert len(tried) == 3
    write_program(export, tmp_path / "model.pt2", small.model, tried)
    write_onnx(export, tmp_path / "model.onnx", small.model, tried)
    program = read_program(tmp_path / "model.pt2")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for length in (5, 48):
        at = words(length)
        there = compress(model, trace(model, at[1]), keep, at)
        given = words(length, 3, length)[1]
        with torch.no_grad():
            wanted = there.model(**given)["logits"]
            torch.testing.assert_close(small.model(**given)["logits"], wanted, rtol=1e-6, atol=1e-6)
            torch.testing.assert_close(program(**given)["logits"], wanted, rtol=1e-4, atol=1e-4)
        (found,) = session.run(None, {name: value.numpy() for name, value in given.items()})
        torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-4, atol=1e-4)


class Halving(nn.Module):
    """Two words at a time: half the length is written into the view."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.mix, self.head = nn.Embedding(40, 8), nn.Linear(8, 8), nn.Linear(16, 3)

    def forward(self, ids: Tensor) -> Tensor:
        batch, length = ids.shape
        x = self.mix(self.words(ids)).relu().view(batch, length // 2, 16)
        made: Tensor = self.head(x).amax(1)
        return made


class Flat(nn.Module):
    """All words of all texts in one row, and parted again: samples times the length is written into the view."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.mix, self.head = nn.Embedding(40, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        batch, length = ids.shape
        x = self.mix(self.words(ids).view(batch * length, 8)).relu().view(batch * length * 2, 4)
        made: Tensor = self.head(x.view(batch, length, 8)).amax(1)
        return made


class Pairs(nn.Module):
    """All pairs of words: their number is the square of the length, and lies on no line."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.mix, self.head = nn.Embedding(40, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        batch, length = ids.shape
        x = self.mix(self.words(ids))
        made: Tensor = self.head((x[:, :, None] * x[:, None]).reshape(batch, length * length, 8).amax(1))
        return made


class Scaled(nn.Module):
    """A float that is computed from the length, which no graph follows."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.mix, self.head = nn.Embedding(40, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        made: Tensor = self.head(self.mix(self.words(ids)).sum(1) / ids.shape[1] ** 0.5)
        return made


def ids() -> Inputs:
    return (torch.randint(0, 40, (2, 8), generator=torch.Generator().manual_seed(0)),), {}


@pytest.mark.parametrize(
    ("kind", "example", "moving", "free"),
    [
        (Halving, ids, [1], {(0, 1): 16}),
        (Flat, ids, [3], {(0, 1): 16}),
        (Pairs, ids, [], {}),
        (Scaled, ids, [], {}),
        (UNet, images, [0, 0], {(0, 2): 32, (0, 3): 32}),
        (Style, images, [0, 0], {(0, 2): 32, (0, 3): 32}),
    ],
)
def test_a_size_is_followed_where_the_recordings_lie_on_a_line(kind, example, moving, free) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    model, inputs = kind().eval(), example()
    assert [len(each.places) for each in followed(size_flow(model, inputs)).moving] == moving
    graph, program = cut(model, inputs)
    found = free_sizes(graph, inputs, let_follow(graph, program, model, inputs))
    assert found.sizes == free
    if free:
        (leaf, *_), _ = found.of(inputs)
        other: Inputs = (torch.cat([leaf, leaf[:1].flip(1)]),), {}
        with torch.no_grad():
            one, two = (output_of(net(*other[0])) for net in (graph, cut(model, other)[0]))
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)


def output_of(output: Tensor | dict[str, Tensor]) -> Tensor:
    return output if isinstance(output, Tensor) else output["mask"]


def test_a_graph_of_another_program_is_left_as_it_was() -> None:
    model, inputs = Halving().eval(), ids()
    graph, program = cut(model, inputs)
    before = str(graph.graph)
    same = let_follow(graph, program, nn.Sequential(nn.Embedding(40, 8), nn.Flatten(2)), inputs)
    assert same(((torch.zeros(2, 16, dtype=torch.long),), {})), "of what was recorded there"
    assert str(graph.graph) == before


def test_a_gate_writes_files_for_texts_of_any_length(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(MODEL)
    (tmp_path / "pfa.yaml").write_text(
        "version: 1\ngates:\n  text:\n    model: {factory: net.py:build}\n    probe: {data: net.py:probe}\n"
        "    recipe: {strategy: energy, energy: 0.5}\n    recovery: []\n    artifacts: [onnx]\n"
        "    budgets: {compressed: {parameters: 20%, parity: 0}}\n"
    )
    made = run(tmp_path / "pfa.yaml")
    assert made.record.compressed is not None
    assert (made.record.compressed.form, [each.outcome for each in made.record.budgets]) == ("graph", ["kept"] * 3)
    assert made.record.inputs == dict.fromkeys(("input_ids", "attention_mask"), ("batch", "length"))
    assert made.model is not None
    session = onnxruntime.InferenceSession(tmp_path / ".pfa/text/model.onnx", providers=["CPUExecutionProvider"])
    given = words(21, 5)[1]
    with torch.no_grad():
        wanted = made.model(**given)["logits"]
    (found,) = session.run(None, {name: value.numpy() for name, value in given.items()})
    torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-4, atol=1e-4)
    assert re.search(r"\blength\b", (tmp_path / ".pfa/text/report.md").read_text())
