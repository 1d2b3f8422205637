"""A process that has torch and nothing of the models' code: it answers for one folder a line."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
import torch
from torch.utils import _pytree

torch.set_num_threads(1)
for line in sys.stdin:
    folder = line.rstrip("\\n")
    try:
        args, kwargs = torch.load(folder + "/in.pt", weights_only=True)
        expected = torch.load(folder + "/out.pt", weights_only=True)
        with torch.no_grad():
            answer = torch.export.load(folder + "/model.pt2").module()(*args, **kwargs)
        tensors = (each for each in _pytree.tree_leaves(answer) if isinstance(each, torch.Tensor))
        leaves = [each for each in tensors if each.is_floating_point()]
        foreign = {name.partition(".")[0] for name in sys.modules} & {"pfa_gate", "transformers", "written", "families"}
        assert not foreign, foreign
        assert len(leaves) == len(expected), (len(leaves), len(expected))
        for one, other in zip(leaves, expected):
            assert one.shape == other.shape, (one.shape, other.shape)
            assert (one - other).abs().max() <= 1e-4 * other.abs().max(), (one - other).abs().max()
        print("same", flush=True)
    except Exception as error:
        print(type(error).__name__, *str(error).split(), flush=True)
"""


class Elsewhere:
    """The process; `answer` is `same` or what went wrong."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-I", "-W", "ignore", "-c", SCRIPT]
        self._process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def answer(self, folder: Path) -> str:
        """What a fresh process says about the model.pt2 in a folder."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{folder}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
