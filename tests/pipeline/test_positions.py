"""Few images with many positions: what maxima cannot judge, `probe.positions` can, and equals NumPy on what it read."""

from pathlib import Path

import numpy as np
import pytest
import torch
from machines import assert_same, plain
from torch import nn

import pfa_gate
from pfa_gate.analysis.responses import SampledPositions, hooked_layers, respond_by_hooks
from pfa_gate.errors import TooFewSamplesError
from pfa_gate.pipeline.check_model import CheckOptions, check
from pfa_gate.pipeline.spectra import responses, spectra
from pfa_gate.record import Record

CODE = """
import torch
from torch import nn


def build():
    '''Every pixel gets a class.'''
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 20, 3, padding=1), nn.ReLU(), nn.Conv2d(20, 70, 3, padding=1, stride=2), nn.ReLU(),
        nn.ConvTranspose2d(70, 50, 2, stride=2), nn.ReLU(), nn.Conv2d(50, 4, 1),
    ).double()


def images():
    return torch.randn(48, 3, 12, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def more():
    return images().repeat(3, 1, 1, 1)
"""
CONFIG = """version: 1
gates:
  pixels:
    model: {{factory: net.py:build}}
    probe: {{data: "net.py:{data}", seed: 4{more}}}
    artifacts: [weights]
    recipe: {{strategy: energy, energy: 0.9}}
    budgets: {{layers: [{{match: "*", kl: 1.0}}]}}
    selection: correlation
    recovery: []
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(CODE)
    return tmp_path / "pfa.yaml"


def run(config: Path, more: str = "", data: str = "images") -> Record:
    config.write_text(CONFIG.format(more=more, data=data))
    return pfa_gate.run(config).record


def refused(config: Path, more: str = "", data: str = "images") -> list[str]:
    with pytest.raises(TooFewSamplesError) as caught:
        run(config, more, data)
    return str(caught.value).replace(str(config), "pfa.yaml").splitlines()


def test_the_largest_need_is_told_at_once_and_that_the_data_has_no_more(project: Path) -> None:
    assert refused(project) == [
        "There are 48 samples for 70 filters; their covariance cannot have full rank. 1 more layer has too few: '4'.",
        "  at layer '2'",
        "  at pfa.yaml:5:5, in gate 'pixels', while taking spectra",
        "  The data has 48 samples, and more than 70 are needed: give more data, take positions of each map as samples "
        "(probe.positions: 16), or exclude the layers.",
    ]


@pytest.mark.parametrize(
    ("more", "data", "fact", "remedy"),
    [
        (
            ", samples: 60",
            "more",
            "There are 60 samples for 70 filters; their covariance cannot have full rank.",
            "Raise probe.samples above 70, take positions of each map as samples (probe.positions: 16), "
            "or exclude the layer.",
        ),
        (
            ", samples: 40",
            "images",
            "There are 40 samples for 70 filters; their covariance cannot have full rank. "
            "1 more layer has too few: '4'.",
            "The data has 48 samples, and more than 70 are needed: give more data, take positions of each map as "
            "samples (probe.positions: 32), or exclude the layers.",
        ),
        (
            ", samples: 20, positions: 2",
            "images",
            "There are 40 responses of 20 samples for 70 filters; their covariance cannot have full rank. "
            "1 more layer has too few: '4'.",
            "Raise probe.samples above 35, take more positions of each map (probe.positions: 64), "
            "or exclude the layers.",
        ),
    ],
)
def test_the_remedy_is_one_that_helps(project: Path, more: str, data: str, fact: str, remedy: str) -> None:
    said = refused(project, more, data)
    assert (said[0], said[-1].strip()) == (fact, remedy)


def test_48_images_judge_70_filters_and_the_batch_size_changes_nothing(project: Path) -> None:
    found = plain(run(project, ", positions: 16, batch_size: 48"))
    assert found["probe"]["positions"] == 16
    judged = {layer["name"]: (layer["filters"], layer["samples"]) for layer in found["layers"]}
    assert judged == {"0": (20, 768), "2": (70, 768), "4": (50, 768), "6": (4, 768)}
    assert all(layer["kl_stderr"] for layer in found["layers"][:3])
    assert {each["outcome"] for each in found["budgets"]} == {"kept"}
    assert_same(plain(run(project, ", positions: 16, batch_size: 7")), found)
    report = (project.parent / ".pfa" / "pixels" / "report.md").read_text(encoding="utf-8")
    assert "48 probe samples, 16 positions of each map" in report


def test_spectrum_and_standard_error_are_those_of_numpy() -> None:
    """The jackknife leaves out an eighth of the images with all their positions."""
    torch.manual_seed(0)
    model, images = nn.Conv2d(3, 6, 3).double(), torch.randn(50, 3, 7, 7, dtype=torch.float64)
    layers, seed, positions = hooked_layers(nn.Sequential(model)), 11, 9
    net = nn.Sequential(model)
    stream = respond_by_hooks(net, images.split(13), layers, SampledPositions(positions, seed))
    found = spectra((), layers, responses(layers, (), stream)).layers["0"]
    with torch.no_grad():
        maps = net(images).flatten(2).numpy()
    chosen = [np.random.default_rng((seed, i)).choice(25, positions, replace=False, shuffle=False) for i in range(50)]
    rows = np.stack([one[:, places].T for one, places in zip(maps, chosen, strict=True)])

    def kl_ratio(samples: np.ndarray) -> float:
        values = np.linalg.eigvalsh(np.cov(samples.reshape(-1, 6), rowvar=False))
        shares = values / values.sum()
        return float((shares * np.log(shares * 6)).sum() / np.log(6))

    left_out = [kl_ratio(rows[np.arange(50) % 8 != fold]) for fold in range(8)]
    assert found.samples == 450
    assert found.kl_ratio == pytest.approx(kl_ratio(rows), rel=1e-9)
    assert found.kl_stderr == pytest.approx(float(np.sqrt(7 * np.var(left_out))), rel=0.15)


def test_the_fixture_takes_positions_too() -> None:
    torch.manual_seed(0)
    model, images = nn.Sequential(nn.Conv2d(3, 20, 3), nn.ReLU(), nn.Conv2d(20, 2, 1)), torch.randn(12, 3, 9, 9)
    with pytest.raises(TooFewSamplesError, match=r"12 samples, and more than 20 are needed: .* \(positions=32\)"):
        check(model, images, CheckOptions({"kl": 1.0}))
    record = check(model, images, CheckOptions({"kl": 1.0}, positions=32))
    assert (record.probe.positions, record.layers[0].samples) == (32, 384)
