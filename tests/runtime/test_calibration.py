"""The samples that a file is calibrated on are the first of the probe, however it is batched."""

import numpy as np
import pytest
import torch
from float_files import attention, convolutions, drawn, file, node

from pfa_gate.errors import CandidateError
from pfa_gate.model import Batch
from pfa_gate.runtime.calibration import feeds_of, in_small_parts
from pfa_gate.runtime.onnx_module import OnnxModel
from pfa_gate.runtime.session import onnx_session

SAMPLES = torch.arange(10.0)[:, None] * torch.ones(3)


def model(content: bytes) -> OnnxModel:
    return OnnxModel(onnx_session(content, "the file"), "the file")


def linear(batch: int | str) -> OnnxModel:
    nodes = [node("Gemm", "x weight", "output", "head")]
    return model(file(nodes, {"weight": drawn(3, 2)}, {"x": [batch, 3]}, [batch, 2]))


@pytest.mark.parametrize("size", [1, 3, 4, 10])
@pytest.mark.parametrize("samples", [1, 4, 7, 10, 99])
def test_as_many_of_the_first_samples_as_are_asked_for(size: int, samples: int) -> None:
    batches = [Batch((part,), {}) for part in SAMPLES.split(size)]
    found = np.concatenate([feed["x"] for feed in feeds_of(linear("batch"), batches, samples)])
    assert np.array_equal(found, SAMPLES[:samples].numpy())


def test_a_file_of_a_fixed_batch_is_called_in_parts_and_filled_up_with_the_last_sample() -> None:
    feeds = list(feeds_of(linear(4), [Batch((SAMPLES,), {})], 6))
    assert [feed["x"][:, 0].tolist() for feed in feeds] == [[0, 1, 2, 3], [4, 5, 5, 5]]


def test_samples_go_to_inputs_by_name() -> None:
    ids = torch.arange(15).reshape(3, 5)
    (feed,) = feeds_of(model(attention()), [Batch((), {"ids": ids, "mask": ids > 0})], 2)
    assert list(feed) == ["ids"]
    assert np.array_equal(feed["ids"], ids[:2].numpy())


def test_samples_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(CandidateError, match="does not fit the inputs of the file"):
        list(feeds_of(model(convolutions()), [Batch((SAMPLES,), {})], 2))


def test_layers_are_compared_on_a_few_samples_at_a_time() -> None:
    batches = [Batch((part,), {}) for part in SAMPLES.split(6)]
    assert [batch.size for batch in in_small_parts(batches)] == [4, 2, 4]
