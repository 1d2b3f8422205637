"""Peak memory while a model's weights are loaded, over the size of the model: each way in a process of its own.

python tests/benchmarks/loading.py [megabytes]
"""

import json
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save_file
from torch import nn

from pfa_gate.config import ModelConfig
from pfa_gate.model.checkpoint import load_weights
from pfa_gate.model.subject import build

WIDTH = 2048
WAYS = {
    "copy, .safetensors": ("copy", "net.safetensors"),
    "copy, .pt": ("copy", "net.pt"),
    "mmap, .safetensors": ("mmap", "net.safetensors"),
    "mmap, two .safetensors": ("mmap", "net.safetensors.index.json"),
    "mmap, .pt": ("mmap", "net.pt"),
}


def net(layers: int) -> nn.Module:
    """Linear layers of 16.8 MB each."""
    return nn.Sequential(*(nn.Linear(WIDTH, WIDTH) for _ in range(layers)))


def write(layers: int, folder: Path) -> None:
    """The same weights as one .safetensors, as two with an index, and as .pt."""
    state = net(layers).state_dict()
    save_file(state, folder / "net.safetensors")
    torch.save(state, folder / "net.pt")
    names = sorted(state)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, held in parts.items():
        save_file({name: state[name] for name in held}, folder / file)
    places = {name: file for file, held in parts.items() for name in held}
    (folder / "net.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def measure(layers: int, loader: str, checkpoint: Path) -> None:
    """Load as a gate does, run a forward pass, which touches all weights, and print peak and size in bytes."""
    before = _peak()
    config = ModelConfig.model_validate(
        {
            "factory": f"{Path(__file__).as_posix()}:net",
            "arguments": {"layers": layers},
            "checkpoint": checkpoint.name,
            "loader": loader,
        }
    )
    model = build(config, checkpoint.parent, seed=0)
    load_weights(model, checkpoint)
    with torch.no_grad():
        model(torch.zeros(1, WIDTH))
    print(_peak() - before, sum(each.nbytes for each in model.state_dict().values()))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(megabytes: int) -> None:
    """Print the table."""
    layers = max(1, megabytes * 1_000_000 // (4 * WIDTH * (WIDTH + 1)))
    print(f"torch {torch.__version__}; Linux; peak resident memory over the size of the model, forward pass included")
    with TemporaryDirectory() as name:
        folder = Path(name)
        # The weights are written by another process: its peak would hide that of the children it forks.
        _child("write", str(layers), name)
        for way, (loader, file) in WAYS.items():
            peak, size = map(int, _child("measure", str(layers), loader, str(folder / file)).split())
            print(f"{way:24} {peak / size:5.2f} of {size / 1e6:,.0f} MB")


def _child(*arguments: str) -> str:
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    return done.stdout


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", layers, folder]:
            write(int(layers), Path(folder))
        case ["measure", layers, loader, checkpoint]:
            measure(int(layers), loader, Path(checkpoint))
        case [megabytes]:
            main(int(megabytes))
        case _:
            main(1000)
