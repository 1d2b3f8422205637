"""Train the network and write its weights: `python -m example_project.train`.

In every step some filters are silenced at random, so that the network learns to say the same
thing more than once: such a network loses little when filters are removed from it later.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from example_project import data
from example_project.model import Block, Digits, build

WEIGHTS = Path(__file__).parent / "weights" / "digits.safetensors"


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Move a batch by up to one pixel in each direction."""
    down, right = torch.randint(0, 3, (2,), generator=generator).tolist()
    return nn.functional.pad(images, (1, 1, 1, 1))[..., down : down + 8, right : right + 8]


def activations(model: Digits) -> list[nn.Module]:
    """List the modules whose outputs are read by the next convolution or by the head."""
    blocks = [block for block in model.trunk if isinstance(block, Block)]
    return [model.stem, *blocks, *(block.first for block in blocks), *model.branch]


@contextmanager
def silenced(model: Digits, most: float, generator: torch.Generator) -> Iterator[None]:
    """Silence up to this share of the filters of each layer, other ones for each image."""

    def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        share = most * torch.rand((), generator=generator)
        heard = torch.rand(output.shape[:2], generator=generator) >= share
        return output * heard[:, :, None, None]

    handles = [module.register_forward_hook(hook) for module in activations(model)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def shuffled(samples: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Give the rows of whole batches, in random order."""
    rows = torch.randperm(samples, generator=generator)
    for start in range(0, samples - batch + 1, batch):
        yield rows[start : start + batch]


def train(model: Digits, dataset: TensorDataset, options: argparse.Namespace) -> None:
    """Fit the model in place; batch norm learns its statistics in the first half only."""
    images, labels = dataset.tensors
    steps = len(labels) // options.batch
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.rate, weight_decay=options.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.rate, options.epochs * steps)
    generator = torch.Generator().manual_seed(options.seed)
    for epoch in range(options.epochs):
        model.train(epoch < options.frozen * options.epochs)
        for rows in shuffled(len(labels), options.batch, generator):
            with silenced(model, options.silence, generator):
                scores = model(shifted(images[rows], generator))
            loss = nn.functional.cross_entropy(scores, labels[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, dataset: TensorDataset) -> float:
    """Give the share of images whose highest score is that of their label."""
    images, labels = dataset.tensors
    return (model(images).argmax(1) == labels).double().mean().item()


def main() -> None:
    """Train, print the accuracy on both splits, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--silence", type=float, default=0.65)
    parser.add_argument("--decay", type=float, default=5e-2)
    parser.add_argument("--frozen", type=float, default=0.5)
    parser.add_argument("--epochs", type=int, default=170)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=WEIGHTS)
    options = parser.parse_args()

    torch.set_num_threads(1)  # such small layers gain nothing from more, and sums keep their order
    torch.manual_seed(options.seed)
    model = build(options.width)
    train(model, data.train(), options)
    for name, dataset in (("training", data.train()), ("test", data.test())):
        print(f"accuracy on the {name} images: {accuracy(model, dataset):.2%}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), options.output)
    print(f"{options.output}: {options.output.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
