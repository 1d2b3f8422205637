"""Networks over sequences, graphs and sound: linear attention, state spaces, messages along edges, a vocoder."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations


class LinearAttention(nn.Module):
    """Softmax replaced by a kernel: keys meet values first, so the cost is linear in the length."""

    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.part = heads, width // heads
        self.embedding, self.norm = nn.Embedding(64, width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out, self.head = nn.Linear(width, width), nn.Linear(width, 5)
        self.hidden = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 48), nn.GELU(), nn.Linear(48, width))

    def _apart(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.heads, self.part).transpose(1, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        inner = self.norm(x)
        query = functional.elu(self._apart(self.query(inner))) + 1
        key = functional.elu(self._apart(self.key(inner))) + 1
        context = key.transpose(-1, -2) @ self._apart(self.value(inner))
        scale = query @ key.sum(-2).unsqueeze(-1)
        x = x + self.out((query @ context / (scale + 1e-6)).transpose(1, 2).flatten(2))
        return self.head((x + self.hidden(x)).mean(1))


class StateSpace(nn.Module):
    """A diagonal state space, as in S4D: it is unrolled into one long convolution for each channel."""

    def __init__(self, width: int = 24, states: int = 8, length: int = 16) -> None:
        super().__init__()
        self.embedding, self.length = nn.Embedding(64, width), length
        self.decay, self.into = nn.Parameter(torch.rand(width, states)), nn.Parameter(torch.randn(width, states))
        self.direct, self.mix = nn.Parameter(torch.randn(width)), nn.Linear(width, 2 * width)
        self.hidden, self.head = nn.Linear(width, 48), nn.Linear(48, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens).transpose(1, 2)
        steps = torch.arange(self.length, device=x.device)
        kernel = (self.into[..., None] * torch.exp(-self.decay.exp()[..., None] * steps)).sum(1)
        padded = functional.pad(x, (self.length - 1, 0))
        x = functional.conv1d(padded, kernel.flip(-1)[:, None], groups=x.shape[1]) + x * self.direct[:, None]
        x = functional.glu(self.mix(functional.gelu(x).transpose(1, 2)), -1)
        return self.head(self.hidden(x).relu().mean(1))


class Messages(nn.Module):
    """One round of messages: an edge reads both of its ends, a node adds up what reaches it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.message = nn.Sequential(nn.Linear(2 * width, 32), nn.ReLU(), nn.Linear(32, width))
        self.update = nn.Sequential(nn.Linear(2 * width, 32), nn.ReLU(), nn.Linear(32, width))

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        sources, targets = edges
        sent = self.message(torch.cat([nodes.index_select(1, sources), nodes.index_select(1, targets)], -1))
        received = torch.zeros_like(nodes).index_add(1, targets, sent)
        return nodes + self.update(torch.cat([nodes, received], -1))


class GraphNetwork(nn.Module):
    """Rounds of messages over the nodes of one graph, then one answer for each sample."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.embedding = nn.Linear(6, width)
        self.rounds = nn.ModuleList(Messages(width) for _ in range(2))
        self.head = nn.Sequential(nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, 3))

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        x = self.embedding(nodes)
        for each in self.rounds:
            x = each(x, edges)
        return self.head(x.sum(1))


def nodes_and_edges() -> tuple[Tensor, Tensor]:
    """Three samples of values at seven nodes, and twelve edges between them."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, 7, 6, generator=generator), torch.randint(0, 7, (2, 12), generator=generator)


class GraphConvolution(nn.Module):
    """A graph convolution with a normalised matrix of neighbours, given as an input."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(6, width), nn.Linear(width, 2 * width), nn.Linear(2 * width, 3)

    def forward(self, nodes: Tensor, neighbours: Tensor) -> Tensor:
        degree = neighbours.sum(-1, keepdim=True).clamp(min=1)
        x = torch.bmm(neighbours / degree, self.one(nodes)).relu()
        x = torch.bmm(neighbours / degree, self.two(x)).relu()
        return self.head(x.amax(1))


def nodes_and_neighbours() -> tuple[Tensor, Tensor]:
    """Three samples of values at seven nodes, and which of them are neighbours."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, 7, 6, generator=generator), (torch.rand(3, 7, 7, generator=generator) > 0.5).float()


class ReceptiveFields(nn.Module):
    """HiFi-GAN: residual blocks of several kernels and dilations on one signal, averaged."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleList(self._convolution(width, size, dilation) for dilation in (1, 3)) for size in (3, 5)
        )

    @staticmethod
    def _convolution(width: int, size: int, dilation: int) -> nn.Module:
        padding = dilation * (size - 1) // 2
        return parametrizations.weight_norm(nn.Conv1d(width, width, size, dilation=dilation, padding=padding))

    def forward(self, x: Tensor) -> Tensor:
        total = torch.zeros(())
        for block in self.blocks:
            inner = x
            for convolution in block:
                inner = inner + convolution(functional.leaky_relu(inner, 0.1))
            total = total + inner
        return total / len(self.blocks)


class Vocoder(nn.Module):
    """A spectrogram becomes a wave: transposed convolutions with weight norm, each followed by its fields."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        normed = parametrizations.weight_norm
        self.first = normed(nn.Conv1d(8, width, 7, padding=3))
        self.ups = nn.ModuleList(
            normed(nn.ConvTranspose1d(width >> place, width >> place + 1, 4, 2, 1)) for place in range(2)
        )
        self.fields = nn.ModuleList(ReceptiveFields(width >> place + 1) for place in range(2))
        self.last = normed(nn.Conv1d(width // 4, 1, 7, padding=3))

    def forward(self, spectrogram: Tensor) -> Tensor:
        x = self.first(spectrogram)
        for up, fields in zip(self.ups, self.fields, strict=True):
            x = fields(up(functional.leaky_relu(x, 0.1)))
        return self.last(functional.leaky_relu(x)).tanh()


class SpeechTransducer(nn.Module):
    """DeepSpeech: two-dimensional convolutions over a spectrogram, whose channels and heights become one axis."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, (5, 3), (2, 1), (2, 1)),
            nn.BatchNorm2d(8),
            nn.Hardtanh(0, 20),
            nn.Conv2d(8, 12, 3, (2, 1), 1),
        )
        self.norm, self.mix = nn.BatchNorm1d(48), nn.Conv1d(48, 32, 3, padding=1)
        self.look, self.head = nn.Conv1d(32, 32, 4, groups=32), nn.Linear(32, 7)

    def forward(self, spectrogram: Tensor) -> Tensor:
        x = self.features(spectrogram.unsqueeze(1))
        x = x.view(x.shape[0], x.shape[1] * x.shape[2], x.shape[3])
        x = self.mix(self.norm(x)).relu()
        ahead = functional.hardtanh(self.look(functional.pad(x, (0, 3))), 0, 20)
        return self.head(ahead.transpose(1, 2)).log_softmax(-1)
