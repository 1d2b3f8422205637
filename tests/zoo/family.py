"""One architecture of the transformers library, built small from its configuration, and the inputs it reads."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from torch import Tensor, nn

TEXT = {
    "vocab_size": 64,
    "max_position_embeddings": 16,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 16,
    "patch_size": 4,
}


@dataclass(frozen=True)
class Family:
    """One architecture: how to build it, and what it reads."""

    model: str
    config: str
    changes: dict[str, Any] = field(default_factory=dict)
    inputs: str = "tokens"

    def build(self) -> nn.Module:
        torch.manual_seed(0)
        config = getattr(transformers, self.config)(**copy.deepcopy(self.changes))
        config.use_cache = False
        config.return_dict = True
        model: nn.Module = getattr(transformers, self.model)(config)
        return model.eval()

    def example(self) -> dict[str, Tensor]:
        return INPUTS[self.inputs]()


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def _tokens(length: int = 12) -> dict[str, Tensor]:
    return {"input_ids": torch.randint(3, 60, (2, length), generator=_generator())}


def _masked(length: int = 12) -> dict[str, Tensor]:
    return {**_tokens(length), "attention_mask": torch.ones(2, length, dtype=torch.int64)}


def _answer() -> dict[str, Tensor]:
    return {"decoder_input_ids": _tokens()["input_ids"][:, :7]}


def _noise(name: str, *shape: int) -> Callable[[], dict[str, Tensor]]:
    return lambda: {name: torch.randn(2, *shape, generator=_generator())}


def _pixels(size: int) -> Callable[[], dict[str, Tensor]]:
    return _noise("pixel_values", 3, size, size)


def _boxes() -> dict[str, Tensor]:
    """Words, and where on the page each stands: left, top, right, bottom."""
    return {**_tokens(), "bbox": torch.randint(0, 15, (2, 12, 4), generator=_generator()).sort(-1).values}


def _series() -> dict[str, Tensor]:
    """Twenty values that were seen, six that follow, and two features of each time."""
    shapes = {
        "past_values": (20,),
        "past_time_features": (20, 2),
        "future_values": (6,),
        "future_time_features": (6, 2),
    }
    values = {name: torch.randn(2, *shape, generator=_generator()) for name, shape in shapes.items()}
    return {**values, "past_observed_mask": torch.ones(2, 20)}


INPUTS: dict[str, Callable[[], dict[str, Tensor]]] = {
    "tokens": _tokens,
    "tokens16": lambda: _tokens(16),
    "tokens32": lambda: _tokens(32),
    "masked": _masked,
    "masked32": lambda: _masked(32),
    "latent": lambda: {"inputs": _tokens()["input_ids"]},
    "pairs": lambda: {**_tokens(), **_answer()},
    "boxes": _boxes,
    "pixels16": _pixels(16),
    "pixels32": _pixels(32),
    "pixels64": _pixels(64),
    "pixels128": _pixels(128),
    "masked_pixels": lambda: {**_pixels(16)(), "noise": torch.rand(2, 16, generator=_generator())},
    "video": _noise("pixel_values", 4, 3, 16, 16),
    "captioned16": lambda: {**_tokens(), **_pixels(16)()},
    "captioned32": lambda: {**_tokens(), **_pixels(32)()},
    "wave": _noise("input_values", 400),
    "long_wave": _noise("input_values", 2000),
    "channel": _noise("input_values", 1, 400),
    "frames": _noise("input_values", 32, 16),
    "spectrogram": _noise("spectrogram", 12, 8),
    "features": _noise("input_features", 16, 8),
    "heard": lambda: {**_noise("input_features", 8, 16)(), **_answer()},
    "heard_long": lambda: {**_noise("input_features", 32, 8)(), **_answer()},
    "described": lambda: {**_tokens(), **_noise("input_features", 1, 64, 16)()},
    "patches": _noise("past_values", 32, 3),
    "series": _series,
}
