"""Limits against a baseline, and waivers: what is kept, broken, or cannot be judged."""

import dataclasses
import json
import subprocess
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import records

from pfa_gate.budget import Baseline, BaselineLayer, Context, Finding, LayerMeasure, Measurements, Scored, Size, judge
from pfa_gate.config import GateConfig
from pfa_gate.errors import ArtifactError, LayerPatternError
from pfa_gate.record.baseline import Stamp, baseline_entries, baseline_entry, baseline_of, baseline_text, comparison
from pfa_gate.record.baseline_source import find_baseline

TODAY = date(2026, 11, 20)
SUBJECT = {"factory": "net:build", "arguments": {}, "data": "net:probe", "pooling": "max", "samples": 64}


def gate(budgets: dict[str, Any], **more: Any) -> GateConfig:
    sections = {"model": {"factory": "net:build"}, "probe": {"data": "net:probe"}, "budgets": budgets}
    return GateConfig.model_validate({"name": "digits", **sections, **more})


def layers(**kl: float) -> tuple[LayerMeasure, ...]:
    return tuple(LayerMeasure(name, 8, kl_ratio=value) for name, value in kl.items())


def judged(config: GateConfig, measurements: Measurements, context: Context) -> Finding:
    return judge(config, measurements, records.place_of, context)[1]


def of_layers(limit: Any, context: Context, **kl: float) -> Finding:
    config = gate({"layers": [{"match": "*", "kl": limit}]})
    return judged(config, Measurements(layers(**kl), full=Size(1, 1, 1)), context)


def against(**kl: float) -> Context:
    values = {name: BaselineLayer("Conv2d", 8, {"kl": value}) for name, value in kl.items()}
    return Context(Baseline("pfa.baseline.json", "2026-11-12", layers=values), TODAY)


@pytest.mark.parametrize(
    ("limit", "observed", "outcome"),
    [
        ({"max": 0.7, "max_increase": 0.05}, 0.44, "kept"),
        ({"max": 0.7, "max_increase": 0.05}, 0.45, "kept"),
        ({"max": 0.7, "max_increase": 0.05}, 0.46, "broken"),
        ({"max": 0.42, "max_increase": 0.05}, 0.43, "broken"),
        ({"max_increase": 0.05}, 0.46, "broken"),
        ({"max_increase": 0}, 0.4, "kept"),
        ({"ratchet": True}, 0.4, "kept"),
        ({"ratchet": True}, 0.40001, "broken"),
        ({"max": 0.3, "ratchet": True}, 0.35, "broken"),
        ({"ratchet": True}, 0.1, "kept"),
    ],
)
def test_a_layer_against_its_earlier_self(limit: Any, observed: float, outcome: str) -> None:
    finding = of_layers(limit, against(stem=0.4), stem=observed)
    assert finding.outcome == outcome
    assert finding.details[0].before == 0.4


@pytest.mark.parametrize(("observed", "outcome"), [(0.40009, "kept"), (0.4002, "broken")])
def test_another_device_is_given_its_roundings(observed: float, outcome: str) -> None:
    elsewhere = dataclasses.replace(against(stem=0.4), device="cuda:0 (NVIDIA H100)")
    assert of_layers({"ratchet": True}, elsewhere, stem=observed).outcome == outcome


def test_a_baseline_knows_its_device_and_old_ones_are_of_the_cpu() -> None:
    record = dataclasses.replace(records.kept(), device="cuda:0")
    written = baseline_entry(record, Stamp("2026-11-12", "", {}))
    again = baseline_of(baseline_entries(baseline_text({"digits": written}), "b"), "digits", "b", {})
    assert again is not None
    assert again.device == "cuda:0"
    told = comparison(again, [], record.probe.sha256, "cpu")
    assert told is not None
    assert told.changed == ("the device (cuda:0 then, cpu now)",)
    del written["subject"]["device"]
    old = baseline_of({"digits": written}, "digits", "b", {})
    assert old is not None
    assert old.device == "cpu"


def test_a_broken_increase_says_from_where() -> None:
    sentence = of_layers({"max": 0.7, "max_increase": 0.05}, against(stem=0.4), stem=0.5).sentence
    assert sentence == ("1 of 1 layer has too high a KL ratio: stem 0.5 (0.05 above 0.45, the baseline's 0.4 + 0.05).")


@pytest.mark.parametrize(
    ("budget", "limit", "before", "outcome"),
    [
        ("parameters", {"max_increase": "5%"}, 100, "kept"),
        ("parameters", {"max_increase": "5%"}, 95, "broken"),
        ("parameters", {"max_increase": 4}, 100, "kept"),
        ("bytes", {"ratchet": True}, 416, "kept"),
        ("bytes", {"ratchet": True}, 415, "broken"),
        ("macs", {"max": 900, "max_increase": "50%"}, 800, "broken"),
    ],
)
def test_a_size_against_its_earlier_self(budget: str, limit: Any, before: float, outcome: str) -> None:
    context = Context(Baseline("b", "2026-11-12", values={f"model.{budget}": before}), TODAY)
    finding = judged(gate({"model": {budget: limit}}), Measurements((), full=Size(104, 416, 1000)), context)
    assert finding.outcome == outcome


@pytest.mark.parametrize(
    ("budget", "limit", "value", "outcome"),
    [
        ("parameters", {"max": "60%", "max_increase": "10%"}, 50, "kept"),
        ("parameters", {"max": "60%", "max_increase": "10%"}, 49, "broken"),
        ("accuracy_drop", {"max_increase": "0.5 pp"}, 0.6, "kept"),
        ("accuracy_drop", {"max": "2 pp", "max_increase": 0.005}, 0.4, "broken"),
        ("accuracy_drop", {"max": "0.5 pp", "max_increase": "5 pp"}, 0.6, "broken"),
        ("latency", {"max": "100%", "max_increase": "5%"}, 80.0, "kept"),
        ("latency", {"max": "100%", "max_increase": "5%"}, 70.0, "broken"),
    ],
)
def test_the_compressed_model_against_its_earlier_self(budget: str, limit: Any, value: float, outcome: str) -> None:
    context = Context(Baseline("b", "2026-11-12", values={f"compressed.{budget}": value}), TODAY)
    config = gate({"compressed": {budget: limit}}, evaluation={"data": "net:test"})
    measured = Measurements((), Size(100, 1, 1), Size(55, 1, 1), scores=Scored(0.99, 0.98), latency=0.8)
    assert judged(config, measured, context).outcome == outcome


LOSS = {"data": "net:test", "metric": "net:loss", "direction": "lower"}


@pytest.mark.parametrize(
    ("limit", "before", "outcome"),
    [
        ({"max_increase": 0.02}, 0.09, "kept"),
        ({"max_increase": 0.02}, 0.07, "broken"),
        ({"max_increase": "20%"}, 0.09, None),
        ({"ratchet": True}, 0.1, "kept"),
        ({"ratchet": True}, 0.0999, "broken"),
        ({"max": 0.05, "max_increase": 1}, 0.1, "broken"),
    ],
)
def test_a_fall_in_plain_numbers_against_its_earlier_self(limit: Any, before: float, outcome: str | None) -> None:
    context = Context(Baseline("b", "2026-11-12", values={"compressed.score_drop": before}), TODAY)
    if outcome is None:
        with pytest.raises(ValueError, match="has the unit '%'"):
            gate({"compressed": {"score_drop": limit}}, evaluation=LOSS)
        return
    measured = Measurements((), Size(1, 1, 1), scores=Scored(0.3, 0.4, share=False, lower=True))
    finding = judged(gate({"compressed": {"score_drop": limit}}, evaluation=LOSS), measured, context)
    assert finding.outcome == outcome
    assert "pp" not in finding.limit + finding.sentence


def test_a_drop_of_another_evaluation_is_none_to_compare_with() -> None:
    plain = baseline_entry(
        records.broken(), Stamp("2026-11-12", "", {"evaluation": ["net:test", "accuracy", "higher"]})
    )
    assert [name for name in plain["budgets"] if "drop" in name] == ["compressed.accuracy_drop"]
    same = baseline_of({"digits": plain}, "digits", "b", plain["subject"])
    other = baseline_of(
        {"digits": plain}, "digits", "b", {**plain["subject"], "evaluation": ["net:test", "top5", "higher"]}
    )
    assert same is not None
    assert other is not None
    assert (same.value("compressed.accuracy_drop"), other.value("compressed.accuracy_drop")) == (1.388, None)
    assert other.value("model.macs") == same.value("model.macs")
    assert other.changed == ("the evaluation",)
    config = gate({"compressed": {"accuracy_drop": {"max_increase": "1 pp"}}}, evaluation={"data": "net:test"})
    measured = Measurements((), Size(1, 1, 1), scores=Scored(0.99, 0.98))
    finding = judged(config, measured, Context(other, TODAY))
    assert finding.outcome == "not judged"
    assert finding.sentence.startswith("The evaluation is another one than in the baseline of 2026-11-12. ")


def test_the_first_run_judges_what_is_absolute_and_says_how_to_go_on() -> None:
    first = Context(None, TODAY)
    hint = "There is no baseline yet. Run pytest --pfa --pfa-update-baseline once, and commit pfa.baseline.json."
    both = of_layers({"max": 0.7, "max_increase": 0.05}, first, stem=0.5)
    assert (both.outcome, both.notes) == ("kept", (hint,))
    assert of_layers({"max": 0.4, "max_increase": 0.05}, first, stem=0.5).outcome == "broken"
    alone = of_layers({"max_increase": 0.05}, first, stem=0.5)
    assert (alone.outcome, alone.sentence) == ("not judged", hint)
    size = judged(gate({"model": {"macs": {"ratchet": True}}}), Measurements((), full=Size(1, 1, 1)), first)
    assert (size.outcome, size.sentence, size.limit) == ("not judged", hint, "ratchet")


def test_a_run_that_updates_accepts_an_increase_but_not_past_a_ratchet() -> None:
    updating = dataclasses.replace(against(stem=0.4), updating=True)
    assert of_layers({"max_increase": 0.05}, updating, stem=0.9).outcome == "kept"
    assert of_layers({"max": 0.7, "max_increase": 0.05}, updating, stem=0.9).outcome == "broken"
    assert of_layers({"ratchet": True}, updating, stem=0.5).outcome == "broken"
    assert of_layers({"ratchet": True}, Context(None, TODAY, updating=True), stem=0.5).outcome == "kept"


def test_another_kind_of_model_is_not_compared() -> None:
    other = Context(dataclasses.replace(against(stem=0.4).base, refusal="model.factory was a then and is b now"), TODAY)
    finding = of_layers({"max": 0.7, "max_increase": 0.05}, other, stem=0.4)
    assert finding.outcome == "not judged"
    assert finding.sentence == "The baseline cannot be compared: model.factory was a then and is b now."
    assert of_layers(0.7, other, stem=0.4).outcome == "kept"


def test_a_run_that_updates_may_replace_the_baseline_of_another_kind_of_model() -> None:
    other = dataclasses.replace(against(stem=0.4).base, refusal="model.factory was a then and is b now")
    updating = Context(other, TODAY, updating=True)
    assert of_layers({"max": 0.7, "max_increase": 0.05}, updating, stem=0.6).outcome == "kept"
    assert of_layers({"max": 0.7, "max_increase": 0.05}, updating, stem=0.8).outcome == "broken"


@pytest.mark.parametrize("limit", [{"max_increase": 0.05}, {"max": 0.7, "max_increase": 0.05}, {"ratchet": True}])
@pytest.mark.parametrize("context", [against(stem=0.4), Context(None, TODAY)], ids=["against", "first"])
def test_a_run_that_updates_does_not_keep_what_was_not_measured(limit: Any, context: Context) -> None:
    finding = of_layers(limit, dataclasses.replace(context, updating=True), stem=float("nan"))
    assert (finding.outcome, finding.details[0].observed) == ("not judged", None)


def test_a_budget_that_is_new_since_the_baseline_needs_a_limit_of_its_own() -> None:
    context = Context(Baseline("b", "2026-11-12", values={"model.bytes": 416}), TODAY)
    finding = judged(gate({"model": {"macs": {"ratchet": True}}}), Measurements((), full=Size(1, 1, 1)), context)
    assert finding.outcome == "not judged"
    assert finding.sentence == (
        "This budget is new since the baseline of 2026-11-12. "
        "Run pytest --pfa --pfa-update-baseline once, and commit pfa.baseline.json."
    )


def test_a_layer_is_known_again_by_the_measurements_that_both_have() -> None:
    """Widths do not agree in order here, so measurements alone tell."""
    values = {"a": {"kl": 0.4}, "b": {"kl": 0.5, "peak_correlation": 0.9}, "c": {}}
    before = Baseline(
        "b", "2026-11-12", layers={name: BaselineLayer("Conv2d", 8, each) for name, each in values.items()}
    )
    today = [
        LayerMeasure("x", 8, kl_ratio=0.5, peak_correlation=0.9),
        LayerMeasure("y", 8, kl_ratio=0.4000015, peak_correlation=0.7),
        LayerMeasure("z", 16, kl_ratio=0.4),
        LayerMeasure("w", 8, kl_ratio=0.5, peak_correlation=0.8),
        LayerMeasure("v", 8),
    ]
    found = before.matched(today)
    assert found.renamed == {"x": "b", "y": "a"}
    assert (found.gone(today), found.new(today)) == (("c",), ("z", "w", "v"))


def test_new_gone_and_renamed_layers() -> None:
    context = against(conv1=0.4, conv2=0.3, head=0.2)
    assert context.base is not None
    today = layers(head=0.2, **{"body.conv1": 0.45, "body.conv2": 0.35})
    told = comparison(context.base, today, "ab")
    assert told is not None
    assert (told.new, told.gone, told.renamed) == ((), (), {"body.conv1": "conv1", "body.conv2": "conv2"})
    kept = of_layers({"max_increase": 0.06}, context, head=0.2, **{"body.conv1": 0.45, "body.conv2": 0.35})
    assert kept.outcome == "kept"
    told = comparison(context.base, layers(conv1=0.4, extra=0.3, more=0.9), "ab")
    assert told is not None
    assert (told.new, told.gone, told.renamed) == ((), (), {"extra": "conv2", "more": "head"})
    told = comparison(context.base, layers(conv1=0.4, extra=0.3, more=0.9, most=0.8), "ab")
    assert told is not None
    assert (told.new, told.gone, told.renamed) == (("more", "most"), ("head",), {"extra": "conv2"})


def test_a_new_layer_needs_a_limit_of_its_own() -> None:
    context = against(a=0.1)
    finding = of_layers({"max_increase": 0.1}, context, a=0.1, b=0.2)
    assert finding.outcome == "not judged"
    assert finding.sentence.startswith("Layer 'b' is new since the baseline of 2026-11-12.")
    assert of_layers({"max": 0.5, "max_increase": 0.1}, context, a=0.1, b=0.2).outcome == "kept"


def test_what_is_written_is_read(tmp_path: Path) -> None:
    record = records.kept()
    plain = baseline_entry(record, Stamp("2026-11-12", "abc", {**SUBJECT, "weights": "w"}))
    written = baseline_text({"digits": plain})
    assert written == baseline_text(json.loads(written)["gates"])
    assert len(written) < 12_000
    assert "eigenvalues" not in written
    found = baseline_of(baseline_entries(written, "b"), "digits", "b", {**SUBJECT, "weights": "w"})
    assert found is not None
    assert (found.refusal, found.changed) == ("", ())
    assert found.value("model.parameters") == record.model.parameters
    for layer in record.layers[:-1]:
        assert found.value("layers.kl", layer.name) == pytest.approx(layer.kl_ratio, abs=1e-6)
    measures = [layer.measure() for layer in record.layers]
    context = Context(found, TODAY)
    config = gate({"layers": [{"match": "*", "kl": {"ratchet": True}}], "model": {"macs": {"ratchet": True}}})
    assert {
        each.outcome
        for each in judge(config, Measurements(tuple(measures), record.model), records.place_of, context)[1:]
    } == {"kept"}


@pytest.mark.parametrize(
    ("change", "refusal", "changed"),
    [
        ({"weights": "v"}, "", ("the weights",)),
        ({"factory": "net:other"}, 'model.factory was "net:build" then and is "net:other" now', ()),
        ({"samples": None}, "probe.samples was 64 then and is not set now", ()),
        ({"positions": 8}, "probe.positions was not set then and is 8 now", ()),
    ],
)
def test_what_differs_is_said_or_refused(change: dict[str, Any], refusal: str, changed: tuple[str, ...]) -> None:
    plain = baseline_entry(records.kept(), Stamp("2026-11-12", "abc", {**SUBJECT, "weights": "w"}))
    found = baseline_of({"digits": plain}, "digits", "b", {**SUBJECT, "weights": "w", **change})
    assert found is not None
    assert (found.refusal, found.changed) == (refusal, changed)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"schema": "pfa_gate.baseline/9", "gates": {}}', "[" * 10**5]
)
def test_a_torn_baseline_is_refused(content: str) -> None:
    with pytest.raises(ArtifactError, match="The baseline b cannot be read"):
        baseline_entries(content, "b")


@pytest.mark.parametrize("damage", [None, [], {"layers": {}}, {"layers": {"a": 1}}])
def test_a_torn_gate_is_refused(damage: Any) -> None:
    with pytest.raises(ArtifactError, match="The baseline b cannot be read: gate 'digits' lacks or mistakes"):
        baseline_of({"digits": damage}, "digits", "b", SUBJECT)


def waiver(layer: str | None, until: str, budget: str = "layers.kl") -> dict[str, Any]:
    named = {} if layer is None else {"layer": layer}
    return {**named, "budget": budget, "reason": "to be retrained", "until": until}


def allowed(waivers: list[dict[str, Any]], **kl: float) -> Finding:
    config = gate({"layers": [{"match": "*", "kl": 0.7}]}, allow=waivers)
    return judged(config, Measurements(layers(**kl), full=Size(1, 1, 1)), Context(None, TODAY))


def test_a_waiver_lets_one_layer_pass_and_is_shown() -> None:
    finding = allowed([waiver("stem", "2026-11-20")], stem=0.8, body=0.5)
    assert finding.outcome == "kept"
    assert finding.notes == ("Allowed until 2026-11-20 of stem: to be retrained.",)
    assert [(each.outcome, each.waived) for each in finding.details] == [("broken", "to be retrained"), ("kept", "")]
    broken = allowed([waiver("stem", "2026-11-20")], stem=0.8, body=0.75)
    assert broken.outcome == "broken"
    assert broken.sentence.endswith("KL ratio: body 0.75 (0.05 above 0.7).")


def test_a_waiver_that_has_ended_breaks_the_gate() -> None:
    for kl in (0.8, 0.5):
        finding = allowed([waiver("stem", "2026-11-19")], stem=kl)
        assert finding.outcome == "broken"
        assert "The waiver of stem ended on 2026-11-19 (to be retrained)." in finding.sentence


def test_a_waiver_that_is_not_needed_is_said() -> None:
    finding = allowed([waiver("stem", "2027-01-31")], stem=0.5)
    assert finding.outcome == "kept"
    assert [each.waived for each in finding.details] == [""]
    assert finding.notes == (
        "The waiver of stem until 2027-01-31 is not needed: nothing it covers is above its limit.",
    )


def test_a_waiver_of_nothing_is_an_error() -> None:
    with pytest.raises(LayerPatternError, match="The waiver of 'stme' matches no layer"):
        allowed([waiver("stme", "2027-01-31")], stem=0.5)


def test_no_waiver_lets_pass_what_was_not_measured() -> None:
    assert allowed([waiver("stem", "2027-01-31")], stem=float("nan")).outcome == "not judged"


def test_a_waiver_of_a_size() -> None:
    config = gate({"model": {"macs": 10}}, allow=[waiver(None, "2027-01-31", "model.macs")])
    finding = judged(config, Measurements((), full=Size(1, 1, 99)), Context(None, TODAY))
    assert (finding.outcome, finding.notes) == ("kept", ("Allowed until 2027-01-31: to be retrained.",))


def run_git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """main: one, then two; feature: branched off at one, with a baseline of its own."""
    nested = tmp_path / "nets"
    nested.mkdir()
    run_git(tmp_path, "init", "-b", "main")
    for branch, content in (("main", "one"), ("feature", "mine"), ("main", "two")):
        if branch == "feature":
            run_git(tmp_path, "checkout", "-b", branch)
        elif content == "two":
            run_git(tmp_path, "checkout", branch)
        (nested / "pfa.baseline.json").write_text(content)
        run_git(tmp_path, "add", ".")
        run_git(tmp_path, "commit", "-m", content)
    run_git(tmp_path, "checkout", "feature")
    return nested


def test_git_gives_the_merge_base_and_not_the_tip(repository: Path) -> None:
    found = find_baseline(repository / "pfa.yaml", "git:main")
    assert found.content == "one"
    assert "the merge base with main" in found.source
    assert find_baseline(repository / "pfa.yaml", "").content == "mine"


def test_a_merge_base_without_the_file_is_a_first_run(repository: Path) -> None:
    (repository / "deep").mkdir()
    assert find_baseline(repository / "deep" / "pfa.yaml", "git:main").content is None


@pytest.mark.parametrize("reference", ["no-such-branch", "", "--help", "HEAD~99"])
def test_a_revision_that_git_does_not_know(repository: Path, reference: str) -> None:
    with pytest.raises(ArtifactError):
        find_baseline(repository / "pfa.yaml", f"git:{reference}")


def test_files_that_are_there_or_not(tmp_path: Path) -> None:
    assert find_baseline(tmp_path / "pfa.yaml", "").content is None
    with pytest.raises(ArtifactError, match="There is no baseline"):
        find_baseline(tmp_path / "pfa.yaml", str(tmp_path / "other.json"))
    (tmp_path / "pfa.baseline.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ArtifactError, match="it is not UTF-8"):
        find_baseline(tmp_path / "pfa.yaml", "")
