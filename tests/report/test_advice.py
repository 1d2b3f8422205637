"""What a failure says beside the fact."""

import dataclasses
import re

import pytest
import records
import yaml

from pfa_gate.budget import Finding, LayerFinding
from pfa_gate.record import Compared, RecipeRecord, Record, RecoveryStep
from pfa_gate.redundancy import most_within_kl
from pfa_gate.report.advice import advice


def broken(record: Record, name: str) -> Finding:
    (finding,) = [each for each in record.budgets if each.id == name]
    assert finding.outcome == "broken"
    return finding


def test_the_remedy_comes_first_then_the_causes_of_the_worst_layers() -> None:
    record = records.broken()
    assert advice(record, broken(record, "layers.kl")) == (
        "Ship the compressed model, or build the model this narrow: it keeps 8 of 64 in layer2.0.conv2 "
        "(25 would be enough), 10 of 64 in layer2.0.shortcut (25 would be enough).",
        "layer2.0.conv2: the cause is scale: with all filters at one variance its KL ratio is 0.490.",
        "layer2.0.shortcut: 3 of 64 filters never change, dead or constant.",
    )


def test_layers_of_one_group_have_one_count() -> None:
    """They are cut alike, so the least that one of them can bear is what a recipe must keep."""
    record = records.broken()
    both = {"layer2.0.conv2", "layer2.0.shortcut"}
    counts = [most_within_kl(layer.eigenvalues, 0.5) for layer in record.layers if layer.name in both]
    assert len(set(counts)) == 2, "each by itself would be cut otherwise"
    remedy = advice(record, broken(record, "layers.kl"))[0]
    assert remedy.count(f"({min(filter(None, counts))} would be enough)") == 2


WIDE = records.layer("conv0", 96, 0.6)
KL = {"layers": [{"match": "*", "kl": 0.3}]}


def remedies(keep: int | None, recipe: RecipeRecord | None, group: str | None = "conv0") -> tuple[str, ...]:
    layer = dataclasses.replace(WIDE, keep=keep, kept=None, group=group)
    record = records.record((layer,), KL, recipe=recipe)
    return tuple(said for said in advice(record, broken(record, "layers.kl")) if not said.startswith("conv0: "))


def test_a_remedy_for_kl_never_contradicts_the_table() -> None:
    frozen = RecipeRecord("kl", None, {}, {"conv0": "it feeds a sum with the input"})
    assert remedies(None, frozen) == (
        "Build the model with 8 of 96 in conv0 (8%): no recipe cuts these layers (it feeds a sum with the input).",
    )
    assert remedies(None, frozen, group=None) == (
        "Build the model with 8 of 96 in conv0 (8%): no recipe cuts these layers.",
    )
    assert remedies(None, RecipeRecord("kl", None, {"conv0": 96})) == (
        "A recipe that keeps 8 of 96 in conv0 (8%; this one keeps all) brings the compressed layers under the limit.",
    )
    assert remedies(40, RecipeRecord("kl", None, {"conv0": 40})) == (
        "A recipe that keeps 8 of 96 in conv0 (8%) brings the compressed layers under the limit.",
    )
    assert remedies(3, RecipeRecord("kl", None, {"conv0": 3})) == (
        "Ship the compressed model, or build the model this narrow: it keeps 3 of 96 in conv0 (8 would be enough).",
    )


def test_correlated_and_inactive_filters_have_a_remedy() -> None:
    record = records.broken()
    assert advice(record, broken(record, "layers.peak_correlation"))[:2] == (
        "One filter of each such pair can go: build layer2.0.conv2 with fewer filters, and train again.",
        'To accept it, write the rule {match: "layer2.0.conv2", peak_correlation: 0.994} after the others.',
    )
    assert advice(record, broken(record, "layers.inactive"))[0] == (
        "A recipe cuts filters that never change first: ship the compressed model, or build the model with "
        "61 of 64 in layer2.0.shortcut, or train again from another start."
    )


@pytest.mark.parametrize("name", ["layer2.0.conv2", "0", "true", 'a"b: c'])
def test_the_rule_that_accepts_a_layer_does(name: str) -> None:
    rules = [{"match": "*", "peak_correlation": 0.5}]
    record = records.record((records.layer(name, 32, 0.2, 0.9932),), {"layers": rules})
    said = advice(record, broken(record, "layers.peak_correlation"))[1]
    rule = yaml.safe_load(said[said.index("{") : said.rindex("}") + 1])
    again = records.judged(record, {"layers": [*rules, rule]})
    assert next(each for each in again.budgets if each.id == "layers.peak_correlation").outcome == "kept"


STEPS = (RecoveryStep("compensate", 0.9, 1.0),)


@pytest.mark.parametrize("strategy", ["kl", "energy", "parameters", "bytes", "macs"])
@pytest.mark.parametrize("steps", [(), STEPS], ids=["cut", "recovered"])
@pytest.mark.parametrize("name", [each.name for each in records.gate().budgets_declared()])
def test_every_broken_budget_has_a_remedy(name: str, steps: tuple[RecoveryStep, ...], strategy: str) -> None:
    record = records.broken()
    assert record.compressed is not None
    assert record.recipe is not None
    changed = dataclasses.replace(
        record,
        compressed=dataclasses.replace(record.compressed, recovery=steps),
        recipe=dataclasses.replace(record.recipe, strategy=strategy, energy=None if strategy == "kl" else 0.9),
    )
    finding = dataclasses.replace(next(each for each in record.budgets if each.id == name), outcome="broken")
    if name.startswith("layers."):
        details = (LayerFinding("stem", 0.1, 0.2, "broken"), *finding.details)
        finding = dataclasses.replace(finding, details=details)
    verbs = r"(Write|Build|Cut|Leave|A larger|A recipe|One filter|Ship|The recipe keeps)"
    assert re.match(verbs, advice(changed, finding)[0])


@pytest.mark.parametrize(("standardised", "cause"), [(0.1, "scale"), (0.9, "correlation")])
def test_scale_is_told_from_correlation(standardised: float, cause: str) -> None:
    wide = dataclasses.replace(records.layer("stem", 32, 0.5, 0.93, 0.4), kl_ratio_standardised=standardised)
    record = records.record((wide,), {"layers": [{"match": "*", "kl": 0.5}]})
    assert f"the cause is {cause}" in advice(record, broken(record, "layers.kl"))[1]


def test_the_cure_keeps_its_word() -> None:
    record = records.broken()
    for layer in record.layers[:-1]:
        keep = most_within_kl(layer.eigenvalues, 0.3)
        assert keep is not None
        values = [value / sum(layer.eigenvalues[:keep]) for value in layer.eigenvalues[:keep]]
        again = most_within_kl(values, 0.3)
        assert again == keep
        assert most_within_kl(layer.eigenvalues[: keep + 1], 0.3) in (keep, keep + 1)


def test_no_cure_is_invented() -> None:
    assert most_within_kl([1.0, 0.0], 0.5) is None
    assert most_within_kl([0.0, 0.0], 0.5) is None
    assert most_within_kl([0.25] * 4, 0.0) == 4


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
    ratchet = dataclasses.replace(broken(tight, "compressed.parameters"), limit="ratchet", target="6012")
    assert advice(tight, ratchet) == (
        "Write recipe: {strategy: parameters, parameters: 6012}: it finds the counts that keep this limit, "
        "or says how near it gets.",
    )
    small = records.judged(record, {**records.BUDGETS, "model": {"macs": 1}})
    assert advice(small, broken(small, "model.macs")) == (
        "Build the model with fewer or narrower layers (model.arguments), or ship the compressed model, "
        "which budgets.compressed.macs holds to a limit: it has 3.1 M MACs.",
    )
    alone = dataclasses.replace(small, compressed=None)
    assert advice(alone, broken(small, "model.macs")) == (
        "Build the model with fewer or narrower layers (model.arguments), or raise the limit.",
    )
    assert advice(tight, broken(tight, "compressed.accuracy_drop"))[0].startswith("Write recovery: [compensate]")


def test_a_kept_budget_needs_none() -> None:
    record = records.kept()
    assert all(advice(record, finding) == () for finding in record.budgets)
