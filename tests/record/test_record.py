"""The record: its keys, there and back again, and everything that is refused."""

import copy
import dataclasses
import json
from typing import Any

import pytest
import records
from any_record import anything
from hypothesis import given

from pfa_gate.errors import ArtifactError
from pfa_gate.record import (
    dumps,
    finite,
    from_dict,
    loads,
    to_dict,
)
from pfa_gate.record.manifest import read_manifest

# The keys that design.md section 8 promises to whoever reads record.json.
TOP = (
    "schema gate config versions seconds model probe layers recipe compressed scores budgets unmeasured baseline files "
    "written device weights answers run candidate inputs command quantized parity demands sparsity factorized"
)
LAYER = (
    "name kind filters samples kl kl_ratio kl_stderr kl_bias peak_correlation mean_correlation inactive "
    "eigenvalues keep kept skipped group calls kl_ratio_standardised peak_stderr mean_stderr correlations sensitivity"
)


@given(anything)
def test_there_and_back_again(record):
    assert from_dict(to_dict(record)) == record
    assert loads(dumps(record)) == record
    assert dumps(loads(dumps(record))) == dumps(record)


def test_the_keys_are_those_of_the_design():
    plain = to_dict(records.broken())
    assert next(iter(plain)) == "schema"
    assert plain["schema"] == "pfa_gate.record/1"
    assert set(plain) == set(TOP.split())
    assert set(plain["layers"][0]) == set(LAYER.split())
    assert {"id", "limit", "observed", "outcome", "sentence", "line"} <= set(plain["budgets"][0])
    assert set(plain["compressed"]["exact"]) == {"max_error", "passed"}
    assert {"parameters", "bytes", "macs", "exact", "put_back", "recovery", "form"} <= set(plain["compressed"])
    assert {"full", "compressed", "drop", "interval"} <= set(plain["scores"])
    assert plain["compressed"]["recovery"] == []


@pytest.mark.parametrize("example", [records.kept, records.broken, records.not_judged, records.deep])
def test_examples_survive(example):
    assert loads(dumps(example())) == example()
    assert dumps(example()) == dumps(example())


def test_json_is_readable_a_list_of_numbers_on_one_line():
    lines = dumps(records.broken()).splitlines()
    assert sum('"eigenvalues": [' in line and line.endswith("],") for line in lines) == 9
    assert json.loads("\n".join(lines)) == to_dict(records.broken())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_is_refused_with_its_place(bad):
    layers = (records.HEAD, dataclasses.replace(records.HEAD, kl=bad))
    record = dataclasses.replace(records.kept(), layers=layers)
    with pytest.raises(ArtifactError, match=r"layers\[1\]\.kl is"):
        dumps(record)
    assert finite(bad) is None


def changed(*path: Any, to: Any) -> dict[str, Any]:
    data = copy.deepcopy(to_dict(records.broken()))
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return data


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (None, "it has no schema"),
        ([], "it has no schema"),
        ({}, "it has no schema"),
        (changed("schema", to="pfa_gate.record/2"), "has the schema 'pfa_gate.record/2'"),
        (changed("schema", to=["x" * 9999]), "has the schema"),
        ({"schema": "pfa_gate.record/1"}, "The record lacks keys: 'baseline', 'budgets'"),
        (changed("extra", to=1), "The record has unknown keys: 'extra'"),
        (changed("layers", 0, "size", to=1), r"layers\[0\] has unknown keys: 'size'"),
        (changed("layers", 0, "filters", to=1.5), r"layers\[0\].filters should be a whole number, not 1.5"),
        (changed("layers", 0, "filters", to=True), r"layers\[0\].filters should be a whole number, not True"),
        (changed("layers", 0, "kl", to="high"), r"layers\[0\].kl should be a finite number, not 'high'"),
        (changed("layers", 0, "kl", to=10**400), r"layers\[0\].kl should be a finite number"),
        (changed("layers", 0, "eigenvalues", to=[0.5, None]), r"layers\[0\].eigenvalues\[1\] should be"),
        (changed("layers", to={}), "layers should be a list"),
        (changed("model", to=None), "model should be an object, not None"),
        (changed("budgets", 0, "outcome", to="passed"), r"budgets\[0\].outcome should be one of 'kept'"),
        (changed("budgets", 0, "outcome", to=["kept"]), r"budgets\[0\].outcome should be one of 'kept'"),
        (changed("scores", "interval", to=[1.0]), "scores.interval should be a list of 2"),
        (changed("versions", to=[1]), "versions should be an object"),
        (changed("versions", "torch", to=2), "versions.torch should be a string, not 2"),
        (changed("compressed", "exact", "passed", to=1), "compressed.exact.passed should be true or false"),
    ],
)
def test_what_is_not_exactly_a_record_is_refused(data, fault):
    with pytest.raises(ArtifactError, match=fault) as caught:
        from_dict(data)
    assert caught.value.remedy
    assert len(caught.value.fact) < 300


def test_a_record_written_before_a_key_was_there_is_read():
    data = to_dict(records.broken())
    del data["written"]
    for layer in data["layers"]:
        del layer["correlations"]
    assert from_dict(data) == records.broken()


@pytest.mark.parametrize(("metric", "share"), [("accuracy", True), ("top5", True), ("net:loss", False)])
def test_scores_of_older_records_are_of_a_higher_is_better_and_shares_by_their_name(metric, share):
    data = to_dict(records.broken())
    data["scores"]["metric"] = metric
    for key in ("direction", "unit", "chance"):
        del data["scores"][key]
    scores = from_dict(data).scores
    assert (scores.share, scores.lower, scores.chance) == (share, False, "")
    assert scores.measure().fall == pytest.approx(scores.drop)


@pytest.mark.parametrize("content", ["", "{", "NaN", '"x"', "[" * 100_000, '{"schema": "pfa_gate.record/1", '])
def test_what_is_not_json_is_refused(content):
    with pytest.raises(ArtifactError):
        loads(content)


@pytest.mark.parametrize("content", ['{"schema": 1, "schema": 2}', '{"a": [{"schema": 1, "b": 2, "schema": 1}]}'])
def test_a_key_that_is_there_twice_is_refused(content):
    with pytest.raises(ArtifactError, match="The record has the key 'schema' twice"):
        loads(content)


def test_a_number_of_thousands_of_digits_is_refused():
    with pytest.raises(ArtifactError, match="The record is not JSON: Exceeds the limit"):
        loads(f'{{"schema": {"9" * 5000}}}')


def test_nan_in_json_is_refused():
    with pytest.raises(ArtifactError, match=r"layers\[0\].kl should be a finite number, not nan"):
        loads(json.dumps(changed("layers", 0, "kl", to=float("nan"))))


def test_a_layer_gives_what_budgets_are_judged_on():
    layer = records.layer("conv", 16, 0.2)
    measure = layer.measure()
    for field in dataclasses.fields(measure):
        assert getattr(measure, field.name) == getattr(layer, field.name)


def test_a_manifest_that_does_not_fit_is_called_a_manifest():
    with pytest.raises(ArtifactError) as caught:
        read_manifest(json.dumps({"schema": "pfa_gate.run/1", "run": "ab", "status": 0}))
    assert str(caught.value) == (
        "The manifest lacks keys: 'begun', 'gates', 'unlisted'.\n  Run `pytest --pfa` again to write a fresh one."
    )
