"""VGG-16 and a simple CNN, as in the paper's experiments, on CIFAR-10: `python tests/benchmarks/paper.py --help`.

Trains on the images there are (the clean subset in the shared folder unless --train names another .npz with `images`
uint8 [N, 32, 32, 3] and `labels`), then cuts by PFA-KL and by PFA-En, and gives the accuracy full, cut and compensated.
Meant for a GPU; on a CPU, --epochs 3 --networks simple shows that it runs.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from resnets import MEAN, SPREAD, images
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from pfa_gate.coupling import export_model, trace_program
from pfa_gate.covariance import accumulate
from pfa_gate.gate.measure import spectra
from pfa_gate.loading import Batch
from pfa_gate.probe import respond
from pfa_gate.recipe import keep_energy, keep_kl
from pfa_gate.recovery import compensate
from pfa_gate.selection import SELECTIONS, Evidence, keep_last
from pfa_gate.surgery import compress

VGG = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
SIMPLE = (96, 96, 96, 0, 192, 192, 192, 0, 192, 192)


def network(widths: tuple[int, ...]) -> nn.Module:
    """Convolutions of 3 x 3 with batch norm; 0 halves the resolution; the mean over what is left feeds the head."""
    layers, read = list[nn.Module](), 3
    for made in widths:
        if made == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(read, made, 3, padding=1, bias=False), nn.BatchNorm2d(made), nn.ReLU()]
        read = made
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(read, 10))


def loaded(path: Path) -> tuple[Tensor, Tensor]:
    held = np.load(path)
    pixels = torch.from_numpy(held["images"]).permute(0, 3, 1, 2).float() / 255
    mean, spread = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, SPREAD))
    return ((pixels - mean) / spread).contiguous(), torch.from_numpy(held["labels"]).long()


def varied(pixels: Tensor, generator: torch.Generator) -> Tensor:
    flipped = torch.rand(len(pixels), generator=generator) < 0.5
    pixels = torch.where(flipped[:, None, None, None].to(pixels.device), pixels.flip(3), pixels)
    top, left = torch.randint(9, (2,), generator=generator).tolist()
    return functional.pad(pixels, (4, 4, 4, 4))[:, :, top : top + 32, left : left + 32]


def trained(model: nn.Module, data: tuple[Tensor, Tensor], epochs: int, device: str) -> nn.Module:
    model = model.to(device).train()
    pixels, labels = (part.to(device) for part in data)
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    steps = epochs * -(-len(pixels) // 128)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(epochs):
        for chosen in torch.randperm(len(pixels), generator=generator).to(device).split(128):
            optimiser.zero_grad()
            functional.cross_entropy(model(varied(pixels[chosen], generator)), labels[chosen]).backward()
            optimiser.step()
            schedule.step()
    return model.cpu().eval()


def accuracy(model: nn.Module, pixels: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        hits = [(model(part).argmax(1) == named).sum() for part, named in pairs(pixels, labels)]
    return 100 * float(sum(hits)) / len(labels)


def pairs(pixels: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(pixels.split(256), labels.split(256), strict=True)


def cuts(model: nn.Module, probe: Tensor, test: tuple[Tensor, Tensor], selection: str) -> Iterator[list[str]]:
    program = export_model(model, (probe[:2],), {})
    coupling = trace_program(program)
    layers = [layer for layer in coupling.layers if layer.frozen is None]
    taps = [tap for part in (*coupling.free, *layers) for tap in part.taps]
    moments = accumulate(respond(program, probe.split(128), taps), {})
    found = spectra(coupling.groups, layers, moments).groups
    batches = [Batch((part,), {}) for part in probe.split(128)]
    orders = SELECTIONS[selection](Evidence(program, coupling.free, found, batches, 0))
    size = sum(tensor.numel() for tensor in model.parameters())
    recipes = {"kl": {name: keep_kl(each) for name, each in found.items()}}
    recipes |= {
        f"energy {energy}": {name: keep_energy(each, energy) for name, each in found.items()}
        for energy in (0.99, 0.95, 0.90)
    }
    for name, keep in recipes.items():
        cut = compress(model, coupling, keep_last(orders, keep).kept, ((probe[:2],), {}))
        mended, _ = compensate(program, cut.model, cut.kept, batches)
        left = sum(tensor.numel() for tensor in mended.parameters()) / size
        scores = [accuracy(each, *test) for each in (model, cut.model, mended)]
        yield [name, f"{left:.0%}", *(f"{score:.1f}" for score in scores)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=["simple", "vgg16"], default=["simple", "vgg16"])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--samples", type=int, default=1500, help="of the probe")
    parser.add_argument("--selection", default="correlation")
    parser.add_argument("--train", type=Path, help="an .npz instead of the clean subset")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = loaded(arguments.train) if arguments.train else images("train")
    drawn = Table(title=f"Test accuracy in %, {len(data[0]):,} training images, {arguments.selection}, {device}")
    for head in ("network", "recipe", "parameters", "full", "cut", "compensated", "trained in"):
        drawn.add_column(head, justify="right")
    for name in arguments.networks:
        torch.manual_seed(0)
        started = time.perf_counter()
        model = trained(network(VGG if name == "vgg16" else SIMPLE), data, arguments.epochs, device)
        taken = f"{time.perf_counter() - started:.0f} s"
        for row in cuts(model, data[0][: arguments.samples], images("test"), arguments.selection):
            drawn.add_row(name, *row, taken)
    Console(width=110).print(drawn)


if __name__ == "__main__":
    main()
