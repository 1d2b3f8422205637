"""From a baseline written by one run to the changes that reports of the next one tell."""

import dataclasses

import records

from pfa_gate.record.baseline import Stamp, baseline_entry, baseline_of, comparison
from pfa_gate.report.baseline import baseline_value, change_since, signed_change
from pfa_gate.report.ci import scalars

SUBJECT = {"factory": "net:build"}


def judged_against(today, yesterday):
    """Today's record, compared with what yesterday's run would have written."""
    gates = {today.gate: baseline_entry(yesterday, Stamp("2026-11-19", "abc", SUBJECT))}
    found = baseline_of(gates, today.gate, "pfa.baseline.json", SUBJECT)
    against = comparison(found, [layer.measure() for layer in today.layers], today.probe.sha256)
    return dataclasses.replace(today, baseline=against)


def test_every_layer_is_told_by_how_much_it_moved():
    record = judged_against(records.broken(), records.kept())
    for now, was in zip(record.layers, records.kept().layers, strict=True):
        if now.skipped is None:
            assert abs(change_since(record, now, "kl") - (now.kl_ratio - was.kl_ratio)) < 1e-6
            assert change_since(record, now, "inactive") == now.inactive - was.inactive
        else:
            assert change_since(record, now, "kl") is None


def test_an_unchanged_run_has_nothing_to_show():
    record = judged_against(records.kept(), records.kept())
    assert {
        signed_change(change_since(record, layer, key), key) for layer in record.layers for key in ("kl", "inactive")
    } == {""}


def test_a_renamed_layer_is_compared_with_what_it_was():
    yesterday = records.kept()
    first, *rest = yesterday.layers
    today = dataclasses.replace(yesterday, layers=(dataclasses.replace(first, name="entry"), *rest))
    record = judged_against(today, yesterday)
    assert record.baseline.renamed == {"entry": "stem"}
    assert abs(change_since(record, record.layers[0], "kl")) < 1e-6


def test_the_whole_models_values_are_told_in_their_units():
    record = judged_against(records.broken(), records.kept())
    told = {finding.id: baseline_value(record, finding.id) for finding in record.budgets}
    assert told["model.parameters"] == "186 k"
    assert told["model.bytes"] == "746 kB"
    assert told["compressed.macs"] == "4.21 M"
    assert told["compressed.accuracy_drop"] == "0.28 pp"
    assert told["compressed.latency"] == "91.3%"
    assert told["layers.kl"] == ""


def test_a_baseline_of_another_kind_is_not_compared():
    record = judged_against(records.kept(), records.kept())
    refused = dataclasses.replace(record.baseline, refusal="model.factory was a then and is b now")
    record = dataclasses.replace(record, baseline=refused)
    assert change_since(record, record.layers[0], "kl") is None
    assert baseline_value(record, "model.bytes") == ""


def test_scalars_have_both_in_one_unit():
    record = judged_against(records.kept(), records.kept())
    for finding in record.budgets:
        told = scalars(record, finding)
        if "pfa_baseline" in told:
            assert abs(told["pfa_baseline"] - told["pfa_value"]) < 1e-6 * max(1, abs(told["pfa_value"]))
    assert sum("pfa_baseline" in scalars(record, finding) for finding in record.budgets) == 7
