"""The serialiser's repeated work is done once, and what is written and read is the same."""

import io
import zipfile
from collections import Counter
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn
from torch._export.serde import serialize

from pfa_gate.artifacts.program import program_of
from pfa_gate.artifacts.serialiser_work import repeated_work_kept
from pfa_gate.artifacts.sizes import free_sizes


class Halving(nn.Module):
    """Sizes are formulas of the input's: halved, halved again, and one more than that."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)
        self.third, self.head = nn.Conv2d(4, 4, 2, 1, 1), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.second(torch.relu(self.first(x)))) * 2 + 1
        return self.head(torch.tanh(self.third(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def exported() -> Any:
    torch.manual_seed(0)
    model, image = Halving().eval(), torch.randn(2, 3, 16, 16)
    return program_of(model, ((image,), {}), free_sizes(model, ((image,), {}))).program


def entries(buffer: io.BytesIO) -> dict[str, bytes]:
    with zipfile.ZipFile(buffer) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("keeping", [repeated_work_kept, nullcontext])
def test_each_formula_is_written_and_read_once(keeping: Any, exported: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    written, read = Counter[str](), Counter[str]()
    write, parse = serialize._print_sympy, serialize.GraphModuleDeserializer._parse_sym_expr

    def counted_write(size: Any) -> str:
        text = write(size)
        written[text] += 1
        return text

    def counted_read(self: Any, text: Any, hint: Any = None) -> Any:
        read[f"{text} {hint}"] += 1
        return parse(self, text, hint)

    monkeypatch.setattr(serialize, "_print_sympy", counted_write)
    monkeypatch.setattr(serialize.GraphModuleDeserializer, "_parse_sym_expr", counted_read)
    buffer = io.BytesIO()
    with keeping():
        torch.export.save(exported, buffer)
        buffer.seek(0)
        torch.export.load(buffer)
    once = max(written.values()) == max(read.values()) == 1
    assert len(written) >= 4
    assert once == (keeping is repeated_work_kept)


def test_the_file_and_what_is_read_of_it_are_the_same(exported: Any) -> None:
    plain, kept = io.BytesIO(), io.BytesIO()
    torch.export.save(exported, plain)
    with repeated_work_kept():
        torch.export.save(exported, kept)
        kept.seek(0)
        first = torch.export.load(kept)
        kept.seek(0)
        second = torch.export.load(kept)
    assert entries(plain) == entries(kept)
    plain.seek(0)
    wanted = torch.export.load(plain)
    image = torch.randn(5, 3, 24, 40)
    for program in (first, second):
        assert [str(node.meta.get("val")) for node in program.graph.nodes] == [
            str(node.meta.get("val")) for node in wanted.graph.nodes
        ]
        assert torch.equal(program.module()(image), wanted.module()(image))


def test_torch_is_as_it_was_afterwards() -> None:
    before = serialize._print_sympy, serialize.GraphModuleDeserializer._parse_sym_expr, serialize.typing
    with repeated_work_kept():
        assert serialize.typing is not before[2]
    assert before == (serialize._print_sympy, serialize.GraphModuleDeserializer._parse_sym_expr, serialize.typing)


def test_a_torch_that_does_it_elsewhere_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(serialize, "_print_sympy")
    with repeated_work_kept():
        assert not hasattr(serialize, "_print_sympy")
