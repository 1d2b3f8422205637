"""Why a model cannot be exported: the fact, and what helps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pfa_gate.errors import TraceError
from pfa_gate.graph import trace
from pfa_gate.graph.export import export_error

RETURN = "Return a tensor, or a tuple or dict of tensors."


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


REFUSED: dict[str, tuple[nn.Module, str]] = {
    "a dataclass": (
        Gives(Answer),
        f"The model returns an object of type Answer, which torch.export does not take.\n  {RETURN}",
    ),
    "an object within a dict": (
        Gives(lambda y: {"y": y, "more": Holder(y)}),
        f"The model returns an object of type Holder, which torch.export does not take.\n  {RETURN}",
    ),
}


@pytest.mark.parametrize(("model", "message"), REFUSED.values(), ids=REFUSED)
def test_an_output_of_an_unknown_type_is_named(model: nn.Module, message: str) -> None:
    with pytest.raises(TraceError) as caught:
        trace(model, torch.randn(2, 4))
    assert str(caught.value) == message


def test_a_branch_on_the_data_is_named_with_its_line() -> None:
    with pytest.raises(TraceError) as caught:
        trace(Undecided(str), torch.randn(2, 4))
    line = Undecided.forward.__code__.co_firstlineno + 1
    assert str(caught.value) == (
        "The model cannot be exported: which operators it runs depends on the values of its inputs "
        f"(tests/graph/test_export_refusals.py:{line}).\n"
        "  Choose with torch.where instead of a branch, so that each input runs through the same operators."
    )


def test_a_cache_of_keys_and_values_is_switched_off() -> None:
    class EncoderDecoderCache(Holder):
        """As transformers calls it."""

    with pytest.raises(TraceError) as caught:
        trace(Gives(lambda y: {"logits": y, "past_key_values": EncoderDecoderCache(y)}), torch.randn(2, 4))
    assert str(caught.value) == (
        "The model returns a cache of keys and values (EncoderDecoderCache), which torch.export does not take.\n"
        "  Have the factory switch it off: model.config.use_cache = False."
    )


def test_a_long_text_ends_with_a_whole_sentence() -> None:
    said = str(export_error(RuntimeError(f"The first. {'A second of many words ' * 20}.\nAnd a line.")))
    only = "Only models that torch.export(strict=False) accepts can be followed and compressed."
    assert said == f"The model cannot be exported: RuntimeError: The first.\n  {only}"


def test_a_long_sentence_is_cut_between_words_and_shows_it() -> None:
    fact = export_error(RuntimeError("word " * 100)).fact
    assert fact.endswith("word ….")
    assert len(fact) < 360
