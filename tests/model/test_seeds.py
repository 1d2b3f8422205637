"""The global generators are borrowed, never kept."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch

from pfa_gate.model.global_state import Randomness

DRAWS = {"python": random.random, "numpy": np.random.rand, "torch": lambda: torch.rand(()).item()}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
class TestEveryGenerator:
    def test_is_given_back(self, draw: Callable[[], float]) -> None:
        with Randomness(7).borrowed():
            draw()
            begun = Randomness(3)
            expected = draw()
        with Randomness(7).borrowed():
            draw()
            with begun.borrowed():
                draw()
            assert draw() == expected

    def test_gives_the_same_for_a_seed_and_other_for_another(self, draw: Callable[[], float]) -> None:
        def first(seed: int) -> float:
            with Randomness(seed).borrowed():
                return draw()

        assert first(5) == first(5)
        assert first(5) != first(6)

    def test_continues_over_blocks(self, draw: Callable[[], float]) -> None:
        with Randomness(1).borrowed():
            whole = [draw(), draw()]
        course = Randomness(1)
        parts = []
        for _ in range(2):
            with course.borrowed():
                parts.append(draw())
            draw()
        assert parts == whole

    def test_is_given_back_after_an_error(self, draw: Callable[[], float]) -> None:
        outer = Randomness(2)
        with outer.borrowed():
            expected = draw()
        with Randomness(2).borrowed():
            with pytest.raises(KeyError), Randomness(9).borrowed():
                raise KeyError
            assert draw() == expected


def test_the_largest_seed_is_taken() -> None:
    with Randomness(2**63 - 1).borrowed():
        assert 0 <= torch.rand(()).item() < 1
