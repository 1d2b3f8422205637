"""Standard errors by influence: those of a jackknife that takes everything anew, and of repeated probes."""

import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import reference
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from example_project import data
from example_project.model import build
from pfa_gate.analysis.covariance import JackknifeFolds, Moments, update
from pfa_gate.analysis.responses import hooked_layers, respond_by_hooks
from pfa_gate.analysis.spectrum import Spectrum, analyse, spectrum_of_folds

ROOT = Path(__file__).parents[2]
NAMES = ("kl_ratio", "peak_correlation", "mean_correlation")


def errors(found: Spectrum) -> np.ndarray:
    return np.array([found.kl_stderr, found.peak_stderr, found.mean_stderr], float)


def mixed(samples: int = 400, filters: int = 6, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    rows = draw.standard_normal((samples, filters)) @ draw.standard_normal((filters, filters))
    return np.asarray(rows + draw.normal(0, 5, filters))


def layers_of(net: nn.Module, images: Tensor) -> dict[str, np.ndarray]:
    (responses,) = respond_by_hooks(net, [images], hooked_layers(net))
    return {name: each.numpy() for name, each in responses.items()}


def assert_those_of_the_jackknife(rows: np.ndarray, tolerance: float = 0.15) -> None:
    np.testing.assert_allclose(errors(analyse(rows)), reference.jackknife(rows), rtol=tolerance, atol=1e-12)


def test_of_every_layer_of_a_trained_network() -> None:
    net = build()
    net.load_state_dict(load_file(ROOT / "example_project" / "weights" / "digits.safetensors"))
    images, _ = data.probe()[:1024]
    for rows in layers_of(net.eval(), images).values():
        assert_those_of_the_jackknife(rows)


@pytest.mark.shared_data
def test_of_every_layer_of_a_resnet(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PFA_GATE_SHARED", str(shared))
    monkeypatch.syspath_prepend(ROOT / "tests" / "benchmarks")
    sys.modules.pop("resnets", None)
    from resnets import images, resnet  # noqa: PLC0415

    for rows in layers_of(resnet(20), images("train")[0][:1000]).values():
        assert_those_of_the_jackknife(rows)


def drifting(rows: np.ndarray) -> np.ndarray:
    """Each fold about a mean of its own."""
    return rows + np.random.default_rng(1).normal(0, 0.5, (8, rows.shape[1]))[np.arange(len(rows)) % 8]


def with_copies(rows: np.ndarray) -> np.ndarray:
    return np.hstack([rows, 3 * rows[:, :2], rows[:, :1] - rows[:, 1:2]])


def with_dead(rows: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(1).standard_normal(len(rows))
    return np.hstack([rows, np.zeros((len(rows), 1)), np.full((len(rows), 1), 3.0), (1e9 + 100 * noise)[:, None]])


def nearly_dependent(rows: np.ndarray) -> np.ndarray:
    return np.hstack([rows, rows[:, :1] + 1e-5 * np.random.default_rng(1).standard_normal((len(rows), 1))])


def far_away(rows: np.ndarray) -> np.ndarray:
    return rows + 1e6


@pytest.mark.parametrize("change", [drifting, with_copies, with_dead, nearly_dependent, far_away, np.abs])
@pytest.mark.parametrize("samples", [397, 1200])
def test_whatever_the_responses_are_like(change: Callable[[np.ndarray], np.ndarray], samples: int) -> None:
    """Eigenvalues of 0, at which p ln p has no slope, and filters that do not vary, are no exception."""
    assert_those_of_the_jackknife(change(mixed(samples)))


def test_a_filter_that_responds_in_one_fold_only() -> None:
    """Without that fold an eigenvalue and a filter are gone; to first order the first is p ln p - p, and not p ln p."""
    rows = mixed(400)
    rows[:, 0] = 0.0
    rows[3:40:8, 0] = np.random.default_rng(0).standard_normal(5)
    assert_those_of_the_jackknife(rows, 0.3)


def test_folds_of_unequal_counts() -> None:
    rows, cuts = mixed(900), [100, 130, 300, 720]
    parts = np.split(rows, cuts)
    found = errors(spectrum_of_folds([update(Moments.empty(6), part) for part in parts]))
    left = [np.vstack(parts[:i] + parts[i + 1 :]) for i in range(len(parts))]
    values = [[getattr(analyse(each), name) for name in NAMES] for each in left]
    np.testing.assert_allclose(found, np.sqrt((len(parts) - 1) * np.var(values, axis=0)), rtol=0.15)


@pytest.mark.parametrize("kind", ["gaussian", "rectified", "one position in eight"])
def test_about_the_spread_of_repeated_probes(kind: str) -> None:
    draw = np.random.default_rng(0)
    mix = draw.standard_normal((8, 8))

    def probe() -> Spectrum:
        rows = draw.standard_normal((400, 8)) @ mix
        if kind != "one position in eight":
            return analyse(rows.clip(0) if kind == "rectified" else rows)
        folds = JackknifeFolds(8)
        folds.add(rows[:, None] + 0.1 * draw.standard_normal((400, 8, 1)))
        return spectrum_of_folds(folds.moments())

    drawn = [probe() for _ in range(200)]
    told = np.sqrt(np.mean([errors(each) ** 2 for each in drawn], axis=0))
    spread = np.std([[getattr(each, name) for name in NAMES] for each in drawn], axis=0)
    np.testing.assert_allclose(told, spread, rtol=0.2)


def test_small_correlations_are_not_taken_for_sure_ones() -> None:
    """The size of a correlation near 0 varies less than the correlation: with its sign for a slope, by 3/5 too much."""
    draw = np.random.default_rng(0)
    rows = [draw.standard_normal((800, 24)) for _ in range(40)]
    ratio = [analyse(each).mean_stderr / reference.jackknife(each)[2] for each in rows]  # type: ignore[operator]
    assert np.mean(ratio) == pytest.approx(1, abs=0.1)


@given(seed=st.integers(0, 10_000), filters=st.integers(1, 9), extra=st.integers(1, 60), dead=st.integers(0, 3))
@settings(deadline=None, max_examples=40)
def test_laws(seed: int, filters: int, extra: int, dead: int) -> None:
    """Neither the order nor a common scale of filters changes a standard error, and none is negative or endless."""
    draw = np.random.default_rng(seed)
    rows = mixed(2 * filters + extra, filters, seed)
    rows[:, : min(dead, filters)] = 0.5
    found = analyse(rows)
    if found.kl_stderr is None:
        assert len(rows) - -(-len(rows) // 8) <= filters
        return
    wanted = errors(found)
    assert (wanted >= 0).all()
    assert (wanted <= 2).all()
    np.testing.assert_allclose(errors(analyse(rows[:, draw.permutation(filters)])), wanted, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(errors(analyse(-1e4 * rows)), wanted, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_what_never_varies_is_known_for_sure(value: float) -> None:
    assert errors(analyse(np.full((60, 4), value))).tolist() == [0, 0, 0]
    assert errors(analyse(mixed(60, 1))).tolist() == [0, 0, 0]


def test_one_decomposition_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """A jackknife takes nine; the standardised spectrum waits until somebody asks for it."""
    asked = []
    for place, name in product((np.linalg, torch.linalg), ("eigh", "eigvalsh")):
        work = getattr(place, name)
        monkeypatch.setattr(place, name, lambda *a, work=work, **k: asked.append(work) or work(*a, **k))
    found = analyse(mixed())
    assert found.kl_stderr
    assert len(asked) == 1
    assert found.kl_ratio_standardised == found.kl_ratio_standardised
    assert len(asked) == 2
