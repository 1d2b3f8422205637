"""timm's models at half the filters of every free group: none wrong, none a traceback, no layer said to be unused."""

import os
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from image_models import IMAGE_MODELS, stand_in
from judging import distance, halves, outputs
from networks import conditioned

from pfa_gate.cost import cost
from pfa_gate.coupling import inputs_of, trace
from pfa_gate.loading import batch_of
from pfa_gate.probe import chosen_layers
from pfa_gate.surgery import compress


@pytest.fixture(scope="module", autouse=True)
def _timm() -> Iterator[None]:
    if find_spec("timm") is None:
        if "CI" in os.environ:
            pytest.fail("timm is not installed: pip install --no-deps -c constraints.txt timm torchvision pillow")
        pytest.skip("not run: timm is not installed")
    held = stand_in()
    yield
    del held


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_half_of_every_group(name: str) -> None:
    entry = IMAGE_MODELS[name]
    model, example = conditioned(entry.build()), entry.example()
    found = trace(model, example)
    assert chosen_layers(model, found.layers, ["*"], [], example)
    result = compress(model, found, halves(found), inputs_of(example))
    assert result.put_back == {}
    assert result.proof.passed
    assert distance(outputs(result.model, example), outputs(model, example)) > 1e-3
    whole, small = (cost(each, batch_of(example)) for each in (model, result.model))
    assert small.parameters < 0.5 * whole.parameters
    assert small.macs < whole.macs
