"""Which models cannot be followed: the fact, and what helps."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pfa_gate.errors import TraceError
from pfa_gate.graph import record_model, trace
from pfa_gate.graph.editing import as_module
from pfa_gate.graph.refusals import refused

CHOOSE = "Choose with torch.where instead of a branch, so that each input runs through the same operators."


@dataclass
class Answer:
    logits: Tensor


class Holder:
    def __init__(self, value: Tensor) -> None:
        self.value = value


class Gives(nn.Module):
    """A linear layer whose answer is wrapped."""

    def __init__(self, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.head, self.wrap = nn.Linear(4, 2), wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.head(x))


class Undecided(Gives):
    def forward(self, x: Tensor) -> Any:
        return self.head(x) if x.sum() > 0 else self.head(-x)


def test_a_dataclass_is_taken_apart() -> None:
    answer = record_model(Gives(Answer), (torch.randn(2, 4),), {}).run((torch.zeros(3, 4),), {})
    assert isinstance(answer, Answer)
    assert answer.logits.shape == (3, 2)


def test_an_output_of_an_unknown_type_is_named() -> None:
    with pytest.raises(TraceError) as caught:
        trace(Gives(lambda y: {"y": y, "more": Holder(y)}), torch.randn(2, 4))
    assert str(caught.value) == (
        "The model takes or returns an object of type Holder, whose tensors cannot be followed.\n"
        "  Use a tensor, or a tuple, dict or dataclass of tensors."
    )


def test_a_cache_of_keys_and_values_is_switched_off() -> None:
    class EncoderDecoderCache(Holder):
        """As transformers calls it."""

    with pytest.raises(TraceError) as caught:
        trace(Gives(lambda y: {"logits": y, "past_key_values": EncoderDecoderCache(y)}), torch.randn(2, 4))
    assert str(caught.value) == (
        "The model takes or returns a cache of keys and values (EncoderDecoderCache), whose tensors cannot be "
        "followed.\n  Have the factory switch it off: model.config.use_cache = False."
    )


READERS: dict[str, Callable[[Tensor], bool]] = {
    "a branch": lambda x: bool(x.sum() > 0),
    "a number": lambda x: x.max().item() > 100,
    "a list": lambda x: x[0].tolist()[0] > 100,
    "an array": lambda x: x.numpy().max() > 100,
    "equal values": lambda x: torch.equal(x, x + 1),
    "close values": lambda x: torch.allclose(x, x + 1),
    "through a buffer of zeros": lambda x: bool(torch.zeros(4).copy_(x[0]).sum() > 100),
    "through a view": lambda x: bool(_written_through_a_view(x).sum() > 100),
}


def _written_through_a_view(x: Tensor) -> Tensor:
    zeros = torch.zeros(4)
    zeros[:2] = x[0, :2]
    return zeros


class Reading(Gives):
    def forward(self, x: Tensor) -> Any:
        return self.head(x) if self.wrap(x) else self.head(-x)


@pytest.mark.parametrize("way", READERS)
def test_a_branch_on_the_data_is_named_with_its_line_though_the_example_takes_one_side(way: str) -> None:
    with pytest.raises(TraceError) as caught:
        trace(Reading(READERS[way]), torch.rand(2, 4))
    line = READERS[way].__code__.co_firstlineno
    assert str(caught.value) == (
        "The model cannot be followed: which operators it runs depends on the values of its inputs "
        f"(tests/graph/test_not_followed.py:{line}: Python reads a value that is computed from them).\n  {CHOOSE}"
    )


class Masked(Gives):
    """Looks at a mask, as public models do, to save work where nothing is masked."""

    def forward(self, x: Tensor, mask: Tensor) -> Any:
        return self.head(x) if mask.all() else self.head(x * mask)


def test_a_mask_may_be_looked_at_while_each_recording_takes_the_same_way() -> None:
    x, every = torch.randn(2, 4), torch.ones(2, 4, dtype=torch.bool)
    assert [group.name for group in trace(Masked(str), (x, every)).groups] == ["head"]
    with pytest.raises(TraceError, match="Python reads a value that is computed from them"):
        trace(Masked(str), (x, torch.tensor([[True] * 4, [False] * 4])))


@pytest.mark.parametrize("way", [Tensor.tolist, Tensor.numpy])
def test_what_python_takes_out_of_a_stored_table_says_nothing_of_the_inputs(way: Callable[[Tensor], Any]) -> None:
    class Sized(Gives):
        def forward(self, x: Tensor) -> Any:
            height, width = way(self.sizes)
            return self.head(x.reshape(-1, int(height) * int(width))) * self.sizes.sum()

    model = Sized(str)
    model.register_buffer("sizes", torch.tensor([2, 2]))
    program = record_model(model, (torch.randn(2, 4),), {})
    assert program.dynamic
    assert torch.equal(program.run((torch.ones(3, 4),), {}), model(torch.ones(3, 4)))


def test_a_complex_input_is_no_mask() -> None:
    class Loud(Gives):
        def forward(self, x: Tensor) -> Any:
            return self.head(x.real) if x.real.sum() > -1e9 else x.real

    with pytest.raises(TraceError, match="Python reads a value"):
        trace(Loud(str), torch.randn(2, 4, dtype=torch.complex64))


def test_inputs_that_would_take_another_way_are_refused_by_the_program_and_by_its_graph() -> None:
    x, every = torch.randn(2, 4), torch.ones(2, 4, dtype=torch.bool)
    program = record_model(Masked(str), (x, every), {})
    line = Masked.forward.__code__.co_firstlineno + 1
    said = f"These inputs take another way .* recorded with \\(test_not_followed.py:{line}\\)"
    for run in (lambda mask: program.run((x, mask), {}), lambda mask: as_module(program)(x, mask)):
        run(every)
        with pytest.raises(RuntimeError, match=said):
            run(~every)


class Sized(Gives):
    """As many operators as the data says, without a number that Python reads."""

    def forward(self, x: Tensor) -> Any:
        return self.head(x).repeat(x.nonzero().shape[0], 1)


def test_a_size_that_the_values_decide_is_no_multiple_of_the_batch() -> None:
    with pytest.raises(TraceError, match="operator repeat has another number among its arguments for other inputs"):
        trace(Sized(lambda y: y), torch.tensor([[1.0, 0, 0, 0], [1, 1, 1, 1]]))


def test_what_python_leaves_to_chance_is_not_followed_though_two_runs_may_agree() -> None:
    def drawn(y: Tensor) -> Tensor:
        return y if random.random() < 0.5 else y * 2  # the first two numbers of seed 0 are above

    before = random.getstate()
    with pytest.raises(TraceError, match="cannot be followed: which operators it runs"):
        trace(Gives(drawn), torch.randn(2, 4))
    assert random.getstate() == before


def test_what_a_model_raises_is_told_with_its_place() -> None:
    def refuse(_: Tensor) -> Tensor:
        raise ValueError("no")

    with pytest.raises(TraceError) as caught:
        trace(Gives(refuse), torch.randn(2, 4))
    line = refuse.__code__.co_firstlineno + 1
    assert str(caught.value) == (
        f"The model cannot be followed: ValueError: no (tests/graph/test_not_followed.py:{line}).\n"
        "  Only models that run in eval mode under torch.no_grad() can be followed and compressed."
    )


def test_a_long_text_ends_with_a_whole_sentence() -> None:
    fact = refused(RuntimeError(f"The first. {'A second of many words ' * 20}.\nAnd a line.")).fact
    assert fact == "The model cannot be followed: RuntimeError: The first."


def test_a_long_sentence_is_cut_between_words_and_shows_it() -> None:
    fact = refused(RuntimeError("word " * 100)).fact
    assert fact.endswith("word ….")
    assert len(fact) < 360
