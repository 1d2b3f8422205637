"""Spectra of groups, against NumPy on the responses themselves."""

import numpy as np
import pytest
import torch
from networks import coupling, network
from torch import nn

from pfa_gate.analysis.responses import respond
from pfa_gate.errors import InactiveModelError, NotFiniteError, TooFewSamplesError
from pfa_gate.graph import trace
from pfa_gate.pipeline.spectra import Spectra, responses, spectra


def measured(name: str, samples: int = 64) -> tuple[Spectra, list[dict[str, np.ndarray]]]:
    found = coupling(name)
    _, example = network(name)
    batches = torch.randn(samples, *example.shape[1:], generator=torch.Generator().manual_seed(5)).split(10)
    taps = [tap for part in (*found.layers, *found.free) for tap in part.taps]
    stream = [dict(each) for each in respond(found.program, batches, taps)]
    result = spectra(found.groups, found.layers, responses(found.layers, found.free, stream))
    return result, [{node: rows.numpy() for node, rows in each.items()} for each in stream]


def trace_normalised(rows: np.ndarray) -> np.ndarray:
    matrix = np.cov(rows.astype(np.float64), rowvar=False)
    return matrix / np.trace(matrix)


def test_a_group_takes_the_mean_of_its_trace_normalised_covariances() -> None:
    result, stream = measured("depthwise")
    group = coupling("depthwise").group("expand")
    parts = []
    for tap in group.taps:
        rows = np.concatenate([batch[tap.node] for batch in stream])
        copies = rows.shape[1] // group.width
        parts += [trace_normalised(rows[:, copy::copies]) for copy in range(copies)]
    eigenvalues = np.linalg.eigvalsh(np.mean(parts, axis=0))[::-1]
    np.testing.assert_allclose(result.groups["expand"].eigenvalues, eigenvalues / eigenvalues.sum(), atol=1e-9)


def test_a_group_that_one_layer_makes_alone_has_the_spectrum_of_that_layer() -> None:
    result, _ = measured("depthwise")
    group = next(group for group in coupling("depthwise").free if len(group.taps) == 1 and len(group.layers) == 1)
    assert result.groups[group.name] is result.layers[group.layers[0]]


def test_a_layer_called_twice_counts_every_call() -> None:
    result, stream = measured("shared")
    layer = next(layer for layer in coupling("shared").layers if layer.name == "twice")
    rows = np.concatenate([batch[tap.node] for batch in stream for tap in layer.taps])
    eigenvalues = np.linalg.eigvalsh(np.cov(rows.astype(np.float64), rowvar=False))[::-1]
    np.testing.assert_allclose(result.layers["twice"].eigenvalues, eigenvalues / eigenvalues.sum(), atol=1e-7)
    assert result.layers["twice"].samples == 128


def test_frozen_groups_are_whole_and_say_why() -> None:
    result, _ = measured("residual")
    assert result.whole == {"head": "it feeds the model's output"}


def test_groups_with_an_excluded_layer_are_whole() -> None:
    found = coupling("residual")
    chosen = [layer for layer in found.layers if layer.name != "conv2"]
    rows = {tap.node: torch.randn(40, 16) for layer in found.layers for tap in layer.taps}
    rows |= {tap.node: torch.randn(40, group.width) for group in found.free for tap in group.taps}
    rows |= {layer.taps[0].node: torch.randn(40, layer.filters) for layer in found.layers}
    result = spectra(found.groups, chosen, responses(found.layers, (), [rows]))
    assert result.whole["stem"] == "layer 'conv2' is excluded"


def test_too_few_samples_names_the_layer() -> None:
    with pytest.raises(TooFewSamplesError) as caught:
        measured("residual", samples=16)
    assert caught.value.where == ("layer 'shortcut'",)


def dead() -> tuple[nn.Module, torch.Tensor]:
    model, example = network("sequence")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model, example


def test_a_model_in_which_nothing_responds_is_an_error() -> None:
    model, example = dead()
    found = trace(model, example)
    taps = [tap for layer in found.layers for tap in layer.taps]
    stream = respond(found.program, [torch.randn(40, 4, 9)], taps)
    with pytest.raises(InactiveModelError, match="No filter of any layer responds"):
        spectra((), found.layers, responses(found.layers, (), stream))


def test_nan_names_the_layer_and_the_filters() -> None:
    model, example = network("sequence")
    with torch.no_grad():
        model.get_submodule("conv").bias[3] = float("nan")
    found = trace(model, example)
    stream = respond(found.program, [torch.randn(40, 4, 9)], found.layers[0].taps)
    with pytest.raises(NotFiniteError) as caught:
        responses(found.layers, (), stream)
    assert caught.value.where == ("layer 'conv'",)
    assert "filter 3" in caught.value.fact
