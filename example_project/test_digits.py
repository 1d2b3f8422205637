"""The ordinary tests of this repository; `pytest --pfa` runs the gate beside them.

Nothing heavy is imported before a test runs, so that listing the tests costs as little as listing the budgets.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

    from example_project.model import Digits

WEIGHTS = Path(__file__).parent / "weights" / "digits.safetensors"


@pytest.fixture(scope="module")
def model() -> "Digits":
    from safetensors.torch import load_file

    from example_project.model import build

    trained = build()
    trained.load_state_dict(load_file(WEIGHTS))
    return trained.eval()


@pytest.fixture(scope="module")
def data() -> "ModuleType":
    from example_project import data

    return data


@pytest.mark.parametrize("size", [1, 5])
def test_one_score_for_each_digit(model: "Digits", data: "ModuleType", size: int) -> None:
    images, _ = data.test()[:size]
    assert model(images).shape == (size, 10)


def test_reads_the_held_out_digits(model: "Digits", data: "ModuleType") -> None:
    from example_project.train import accuracy

    assert accuracy(model, data.test()) >= 0.975


def test_the_width_is_free(data: "ModuleType") -> None:
    from example_project.model import build

    images, _ = data.test()[:2]
    assert build(width=8)(images).shape == (2, 10)


def test_splits_share_no_image(data: "ModuleType") -> None:
    seen = {image.numpy().tobytes() for image in data.train().tensors[0]}
    held_out = {image.numpy().tobytes() for image in data.test().tensors[0]}
    assert len(data.train()) == 1400
    assert len(data.test()) == 397
    assert not seen & held_out


def test_every_digit_is_tested_about_as_often(data: "ModuleType") -> None:
    counts = data.test().tensors[1].bincount(minlength=10)
    assert counts.min() >= 35
    assert counts.max() <= 45
