"""What a score was read from: labels count too, and neither no data nor no call of the model gives a score."""

import copy
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import pfa_gate
from pfa_gate.errors import DataError, MetricError, PFAGateError
from pfa_gate.model import Batches, Fingerprint, Sampling, batch_of, batches_of
from pfa_gate.model.evaluation import drop_interval
from pfa_gate.model.evaluation.score import score

X, Y = torch.eye(4), torch.tensor([0, 1, 2, 2])


def labelled(batch: int = 4) -> Batches:
    return batches_of((X, Y), "net:test", Sampling(batch_size=batch))


def mean(model: nn.Module, batches: Batches) -> float:
    hits = [float((model(*batch.args).argmax(1) == batch.labels).sum()) for batch in batches]
    return sum(hits) / len(hits)


@pytest.mark.parametrize("metric", ["accuracy", "own"])
def test_labels_are_part_of_what_a_pass_read(metric: str) -> None:
    """As a Dataset does that gives other labels to whoever comes first."""
    passes = count()
    batches = Batches("net:test", lambda: iter([batch_of((torch.eye(4), Y.roll(next(passes), 0)))]))
    asked: Any = mean if metric == "own" else metric
    first, second = (score(nn.Identity(), batches, asked) for _ in range(2))
    with pytest.raises(DataError, match="gave other samples, labels or another order for the compressed model"):
        drop_interval(first, second)


LABELS: dict[str, tuple[Any, Any]] = {
    "texts": (["a", "b", "c"], ["a", "c", "b"]),
    "boxes": ([{"boxes": torch.zeros(2, 4), "what": 1}] * 3, [{"boxes": torch.ones(2, 4), "what": 1}] * 3),
    "masks": (torch.zeros(3, 4, 4), torch.zeros(3, 4, 4).index_fill_(0, torch.tensor([1]), 1)),
    "objects": (np.array(["a", 1, None], object), np.array(["a", 2, None], object)),
}


@pytest.mark.parametrize(("labels", "others"), LABELS.values(), ids=LABELS)
def test_labels_of_any_kind_are_told_apart(labels: Any, others: Any) -> None:
    def seen(given: Any) -> str:
        found = Fingerprint(labels=True)
        found.update(batch_of((torch.zeros(3, 2), given)))
        return found.hexdigest()

    assert seen(labels) == seen(copy.deepcopy(labels))
    assert seen(labels) != seen(others)


AGAIN = "Give the same data in the same order every time it is read; a generator is spent after the first time."


def collected(model: nn.Module, batches: Batches) -> float:
    """Of no batch it is 0, and no exception."""
    return float(sum(model(*batch.args).sum() for batch in batches))


@pytest.mark.parametrize("metric", ["accuracy", "own", "mean"])
def test_data_that_is_spent_after_one_pass_is_no_data(metric: str) -> None:
    stream = iter([batch_of((torch.eye(4), Y))])
    batches = Batches("net:test", lambda: stream, where=("pfa.yaml:9:7",))
    asked: Any = {"own": collected, "mean": mean}.get(metric, metric)
    assert score(nn.Identity(), batches, asked).samples == 4
    with pytest.raises(DataError) as caught:
        score(nn.Identity(), batches, asked)
    assert str(caught.value) == f"'net:test' gave no samples.\n  at pfa.yaml:9:7\n  {AGAIN}"


def test_a_metric_that_reads_twice_must_read_the_same() -> None:
    passes = count()
    batches = Batches("net:test", lambda: iter([batch_of((torch.eye(4) + next(passes), Y))]))

    def twice(model: nn.Module, given: Batches) -> float:
        return sum(mean(model, given) for _ in range(2))

    with pytest.raises(DataError) as caught:
        score(nn.Identity(), batches, twice)
    assert caught.value.fact == (
        "'net:test' gave other samples, labels or another order when it was read for the 2. time."
    )


def test_a_look_at_the_first_batch_is_no_pass() -> None:
    def peeking(model: nn.Module, batches: Batches) -> float:
        next(iter(batches))
        return mean(model, batches)

    found = score(nn.Identity(), labelled(2), peeking)
    assert found == score(nn.Identity(), labelled(2), mean)
    assert found.samples == 4


class Memo:
    """Gives what it gave for the first model."""

    def __init__(self) -> None:
        self.value: float | None = None

    def __call__(self, model: nn.Module, batches: Batches) -> float:
        for _ in batches:
            pass
        self.value = mean(model, batches) if self.value is None else self.value
        return self.value


def test_a_metric_that_does_not_call_the_model_is_noticed() -> None:
    memo = Memo()
    value = score(nn.Identity(), labelled(), memo).value
    model = nn.Sequential(nn.Identity())
    with pytest.raises(MetricError) as caught:
        score(model, labelled(), memo)
    assert str(caught.value) == (
        f"The metric 'Memo' gave {value:g} without a call of the model.\n"
        "  Let it call model(*batch.args, **batch.kwargs) each time it is asked, and remember no value."
    )
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_metric_that_reads_nothing_is_noticed() -> None:
    with pytest.raises(MetricError) as caught:
        score(nn.Identity(), labelled(), lambda model, _batches: float(model(X).sum()))
    assert caught.value.fact == "The metric '<lambda>' read no sample of the evaluation."


PROJECT = """
import torch
from torch import nn
from torch.utils.data import Dataset


def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def probe():
    return torch.randn(200, 4, generator=torch.Generator().manual_seed(0))


def answers():
    with torch.no_grad():
        return build()(probe()).argmax(1)


class Spent:
    done = False

    def __iter__(self):
        if not Spent.done:
            yield probe(), answers()
        Spent.done = True


class Moving(Dataset):
    reads = 0

    def __len__(self):
        return 200

    def __getitem__(self, index):
        Moving.reads += 1
        truth = int(answers()[index])
        return probe()[index], truth if Moving.reads > 200 else (truth + int(index % 2 == 0)) % 3


def still():
    return probe(), answers()


def loss(model, batches):
    return -float(sum(nn.functional.cross_entropy(model(x), y, reduction="sum") for x, y in batches))


def memo(model, batches, kept=[]):
    kept = kept or [kept.append(loss(model, batches)) or kept[-1]]
    return sum(1 for _ in batches) * 0 + kept[0]
"""
GATE = """
  {name}:
    model: {{factory: "net.py:build"}}
    probe: {{data: net.py:probe}}
    recipe: {{strategy: energy, energy: 0.8}}
    evaluation: {{data: net.py:{data}, metric: {metric}}}
    budgets: {{compressed: {{parameters: 100%}}}}
    selection: correlation
    recovery: []
"""
GATES = {
    "spent": ("Spent", "net.py:loss, direction: higher", "'net.py:Spent' gave no samples."),
    "moving": ("Moving", "accuracy", "The evaluation gave other samples, labels or another order for the compressed"),
    "memo": ("still", "net.py:memo, direction: higher", "The metric 'net.py:memo' gave "),
}


@pytest.mark.parametrize("name", GATES)
def test_a_gate_ends_in_the_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(PROJECT)
    gates = "".join(GATE.format(name=each, data=data, metric=metric) for each, (data, metric, _) in GATES.items())
    (tmp_path / "pfa.yaml").write_text(f"version: 1\ngates:{gates}")
    with pytest.raises(PFAGateError) as caught:
        pfa_gate.run(tmp_path / "pfa.yaml", name)
    assert caught.value.fact.startswith(GATES[name][2])
    assert not (tmp_path / ".pfa" / name).exists()
