"""Architectures of timm, built small, with random weights: classes and habits that are not torch's own.

timm imports torchvision, whose extension fits one build of torch only. Where it does not load, ten lines stand in for
the two operators that torchvision wants registered when it is imported; no model here calls them.
"""

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


def stand_in() -> Any:
    """Let torchvision be imported where its extension does not load; what must be held as long as it is in use."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
        return library
    return None


@dataclass(frozen=True)
class ImageModel:
    """One of timm's models, changed to be small, and the side of the images it reads."""

    name: str
    side: int = 32
    changes: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> nn.Module:
        timm = importlib.import_module("timm")
        torch.manual_seed(0)
        model: nn.Module = timm.create_model(self.name, pretrained=False, num_classes=10, **self.changes)
        return model.eval()

    def example(self) -> Tensor:
        return torch.randn(2, 3, self.side, self.side, generator=torch.Generator().manual_seed(1))


def _sized(name: str, side: int = 32, **changes: Any) -> ImageModel:
    """A model that is told the side of its images."""
    return ImageModel(name, side, {"img_size": side, **changes})


_ALL = (
    _sized("vit_tiny_patch16_224", depth=2),
    _sized("deit_tiny_patch16_224", depth=2),
    _sized("deit_tiny_distilled_patch16_224", depth=2),
    _sized("pit_ti_224", 64, depth=[1, 1, 1]),
    _sized("pit_ti_distilled_224", 64, depth=[1, 1, 1]),
    _sized("vit_small_patch16_rope_224", depth=2),
    _sized("vit_relpos_small_patch16_224", depth=2),
    _sized("beit_base_patch16_224", depth=2, embed_dim=64, num_heads=4),
    _sized("eva02_tiny_patch14_224", 28, depth=2),
    _sized("cait_xxs24_224", depth=2),
    _sized("xcit_nano_12_p16_224", depth=2),
    _sized("swin_tiny_patch4_window7_224", 56, depths=(1, 1), embed_dim=48, num_heads=(2, 4)),
    _sized("levit_128s", 64),
    _sized("mixer_s32_224", 64),
    _sized("gmlp_ti16_224"),
    _sized("resmlp_12_224"),
    ImageModel("convnext_atto", 64),
    ImageModel("convnextv2_atto", 64),
    ImageModel("mobilenetv3_small_050", 64),
    ImageModel("ghostnet_050", 64),
    ImageModel("resnet18", 64),
    ImageModel("regnety_002", 64),
    ImageModel("mobilenetv2_035", 64),
    ImageModel("mnasnet_small", 64),
    ImageModel("mobilevit_xxs", 64),
    ImageModel("mobilevitv2_050", 64),
    ImageModel("edgenext_xx_small", 64),
    ImageModel("starnet_s1", 64),
    ImageModel("shvit_s1", 64),
    _sized("efficientvit_m0", 64),
)
IMAGE_MODELS = {entry.name: entry for entry in _ALL}
