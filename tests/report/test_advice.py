"""What a failure says beside the fact."""

import dataclasses

import pytest
import records

from pfa_gate.budget import Finding
from pfa_gate.record import Compared, Record
from pfa_gate.report.advice import advice, fewest_cut


def broken(record: Record, name: str) -> Finding:
    (finding,) = [each for each in record.budgets if each.id == name]
    assert finding.outcome == "broken"
    return finding


def test_the_worst_layers_come_first_with_their_cause_and_a_cure() -> None:
    record = records.broken()
    said = advice(record, broken(record, "layers.kl"))
    assert [line.partition(":")[0] for line in said[:2]] == ["layer2.0.conv2", "layer2.0.shortcut"]
    assert "the cause is scale" in said[0] or "the cause is correlation" in said[0]
    assert "3 of 64 filters never move" in said[1]
    assert said[-1].startswith("A recipe that keeps ")


@pytest.mark.parametrize(("standardised", "cause"), [(0.1, "scale"), (0.9, "correlation")])
def test_scale_is_told_from_correlation(standardised: float, cause: str) -> None:
    wide = dataclasses.replace(records.layer("stem", 32, 0.5, 0.93, 0.4), kl_ratio_standardised=standardised)
    record = records.record((wide,), {"layers": [{"match": "*", "kl": 0.5}]})
    assert f"the cause is {cause}" in advice(record, broken(record, "layers.kl"))[0]


def test_the_cure_keeps_its_word() -> None:
    record = records.broken()
    for layer in record.layers[:-1]:
        keep = fewest_cut(layer.eigenvalues, 0.3)
        assert keep is not None
        values = [value / sum(layer.eigenvalues[:keep]) for value in layer.eigenvalues[:keep]]
        again = fewest_cut(values, 0.3)
        assert again == keep
        assert fewest_cut(layer.eigenvalues[: keep + 1], 0.3) in (keep, keep + 1)


def test_no_cure_is_invented() -> None:
    assert fewest_cut([1.0, 0.0], 0.5) is None
    assert fewest_cut([0.0, 0.0], 0.5) is None
    assert fewest_cut([0.25] * 4, 0.0) == 4


def test_what_changed_since_the_baseline_is_said() -> None:
    base = Compared("b", "2026-11-12", "", changed=("the weights",))
    record = dataclasses.replace(records.broken(), baseline=base)
    assert advice(record, broken(record, "layers.kl"))[-1] == "Changed since the baseline: the weights."


def test_sizes_and_drops() -> None:
    record = records.broken()
    tight = records.judged(record, {**records.BUDGETS, "compressed": {"parameters": "10%", "accuracy_drop": "0.5 pp"}})
    assert advice(tight, broken(tight, "compressed.parameters")) == (
        "Write recipe: {strategy: parameters, parameters: 10%}: it finds the counts that keep this limit, "
        "or says how near it gets.",
    )
    small = records.judged(record, {**records.BUDGETS, "model": {"macs": 1}})
    assert advice(small, broken(small, "model.macs"))[0].endswith(" MACs.")
    assert advice(tight, broken(tight, "compressed.accuracy_drop"))[0].startswith("Write recovery: [compensate]")


def test_a_kept_budget_needs_none() -> None:
    record = records.kept()
    assert all(advice(record, finding) == () for finding in record.budgets)
