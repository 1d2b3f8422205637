"""Gate folders of small networks, written once for all tests of this folder."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from networks import coupling, network
from torch import nn

from pfa_gate import artifacts
from pfa_gate.compress.prune import PrunedModel, compress
from pfa_gate.graph.cost import stored
from pfa_gate.record import CompressedRecord, Exact, Probe, RecipeRecord, Record, Size


@cache
def halved(name: str) -> PrunedModel:
    """A network with every other filter of every free group."""
    model, example = network(name)
    keep = {group.name: np.arange(group.width)[::2] for group in coupling(name).free}
    return compress(model, coupling(name), keep, ((example,), {}))


def blank(name: str, compressed: PrunedModel) -> Record:
    """A record of a run in which nothing but the surgery is told."""
    size, held = Size(1, 4, 1), stored(compressed.model)
    part = CompressedRecord(held.parameters, held.bytes, 1, None, Exact(0.0, True), form=compressed.form)
    recipe = RecipeRecord("energy", 0.5, {group.name: group.width // 2 for group in coupling(name).free})
    return Record(name, "pfa.yaml", {}, {}, size, Probe(2, "ab"), recipe=recipe, compressed=part)


def written(name: str, output: Path, forms: Sequence[str] | None = None) -> tuple[Record, nn.Module]:
    """The record and the compressed model of a folder just written."""
    compressed = halved(name)
    inputs = ((network(name)[1],), {})
    delivery = artifacts.Delivery(compressed, coupling(name), inputs, forms)
    record = artifacts.write(output, blank(name, compressed), delivery)
    return record, compressed.model


@pytest.fixture(scope="session", params=["residual", "padded_shortcut"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """A gate's folder and the compressed model in it: one of the form module, one of the form graph."""
    output = tmp_path_factory.mktemp("output")
    _, model = written(request.param, output)
    return output / request.param, model
