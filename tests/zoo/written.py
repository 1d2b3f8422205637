"""The networks written here, each with the input it reads; `tests/zoo/families.py` has those of transformers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import blocks
import classics
import dense
import sequences
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Written:
    """A network and its input: noise of this shape, tokens, or what `inputs` makes."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...] = (2, 3, 16, 16)
    tokens: bool = False
    inputs: Callable[[], tuple[Tensor, ...]] | None = None

    def build(self) -> nn.Module:
        torch.manual_seed(0)
        return self.make().eval()

    def example(self) -> Tensor | tuple[Tensor, ...]:
        if self.inputs is not None:
            return self.inputs()
        generator = torch.Generator().manual_seed(1)
        if self.tokens:
            return torch.randint(3, 60, self.shape, generator=generator)
        return torch.randn(self.shape, generator=generator)


def _stacked(stem: int, *parts: nn.Module, last: int) -> nn.Module:
    return blocks.Stacked(stem, *parts, last=last)


WRITTEN: dict[str, Written] = {
    "simple_cnn": Written(classics.SimpleCNN, (2, 3, 32, 32)),
    "vgg16_cifar": Written(classics.VGG16, (2, 3, 32, 32)),
    "resnet56_a": Written(partial(classics.ResNet, (9, 9, 9), 8, "A")),
    "resnet56_b": Written(partial(classics.ResNet, (9, 9, 9), 8, "B")),
    "resnet34": Written(partial(classics.ResNet, (3, 4, 6, 3), 8, "B"), (2, 3, 32, 32)),
    "resnet50": Written(partial(classics.BottleneckResNet, (3, 4, 6, 3), 4, 10), (2, 3, 32, 32)),
    "densenet": Written(classics.DenseNet),
    "inception": Written(classics.Inception),
    "squeezenet": Written(classics.SqueezeNet),
    "unet": Written(classics.UNet),
    "shufflenet_v1": Written(lambda: _stacked(24, blocks.ShuffleUnitV1(24, 3), blocks.ShuffleUnitV1(24, 3), last=24)),
    "shufflenet_v2": Written(
        lambda: _stacked(16, blocks.ShuffleDownV2(16, 32), *(blocks.ShuffleUnitV2(32) for _ in range(3)), last=32)
    ),
    "res2net": Written(lambda: _stacked(32, blocks.Res2Block(32), blocks.Res2Block(32), last=32)),
    "dpn": Written(lambda: _stacked(24, blocks.DualPath(24, 16, 8), blocks.DualPath(32, 16, 8), last=40)),
    "cspnet": Written(lambda: _stacked(32, blocks.CrossStage(32), blocks.CrossStage(32), last=32)),
    "ghostnet": Written(lambda: _stacked(16, blocks.Ghost(16, 48), blocks.Ghost(48, 32), last=32)),
    "squeeze_excite": Written(lambda: _stacked(16, blocks.SqueezeExcite(16), blocks.SqueezeExcite(16), last=16)),
    "mixer": Written(blocks.Mixer),
    "lstm": Written(partial(blocks.Recurrent, nn.LSTM), (2, 12), tokens=True),
    "gru": Written(partial(blocks.Recurrent, nn.GRU), (2, 12), tokens=True),
    "transformer_encoder": Written(blocks.Encoder, (2, 12), tokens=True),
    "fused_attention": Written(blocks.Attention, (2, 7, 6)),
    "super_resolution": Written(blocks.SuperResolution),
    "autoencoder": Written(blocks.Autoencoder),
    "wavenet": Written(blocks.WaveNet, (2, 1, 40)),
    "retinanet": Written(dense.RetinaNet, (2, 3, 32, 32)),
    "fcos": Written(dense.FCOS, (2, 3, 32, 32)),
    "ssd": Written(dense.SSD, (2, 3, 32, 32)),
    "yolo": Written(dense.YOLO, (2, 3, 32, 32)),
    "pspnet": Written(dense.PyramidPooling),
    "unet_3d": Written(dense.UNet3d, (2, 2, 8, 8, 8)),
    "diffusion_unet": Written(dense.DiffusionUNet, inputs=dense.noise_and_times),
    "linear_attention": Written(sequences.LinearAttention, (2, 12), tokens=True),
    "state_space": Written(sequences.StateSpace, (2, 16), tokens=True),
    "graph_network": Written(sequences.GraphNetwork, inputs=sequences.nodes_and_edges),
    "graph_convolution": Written(sequences.GraphConvolution, inputs=sequences.nodes_and_neighbours),
    "vocoder": Written(sequences.Vocoder, (2, 8, 12)),
    "deep_speech": Written(sequences.SpeechTransducer, (2, 16, 20)),
}
