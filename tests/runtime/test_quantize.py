"""A file with 8 bits for each number: what it holds, what it gives, and where activations or weights stay floating."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import float_files
import numpy as np
import onnx
import onnxruntime
import pytest
from float_files import Array, attention, convolutions, images, recurrent, stored_in
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pfa_gate.runtime.calibration import suffering
from pfa_gate.runtime.quantize import EXCLUDED, Int8Model, NotQuantizedError, quantize, rounded


def outputs(content: bytes, feed: dict[str, Array]) -> Array:
    given: Array = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, feed)[0]
    return given


def off(content: bytes, floating: bytes, feed: dict[str, Array]) -> float:
    """Error of the outputs relative to the spread of what the floating file gives."""
    wanted, found = outputs(floating, feed), outputs(content, feed)
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted - wanted.mean(0)))


@pytest.fixture(scope="module")
def made() -> Int8Model:
    return quantize(convolutions(), [{"x": images(16)}])


def test_weights_have_a_scale_for_each_filter_and_activations_a_signed_zero_point(made: Int8Model) -> None:
    held = stored_in(made.content)
    kinds = {name: (values.dtype.name, values.shape) for name, values in held.items()}
    assert (made.scheme, made.reason, made.floating) == ("static", "", {})
    for layer, filters in (("first", 8), ("second", 6), ("head", 4)):
        shape = stored_in(convolutions())[f"{layer}.weight"].shape
        assert kinds[f"{layer}.weight_quantized"] == ("int8", shape)
        assert kinds[f"{layer}.weight_scale"] == ("float32", (filters,))
        assert not held[f"{layer}.weight_zero_point"].any()
        assert kinds[f"{layer}.bias_quantized"] == ("int32", (filters,))
    zero_points = {name: values for name, values in held.items() if name.endswith("zero_point") and not values.ndim}
    assert {values.dtype.name for values in zero_points.values()} == {"int8"}
    assert any(values for values in zero_points.values())


def test_its_answers_are_near_those_of_the_floating_file(made: Int8Model) -> None:
    assert off(made.content, convolutions(), {"x": images(50, seed=9)}) < 0.15


def reference(content: bytes, feed: dict[str, Array]) -> Array:
    """What the file gives without optimisations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    given: Array = session.run(None, feed)[0]
    return given


def test_weights_of_7_bits_saturate_on_no_processor(made: Int8Model) -> None:
    feed = {"x": images(50, seed=9)}
    weights = [values for name, values in stored_in(made.content).items() if name.endswith("weight_quantized")]
    assert (made.weight_bits, max(int(np.abs(values.astype(int)).max()) for values in weights)) == (7, 64)
    assert np.allclose(outputs(made.content, feed), reference(made.content, feed), atol=1e-4)


def test_all_8_bits_are_used_if_asked_for() -> None:
    made = quantize(convolutions(), [{"x": images(16)}], reduced=False)
    weights = [values for name, values in stored_in(made.content).items() if name.endswith("weight_quantized")]
    assert (made.weight_bits, max(int(np.abs(values.astype(int)).max()) for values in weights)) == (8, 127)


def test_nothing_of_the_exporters_notes_is_left(made: Int8Model) -> None:
    assert b"pkg.torch" in convolutions()
    assert b"pkg.torch" not in made.content


def test_two_runs_give_the_same_bytes(made: Int8Model) -> None:
    assert quantize(convolutions(), [{"x": images(16)}]).content == made.content


def test_how_the_samples_are_dealt_out_changes_no_byte(made: Int8Model) -> None:
    parts = [{"x": images(16)[start : start + 3]} for start in range(0, 16, 3)]
    assert quantize(convolutions(), parts).content == made.content


def test_another_process_gives_the_same_bytes(made: Int8Model, torch_python: str) -> None:
    code = """
import hashlib, float_files
from pfa_gate.runtime.quantize import quantize
made = quantize(float_files.convolutions(), [{"x": float_files.images(16)}])
print(hashlib.sha256(made.content).hexdigest())
"""
    here = str(Path(__file__).parent)
    command = [torch_python, "-c", f"import sys; sys.path.insert(0, {here!r})\n{code}"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.split() == [hashlib.sha256(made.content).hexdigest()]
    assert sys.flags.hash_randomization


def test_one_sample_is_enough_to_calibrate_on() -> None:
    made = quantize(convolutions(), [{"x": images(1)}])
    found, wanted = outputs(made.content, {"x": images(1)}), outputs(convolutions(), {"x": images(1)})
    assert made.scheme == "static"
    assert np.linalg.norm(found - wanted) < 0.1 * np.linalg.norm(wanted)


def test_a_layer_that_is_spared_keeps_its_floating_weights() -> None:
    made = quantize(convolutions(), [{"x": images(16)}], lambda layer: layer == "second")
    held, before = stored_in(made.content), stored_in(convolutions())
    assert made.floating == {"second": EXCLUDED}
    assert np.array_equal(held["second.weight"], before["second.weight"])
    assert np.array_equal(held["second.bias"], before["second.bias"])
    assert held["first.weight_quantized"].dtype == np.int8


def test_where_every_layer_is_spared_there_is_no_file() -> None:
    with pytest.raises(NotQuantizedError, match="leaves none"):
        quantize(convolutions(), [{"x": images(4)}], lambda layer: True)


def test_attention_leaves_activations_floating_and_weights_within_half_a_step() -> None:
    ids = np.random.default_rng(0).integers(0, 20, (6, 5))
    made = quantize(attention(), [{"ids": ids}])
    held, before = stored_in(made.content), stored_in(attention())
    assert (made.scheme, made.floating) == ("weights", {})
    assert made.reason == "attention multiplies activations with one another, as attention does"
    for name, axis in (("tokens.weight", None), ("keys", 1), ("head.weight", 0)):
        scale = held[f"{name}_scale"]
        step = scale if axis is None else np.expand_dims(scale, 1 - axis)
        assert held[f"{name}_int8"].dtype == np.int8
        assert (np.abs(held[f"{name}_int8"] * step - before[name]) <= step / 2 * (1 + 1e-6)).all()
    assert "QuantizeLinear" not in {each.op_type for each in onnx.load_from_string(made.content).graph.node}
    assert off(made.content, attention(), {"ids": ids}) < 0.04


def test_what_the_quantizer_lacks_gets_int8_weights_and_what_nothing_has_is_named() -> None:
    x = float_files.drawn(6, 7, 6, seed=8)
    made = quantize(recurrent(), [{"x": x}])
    held = stored_in(made.content)
    assert (made.scheme, made.floating) == ("static", {"mixer": "Einsum has no form of 8 bits"})
    assert {held[name].dtype.name for name in ("input_int8", "hidden_int8", "head.weight_quantized")} == {"int8"}
    assert held["input_scale"].shape == (16,)
    assert held["mixing"].dtype == np.float32
    assert off(made.content, recurrent(), {"x": x}) < 0.05


def test_a_range_without_end_leaves_activations_floating() -> None:
    x = images(4)
    x[0, 0, 0, 0] = np.inf
    made = quantize(convolutions(), [{"x": x}])
    assert made.scheme == "weights"
    assert made.reason.startswith("the quantizer does not make it: ")


def test_a_file_of_the_runtimes_that_fails_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(content: bytes, name: str, **_: Any) -> Any:
        from pfa_gate.errors import CandidateError  # noqa: PLC0415

        raise CandidateError(f"ONNX Runtime does not take {name}: Fail.")

    monkeypatch.setattr("pfa_gate.runtime.quantize.onnx_session", refusing)
    with pytest.raises(NotQuantizedError, match="ONNX Runtime does not take the int8 file: Fail"):
        quantize(attention(), [{"ids": np.zeros((2, 5), np.int64)}])


weights = arrays.arrays(
    np.float32, arrays.array_shapes(min_dims=2, max_dims=3, max_side=5), elements=st.floats(-1e3, 1e3, width=32)
)


@given(weights, st.sampled_from([None, 0, 1]))
@example(np.full((2, 2), 1e-44, np.float32), 0)
@example(np.full((2, 2), 190 * 1.4e-45, np.float32), None)
def test_a_rounded_weight_is_within_half_a_step(values: Array, axis: int | None) -> None:
    whole, scale = rounded(values, axis)
    shape = [1] * values.ndim
    if axis is not None:
        shape[axis] = -1
    step = scale.reshape(shape).astype(np.float64)
    assert whole.dtype == np.int8
    assert int(np.abs(whole.astype(int)).max()) <= 127
    assert (np.abs(whole * step - values) <= step * 0.501).all()


def test_the_layers_that_suffer_are_read_off_both_files(made: Int8Model) -> None:
    feed = {"x": images(8, seed=11)}
    rows = suffering(convolutions(), made, [feed])
    assert sorted(row.name for row in rows) == ["first", "head", "second"]
    ratios = [row.noise_ratio for row in rows]
    assert ratios == sorted(ratios)
    wanted = outputs(convolutions(), feed).astype(float)
    found = reference(made.content, feed)
    of_head = next(row.noise_ratio for row in rows if row.name == "head")
    assert of_head == pytest.approx(10 * np.log10((wanted**2).sum() / ((wanted - found) ** 2).sum()), abs=0.01)


def test_a_table_with_one_huge_row_suffers_most_before_its_readers() -> None:
    proto = onnx.load_from_string(attention())
    for tensor in proto.graph.initializer:
        if tensor.name == "tokens.weight":  # one scale for all of the table
            values = onnx.numpy_helper.to_array(tensor).copy()
            values[19] *= 100
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    feed = {"ids": np.random.default_rng(0).integers(0, 19, (6, 5))}
    found = {}
    for content in (proto.SerializeToString(), attention()):
        rows = suffering(content, quantize(content, [feed]), [feed])
        found[content] = {row.name: row.noise_ratio or 0.0 for row in rows}
    worse, better = found.values()
    assert worse["tokens"] < 15
    assert better["tokens"] > 30


def test_equal_outputs_have_no_noise() -> None:
    whole = Int8Model(convolutions(), "static", "", {}, quantize(convolutions(), [{"x": images(2)}]).nodes)
    assert [row.noise_ratio for row in suffering(convolutions(), whole, [{"x": images(2)}])] == [None] * 3
