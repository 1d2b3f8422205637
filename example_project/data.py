"""The 1,797 handwritten digits that ship with scikit-learn, split once and for all."""

from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import TensorDataset

TEST_SAMPLES = 397


@cache
def _split() -> tuple[TensorDataset, TensorDataset]:
    """Stratified and seeded, so that training and test never share an image."""
    images, labels = load_digits(return_X_y=True)
    scaled = (images / 16.0).astype(np.float32).reshape(-1, 1, 8, 8)
    rest, held_out = train_test_split(np.arange(len(labels)), test_size=TEST_SAMPLES, stratify=labels, random_state=0)

    def part(rows: np.ndarray) -> TensorDataset:
        rows = np.sort(rows)
        return TensorDataset(torch.from_numpy(scaled[rows]), torch.from_numpy(labels[rows]).long())

    return part(rest), part(held_out)


def train() -> TensorDataset:
    """Give the 1,400 training images [1, 8, 8] in [0, 1] with their labels."""
    return _split()[0]


def probe() -> TensorDataset:
    """Give the images whose responses the gate reads: those of the training, as they are."""
    return train()


def test() -> TensorDataset:
    """Give the 397 images that training never sees."""
    return _split()[1]
