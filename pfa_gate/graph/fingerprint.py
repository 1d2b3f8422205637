"""What tells one model from another: its tensors and its operators, as one digest."""

import hashlib

import torch
from torch import nn

from pfa_gate.graph.program import Program


def model_fingerprint(model: nn.Module, program: Program | None) -> str:
    """SHA-256 of a model's tensors, and of its operators, or of its modules where it has no program."""
    modules = "\n".join(f"{name} {type(module).__qualname__}" for name, module in model.named_modules())
    digest = hashlib.sha256((modules if program is None else str(program.graph)).encode())
    for name, tensor in sorted(model.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):
            continue
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        if tensor.is_meta:  # it is fetched when it is needed
            continue
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
