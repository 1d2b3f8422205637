"""Scalars of a budget: plain types, the numbers of the record, the worst layer."""

import records
from examples import changed

from pfa_gate.report.ci import scalars


def found(record):
    return {finding.id: scalars(record, finding) for finding in record.budgets}


def test_nothing_but_plain_types():
    for record in (records.kept(), records.broken(), records.not_judged(), changed()):
        for each in found(record).values():
            assert {type(value) for value in each.values()} <= {str, int, float}


def test_sizes_drops_and_the_proof_in_plain_units():
    told = found(records.broken())
    assert told["model.parameters"]["pfa_value"] == 186_442
    assert told["compressed.macs"]["pfa_value"] == 3_104_272
    assert told["compressed.accuracy_drop"]["pfa_value"] == 0.01388
    assert told["compressed.latency"]["pfa_value"] == 1.042
    assert told["exact"]["pfa_value"] == 3.07e-07


def test_the_worst_layer_by_how_far_it_is_above_its_limit():
    told = found(records.broken())["layers.kl"]
    layer = records.broken().layers[4]
    assert (told["pfa_layer"], told["pfa_value"]) == (layer.name, layer.kl_ratio)
    assert (told["pfa_layers"], told["pfa_layers_broken"]) == (8, 2)


def test_the_baselines_value_is_there_where_it_has_one():
    told = found(changed())
    assert told["model.parameters"]["pfa_baseline"] == 180_000.0
    assert "pfa_baseline" not in told["model.macs"]


def test_what_was_not_measured_has_no_value():
    assert "pfa_value" not in found(records.not_judged())["compressed.parameters"]
