"""The ordinary tests of this repository; `pytest --pfa` runs the gate beside them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from example_project import data
from example_project.model import Digits, build
from example_project.train import accuracy

WEIGHTS = Path(__file__).parent / "weights" / "digits.safetensors"


@pytest.fixture(scope="module")
def model() -> Digits:
    trained = build()
    trained.load_state_dict(load_file(WEIGHTS))
    return trained.eval()


@torch.no_grad()
@pytest.mark.parametrize("size", [1, 5])
def test_one_score_for_each_digit(model: Digits, size: int) -> None:
    assert model(torch.zeros(size, 1, 8, 8)).shape == (size, 10)


def test_reads_the_held_out_digits(model: Digits) -> None:
    assert accuracy(model, data.test()) >= 0.975


def test_the_width_is_free() -> None:
    assert build(width=8)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_splits_share_no_image() -> None:
    seen = {image.numpy().tobytes() for image in data.train().tensors[0]}
    held_out = {image.numpy().tobytes() for image in data.test().tensors[0]}
    assert len(data.train()) == 1400
    assert len(data.test()) == 397
    assert not seen & held_out


def test_every_digit_is_tested_about_as_often() -> None:
    counts = torch.bincount(data.test().tensors[1], minlength=10)
    assert counts.min() >= 35
    assert counts.max() <= 45
