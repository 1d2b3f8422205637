"""Fourier transforms over space: each filter by itself, with the spectral weights that it is multiplied with."""

import pytest
import torch
from halving import assert_alike, halved
from networks import conditioned
from torch import Tensor, nn

from pfa_gate.graph import trace


class FourierUnit(nn.Module):
    """As in LaMa: real and imaginary parts of a channel stand side by side before a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.unit, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(16, 16, 1), nn.BatchNorm2d(16)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        spectrum = torch.fft.rfftn(x, dim=(-2, -1), norm="ortho")
        parts = torch.stack((spectrum.real, spectrum.imag), -1).permute(0, 1, 4, 2, 3).contiguous()
        parts = self.norm(self.unit(parts.view((x.shape[0], -1, *parts.shape[3:])))).relu()
        parts = parts.view((x.shape[0], -1, 2, *parts.shape[2:])).permute(0, 1, 3, 4, 2).contiguous()
        spectrum = torch.complex(parts[..., 0], parts[..., 1])
        return self.head(torch.fft.irfftn(spectrum, s=x.shape[-2:], dim=(-2, -1), norm="ortho"))  # type: ignore[no-any-return]


class GlobalFilter(nn.Module):
    """As in GFNet and AFNO: a spectrum times a weight, stored as pairs or as complex numbers; channels last."""

    def __init__(self, pairs: bool) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(3, 4), nn.Linear(4, 2)
        self.filter = nn.Parameter(torch.randn(6, 4, 4, 2) if pairs else torch.randn(6, 4, 4, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.filter if self.filter.is_complex() else torch.view_as_complex(self.filter)
        spectrum = torch.fft.rfft2(self.first(x), dim=(1, 2), norm="ortho") * weight
        spectrum = torch.view_as_complex(torch.view_as_real(spectrum).tanh())
        return self.head(torch.fft.irfft2(spectrum, s=(6, 6), dim=(1, 2), norm="ortho").relu())  # type: ignore[no-any-return]


class NeuralOperator(nn.Module):
    """As FNO: low frequencies times complex matrices, one for each, into a spectrum of zeros; of a written width."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.beside, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, 1), nn.Conv2d(6, 2, 1)
        self.low = nn.Parameter(torch.randn(4, 6, 2, 2, dtype=torch.complex64))
        self.high = nn.Parameter(torch.randn(4, 6, 2, 2, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        spectrum = torch.fft.rfft2(x)
        made = torch.zeros(x.shape[0], 6, 6, 4, dtype=torch.complex64)
        made[:, :, :2, :2] = torch.einsum("bixy,ioxy->boxy", spectrum[:, :, :2, :2], self.low)
        made[:, :, -2:, :2] = torch.einsum("bixy,ioxy->boxy", spectrum[:, :, -2:, :2], self.high)
        return self.head((torch.fft.irfft2(made, s=(6, 6)) + self.beside(x)).relu())  # type: ignore[no-any-return]


class Mixer(nn.Module):
    """As FNet: the real part of a transform, over tokens or over the filters too."""

    def __init__(self, *axes: int) -> None:
        super().__init__()
        self.first, self.head, self.axes = nn.Linear(3, 8), nn.Linear(8, 2), axes

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for axis in self.axes:
            x = x + torch.fft.fft(x, dim=axis).real
        return self.head(torch.fft.fftshift(x, dim=1).relu())  # type: ignore[no-any-return]


NETWORKS: dict[str, tuple[nn.Module, tuple[int, ...], dict[str, int], str]] = {
    "unit": (FourierUnit(), (2, 3, 6, 5), {"first": 8, "unit": 8}, "module"),
    "pairs": (GlobalFilter(pairs=True), (2, 6, 6, 3), {"first": 4}, "module"),
    "complex": (GlobalFilter(pairs=False), (2, 6, 6, 3), {"first": 4}, "module"),
    "operator": (NeuralOperator(), (2, 3, 6, 6), {"first": 4, "low": 6}, "graph"),
    "tokens": (Mixer(1), (2, 5, 3), {"first": 8}, "module"),
}


@pytest.mark.parametrize(("model", "shape", "widths", "form"), NETWORKS.values(), ids=NETWORKS)
def test_a_transform_over_space_is_cut_by_filter(
    model: nn.Module, shape: tuple[int, ...], widths: dict[str, int], form: str
) -> None:
    example = torch.randn(shape)
    cut = halved(model, example)
    assert {name: cut.groups.group(name).width for name in cut.keep} == widths
    assert cut.result.form == form
    assert cut.left < 0.62
    assert_alike(cut.result.model, cut.silenced(), example)


def test_a_complex_weight_is_proved_with_its_imaginary_part() -> None:
    cut = halved(GlobalFilter(pairs=False), torch.randn(2, 6, 6, 3))
    assert cut.result.proof.dtype == "float64"
    assert cut.result.model.get_parameter("filter").shape == (6, 4, 2)
    with torch.no_grad():
        cut.result.model.get_parameter("filter").imag.zero_()
    assert cut.model.get_parameter("filter").imag.abs().max() > 0.1


def test_a_transform_over_the_filters_leaves_them_whole() -> None:
    groups = trace(conditioned(Mixer(1, 2)), torch.randn(2, 5, 3))
    assert groups.group("first").frozen == "operator fft_fft transforms the axis of the filters"
