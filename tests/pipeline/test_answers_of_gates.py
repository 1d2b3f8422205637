"""Budgets on answers in a gate: in the passes that score it, or on samples of the probe that are held out."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import pfa_gate
from pfa_gate.config import load as load_config
from pfa_gate.errors import PFAGateError
from pfa_gate.model import Sampling, batches_of, load
from pfa_gate.model.evaluation import Comparison
from pfa_gate.model.held_out import held_out_apart
from pfa_gate.pipeline.answers import plain_answers
from pfa_gate.record import Record, dumps, loads

PROJECT = '''
import torch
from torch import nn

SEEN = []


def samples(seed, count=400):
    """Eight clusters in sixteen dimensions."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(8, 16, generator=torch.Generator().manual_seed(7))
    labels = torch.randint(8, (count,), generator=draw)
    return centres[labels] + 0.8 * torch.randn(count, 16, generator=draw), labels


def probe():
    return samples(1)[0]


def labelled_probe():
    return samples(1)


def few():
    return samples(1, 120)[0]


def test():
    return samples(2)


def rare():
    inputs, labels = samples(2)
    return inputs[labels < 3][:40], labels[labels < 3][:40]


def unlabelled():
    return samples(2)[0]


class Counted(nn.Sequential):
    """Notes the samples of every call."""

    def forward(self, x):
        SEEN.append(x)
        return super().forward(x)


def untrained(kind=Counted):
    torch.manual_seed(5)
    return kind(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 8))


def trained(kind=Counted):
    """The second layer is solved for, so that nothing has to be trained."""
    model = untrained(kind)
    inputs, labels = samples(0, 2000)
    with torch.no_grad():
        hidden = torch.cat([nn.Sequential(*list(model)[:2])(inputs), torch.ones(len(inputs), 1)], dim=1).double()
        solved = torch.linalg.lstsq(hidden, 8 * nn.functional.one_hot(labels, 8).double()).solution.float()
        model[2].weight.copy_(solved[:-1].T)
        model[2].bias.copy_(solved[-1])
    return model


class Several(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = trained(nn.Sequential)

    def forward(self, x):
        scores = self.body(x)
        return {"small": scores / 1000, "logits": scores, "ids": scores.argmax(1)}


class Maps(nn.Module):
    """Class scores at each of four places."""

    def __init__(self):
        super().__init__()
        self.body = trained(nn.Sequential)

    def forward(self, x):
        return self.body(x)[:, :, None].expand(-1, -1, 4)


def regression():
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 1))


def broken():
    """A model whose answers are not numbers where the first input is large; the probe has no such sample."""
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = trained(nn.Sequential)

        def forward(self, x):
            return self.body(x) / (x[:, :1] != 9.0)

    return Broken()


def twice(model, batches):
    return sum(float((model(x) + model(x.flip(0))).mean()) for x, _ in batches)


def by_halves(model, batches):
    return sum(float(model(half).mean()) for x, _ in batches for half in x.chunk(2))


def the_first_batch_twice(model, batches):
    return float(model(next(iter(batches)).args[0]).mean()) + sum(float(x.mean()) for x, _ in batches)


def share(model, batches):
    hits = count = 0
    for inputs, labels in batches:
        hits += int((model(inputs).argmax(1) == labels).sum())
        count += len(labels)
    return hits / count
'''
GATE = """version: 1
gates:
  clusters:
    model: {{factory: net.py:{factory}}}
    probe: {{data: net.py:{probe}, batch_size: 64}}
    recipe: {{strategy: energy, energy: {energy}}}
    selection: {selection}
    recovery: {recovery}
    artifacts: [weights]
{evaluation}    budgets:
      compressed: {{{budgets}}}
"""
ALL = "agreement: {min: 97%}, divergence: 0.05, output_error: 2%, class_drop: 5 pp"
PLAIN = {
    "factory": "trained",
    "probe": "probe",
    "energy": 0.7,
    "selection": "correlation",
    "recovery": "[compensate]",
    "evaluation": "    evaluation: {data: net.py:test}\n",
    "budgets": ALL,
}


def gate(folder: Path, **different: Any) -> Path:
    """The config of a gate in a folder of its own."""
    (folder / "net.py").write_text(PROJECT)
    (folder / "pfa.yaml").write_text(GATE.format(**{**PLAIN, **different}))
    return folder / "pfa.yaml"


def run(folder: Path, **different: Any) -> tuple[Record, nn.Module]:
    """A run in this process."""
    found = pfa_gate.run(gate(folder, **different))
    assert found.model is not None
    return found.record, found.model


def verdicts(record: Record) -> dict[str, tuple[str, str]]:
    return {each.id.partition(".")[2]: (each.outcome, each.sentence) for each in record.budgets}


@pytest.fixture
def seen(tmp_path: Path) -> list[torch.Tensor]:
    """The inputs of every call of the project's own class, in order."""
    from pfa_gate.model.import_callable import resolve  # noqa: PLC0415

    (tmp_path / "net.py").write_text(PROJECT)
    calls: list[torch.Tensor] = resolve("net.py:samples", tmp_path).function.__globals__["SEEN"]
    calls.clear()
    return calls


def test_answers_on_the_evaluation_are_those_of_both_models(tmp_path: Path) -> None:
    record, compressed = run(tmp_path)
    subject = load(load_config(tmp_path / "pfa.yaml"), "clusters")
    assert subject.evaluation is not None
    batches = list(subject.evaluation)
    labels = torch.cat([batch.labels for batch in batches]).numpy()
    with torch.no_grad():
        y, other = (
            torch.cat([model(*batch.args) for batch in batches]).double() for model in (subject.model, compressed)
        )
    one, two = y.argmax(1).numpy(), other.argmax(1).numpy()
    found = record.answers
    assert found is not None
    assert (found.source, found.samples, found.changed) == ("evaluation", 400, int((one != two).sum()))
    assert found.changed > 0
    assert found.agreement is not None
    assert found.agreement.value == (one == two).mean()
    assert found.divergence is not None
    logs = y.log_softmax(1), other.log_softmax(1)
    assert found.divergence.value == pytest.approx(float((logs[0].exp() * (logs[0] - logs[1])).sum(1).mean()), rel=1e-4)
    assert found.output_error is not None
    assert found.output_error.value == pytest.approx(float((y - other).norm() / (y - y.mean(0)).norm()), rel=1e-4)
    assert (found.lost, found.won) == (
        int(((one == labels) & (two != labels)).sum()),
        int(((two == labels) & (one != labels)).sum()),
    )
    for each in found.classes:
        of = labels == each.label
        assert (each.samples, each.full, each.compressed) == (
            of.sum(),
            (one == labels)[of].sum(),
            (two == labels)[of].sum(),
        )
    fallen = sorted(found.classes, key=lambda each: (-each.fall, each.label))[:6]
    worst = {each.label for each in fallen if each.fall > 0}
    pairs = Counter(pair for pair in zip(one.tolist(), two.tolist(), strict=True) if pair[0] in worst)
    assert {(each.full, each.compressed): each.samples for each in found.confusion} == pairs
    assert loads(dumps(record)) == record


def test_accuracy_and_answers_take_one_pass_of_each_model(tmp_path: Path, seen: list[torch.Tensor]) -> None:
    calls = {}
    for budgets in ("accuracy_drop: 5 pp", f"accuracy_drop: 5 pp, {ALL}"):
        seen.clear()
        run(tmp_path, budgets=budgets)
        calls[budgets] = len(seen)
    assert len(set(calls.values())) == 1


OWN = "    evaluation: {data: net.py:test, metric: net.py:METRIC, direction: higher}\n"


def test_answers_take_no_pass_of_their_own_beside_those_of_ones_own_metric(
    tmp_path: Path, seen: list[torch.Tensor]
) -> None:
    calls = []
    for budgets in ("score_drop: 1", f"score_drop: 1, {ALL}"):
        seen.clear()
        run(tmp_path, evaluation=OWN.replace("METRIC", "share"), budgets=budgets)
        calls.append(len(seen))
    assert calls[0] == calls[1]


@pytest.mark.parametrize("metric", ["twice", "by_halves", "the_first_batch_twice"])
def test_a_metric_that_calls_the_model_in_its_own_way_leaves_the_answers_to_a_pass_of_their_own(
    tmp_path: Path, metric: str
) -> None:
    (tmp_path / "own").mkdir()
    one, _ = run(tmp_path / "own", evaluation=OWN.replace("METRIC", metric))
    two, _ = run(tmp_path)
    assert one.answers == two.answers


def test_a_metric_of_ones_own_has_the_answers_of_accuracy(tmp_path: Path) -> None:
    own = OWN.replace("METRIC", "share")
    (tmp_path / "own").mkdir()
    (tmp_path / "built in").mkdir()
    one, _ = run(tmp_path / "own", evaluation=own)
    two, _ = run(tmp_path / "built in")
    assert one.answers == two.answers
    (tmp_path / "undeclared").mkdir()
    assert run(tmp_path / "undeclared", evaluation=own, budgets="parameters: 100%")[0].answers is None


def test_a_class_that_loses_much_breaks_the_build_and_is_named(tmp_path: Path) -> None:
    record, _ = run(tmp_path, energy=0.4, recovery="[]")
    outcome, sentence = verdicts(record)["class_drop"]
    found = record.answers
    assert found is not None
    worst = max((each for each in found.classes if each.falls), key=lambda each: (each.fall, -each.label))
    assert outcome == "broken"
    fall, beyond = f"{worst.fall:.2f}".rstrip("0").rstrip("."), f"{worst.fall - 5:.2f}".rstrip("0").rstrip(".")
    assert sentence == (
        f"On 400 samples of the evaluation, the recall of class {worst.label} falls most, by {fall} pp (of "
        f"{worst.samples} samples {worst.lost} lost, {worst.won} won), {beyond} pp more than the limit of 5 pp."
    )


def test_a_candidate_is_judged_by_its_answers(tmp_path: Path) -> None:
    gate(tmp_path)
    text = (tmp_path / "pfa.yaml").read_text()
    start, end = text.index("    recipe"), text.index("    artifacts")
    candidate = "    candidate: {factory: net.py:untrained}\n"
    text = text[:start] + candidate + text[end:].replace("    artifacts: [weights]\n", "")
    (tmp_path / "pfa.yaml").write_text(text)
    record = pfa_gate.run(tmp_path / "pfa.yaml").record
    assert record.answers is not None
    assert record.answers.samples == 400
    assert {verdicts(record)[key][0] for key in ("agreement", "divergence", "output_error", "class_drop")} == {"broken"}


def test_rare_classes_alone_are_not_judged(tmp_path: Path) -> None:
    record, _ = run(tmp_path, evaluation="    evaluation: {data: net.py:rare}\n", budgets="class_drop: 5 pp")
    most = max(each.samples for each in record.answers.classes)  # type: ignore[union-attr]
    assert most < 20
    assert verdicts(record)["class_drop"] == (
        "not judged",
        f"No class has 20 samples among the 40 samples of the evaluation; the commonest has {most}. Give more data.",
    )


def test_without_an_evaluation_the_probe_is_parted_and_the_report_says_so(tmp_path: Path) -> None:
    record, _ = run(tmp_path, evaluation="", budgets="agreement: {min: 50%}, divergence: 1, output_error: 90%")
    assert (record.probe.samples, record.probe.held_out) == (320, 80)
    assert record.answers is not None
    assert (record.answers.source, record.answers.samples) == ("probe", 80)
    assert {outcome for outcome, _ in verdicts(record).values()} == {"kept"}
    assert [(each.what, each.reason) for each in record.unmeasured] == [
        (
            "class drop of the answers",
            "The data has no labels; whole numbers [samples] are needed. Add the section evaluation, with labels.",
        )
    ]
    for key in ("agreement", "divergence", "output_error"):
        assert verdicts(record)[key][1].startswith("On 80 samples of the probe that nothing was fitted on, ")


def test_a_probe_without_labels_has_no_class_drop(tmp_path: Path) -> None:
    record, _ = run(tmp_path, evaluation="", budgets="class_drop: 5 pp")
    assert verdicts(record)["class_drop"] == (
        "not judged",
        "The data has no labels; whole numbers [samples] are needed. Add the section evaluation, with labels.",
    )


def test_a_probe_with_labels_has_one(tmp_path: Path) -> None:
    record, _ = run(tmp_path, probe="labelled_probe", evaluation="", budgets="agreement: {min: 5%}, class_drop: 5 pp")
    assert record.answers is not None
    assert sum(each.samples for each in record.answers.classes) == 80


def test_no_class_falls_from_chance_on_a_probe_either(tmp_path: Path) -> None:
    record, _ = run(tmp_path, factory="untrained", probe="labelled_probe", evaluation="", budgets="class_drop: 1")
    outcome, sentence = verdicts(record)["class_drop"]
    assert outcome == "not judged"
    assert re.fullmatch(
        r"The accuracy of the full model, [\d.]+%, is not above chance: the commonest class \(\d\) is [\d.]+% of "
        r"the 80 samples \(one-sided binomial test, p = [\d.]+\)\. A drop from there says nothing\. Check "
        r"model\.checkpoint, which is not set, and inputs and labels\.",
        sentence,
    )


def test_a_small_probe_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PFAGateError) as caught:
        run(tmp_path, probe="few", evaluation="", budgets="divergence: 1")
    assert caught.value.fact == (
        "Without an evaluation, answers are judged on a fifth of the probe, that nothing is fitted on: 24 of 120 "
        "samples. At least 40 are needed."
    )
    assert caught.value.remedy == "Raise probe.samples to 200, or add the section evaluation."


FITTED = [
    ("correlation", "[compensate, recalibrate]"),
    ("reconstruction", "[{distill: {steps: 5}}, compensate]"),
    ("taylor", "[{finetune: net.py:read}]"),
    ("auto", "[compensate]"),
]


@pytest.mark.parametrize(("selection", "recovery"), FITTED)
def test_nothing_is_fitted_on_the_samples_held_out(tmp_path: Path, selection: str, recovery: str) -> None:
    """The samples held out are spoilt: all else stays the same to the last bit."""
    spoilt = """
def spoilt():
    inputs, labels = labelled_probe()
    for number in HELD:
        inputs[number] += 40.0
        labels[number] = 7 - labels[number]
    return inputs, labels


def read(model, batches):
    for batch in batches:
        model(*batch.args)
"""
    whole = batches_of(torch.arange(400.0)[:, None], "numbers", Sampling())
    held = torch.cat([batch.args[0] for batch in held_out_apart(whole)[1]]).flatten().long().tolist()
    assert len(held) == 80
    records, models = [], []
    for name in ("labelled_probe", "spoilt"):
        folder = tmp_path / name
        folder.mkdir()
        gate(
            folder,
            probe=name,
            evaluation="",
            budgets=ALL.partition(", class")[0],
            selection=selection,
            recovery=recovery,
        )
        (folder / "net.py").write_text(f"{PROJECT}\nHELD = {held}\n{spoilt}")
        found = pfa_gate.run(folder / "pfa.yaml")
        records.append(found.record)
        models.append(found.model)
    assert records[0].layers == records[1].layers
    assert records[0].recipe == records[1].recipe
    assert records[0].probe == records[1].probe
    assert models[0] is not None
    assert models[1] is not None
    for one, two in zip(models[0].state_dict().values(), models[1].state_dict().values(), strict=True):
        assert torch.equal(one, two)
    assert records[0].answers != records[1].answers


def test_the_parts_of_a_probe_are_the_same_in_batches_of_any_size() -> None:
    found = []
    for batch_size in (1, 7, 400):
        whole = batches_of(torch.arange(403.0)[:, None], "numbers", Sampling(batch_size=batch_size, seed=3))
        rest, held = held_out_apart(whole)
        parts = [torch.cat([batch.args[0] for batch in part]).flatten().tolist() for part in (rest, held)]
        assert sorted(parts[0] + parts[1]) == list(range(403))
        assert Counter(int(number) // 5 for number in parts[1][:80]) == dict.fromkeys(range(80), 1)
        found.append(parts)
    assert found[0] == found[1] == found[2]


def test_outputs_of_another_kind_are_judged_by_their_error_alone(tmp_path: Path) -> None:
    for factory, shape in (("Maps", "[64, 8, 4] for 64 samples"), ("regression", "[64, 1] for 64 samples")):
        folder = tmp_path / factory
        folder.mkdir()
        record, _ = run(
            folder,
            factory=factory,
            probe="labelled_probe",
            evaluation="",
            energy=0.99,
            budgets="agreement: {min: 50%}, divergence: 1, output_error: 500%, class_drop: 50 pp",
        )
        found = verdicts(record)
        assert found["output_error"][0] == "kept"
        why = r"The model gives \[\d+, .*\] for \d+ samples, and answers are the largest of class scores, "
        for key in ("agreement", "divergence", "class_drop"):
            assert found[key][0] == "not judged"
            assert re.match(why, found[key][1]), shape


def test_the_logits_of_a_mapping_are_the_answers_and_all_outputs_count(tmp_path: Path) -> None:
    record, _ = run(tmp_path, factory="Several", budgets="agreement: {min: 5%}, output_error: 500%")
    assert record.answers is not None
    assert record.answers.agreement is not None
    assert record.answers.output_error is not None
    assert record.answers.output_error.value > 0.01


def test_a_divergence_without_end_is_not_judged() -> None:
    one, two = np.zeros(40, dtype=np.int64), np.ones(40, dtype=np.int64)
    apart = np.append(np.zeros(39), np.inf)
    found = plain_answers(Comparison(40, "ab", (one, two), apart), "probe", "")
    assert found.divergence is None
    assert found.reasons["divergence"] == (
        "The smaller model gives a class no chance at all that the full model holds possible: it is infinite."
    )
    assert [(each.full, each.compressed, each.samples) for each in found.confusion] == [(0, 1, 40)]


def test_of_very_many_classes_those_that_fall_most_are_listed() -> None:
    labels = np.arange(1500)
    other = np.where(labels >= 1400, labels, -1)
    found = plain_answers(Comparison(1500, "ab", (labels, other), np.zeros(1500), labels), "evaluation", "")
    assert (len(found.classes), found.unlisted) == (1000, 500)
    assert [each.label for each in found.classes] == list(range(1000))


def test_answers_that_are_not_numbers_are_an_error(tmp_path: Path) -> None:
    gate(tmp_path, factory="broken", evaluation="", budgets="agreement: {min: 5%}", probe="odd")
    held = np.array([3])
    text = f"{PROJECT}\ndef odd():\n    inputs = probe()\n    inputs[HELD, 0] = 9.0\n    return inputs\n"
    whole = batches_of(torch.arange(400.0)[:, None], "numbers", Sampling())
    held = next(iter(held_out_apart(whole)[1])).args[0].flatten().long().tolist()[:1]
    (tmp_path / "net.py").write_text(f"{text}\nHELD = {held}\n")
    with pytest.raises(PFAGateError) as caught:
        pfa_gate.run(tmp_path / "pfa.yaml")
    assert caught.value.fact == "Floating output 1 of the full model is not finite for sample 0."


WIDE = """
def wide():
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(16, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 8))
"""
SHORT = [
    (
        330,
        "",
        "There are 320 samples for 330 filters; their covariance cannot have full rank.",
        "The data has 400 samples, as answers are judged on 80 of them, and more than 413 are needed: give more data, "
        "or exclude the layer.",
    ),
    (
        200,
        ", samples: 240",
        "There are 192 samples for 200 filters; their covariance cannot have full rank.",
        "Raise probe.samples above 250, as answers are judged on 48 of them, or exclude the layer.",
    ),
]


@pytest.mark.parametrize(("width", "samples", "fact", "remedy"), SHORT)
def test_what_is_held_out_counts_where_samples_are_too_few(
    tmp_path: Path, width: int, samples: str, fact: str, remedy: str
) -> None:
    config = gate(tmp_path, factory="wide", evaluation="", budgets="divergence: 1")
    (tmp_path / "net.py").write_text(PROJECT + WIDE.replace("WIDTH", str(width)))
    config.write_text(config.read_text().replace(", batch_size: 64", f", batch_size: 64{samples}"))
    with pytest.raises(PFAGateError) as caught:
        pfa_gate.run(config)
    assert (caught.value.fact, caught.value.remedy) == (fact, remedy)
