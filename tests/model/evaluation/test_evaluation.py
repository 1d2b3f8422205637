"""Scores against counting by hand, the interval against simulation, and what is no score."""

from collections.abc import Callable, Iterator
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pfa_gate.errors import DataError, LabelsError, MetricError, NotFiniteError, PFAGateError
from pfa_gate.model import Batches, Sampling, batch_of, batches_of
from pfa_gate.model.evaluation import Score, drop_interval
from pfa_gate.model.evaluation.score import score

CLASSES, N = 12, 60


class Wrapped(nn.Module):
    """Gives its input in another form."""

    def __init__(self, form: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.form = form

    def forward(self, x: Tensor) -> Any:
        return self.form(x)


@pytest.fixture
def scores() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(N, CLASSES)))


@pytest.fixture
def labels() -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).integers(0, CLASSES, N))


def labelled(scores: Tensor, labels: Any, batch: int = 16) -> Batches:
    return batches_of((scores, labels), "net:test", Sampling(batch_size=batch))


@pytest.mark.parametrize(("metric", "most"), [("accuracy", 1), ("top5", 5)])
@pytest.mark.parametrize("batch", [1, 7, N])
def test_a_hit_is_a_label_among_the_highest(scores: Tensor, labels: Tensor, metric: str, most: int, batch: int) -> None:
    by_hand = [float(label in row.argsort()[-most:]) for row, label in zip(scores.numpy(), labels, strict=True)]
    found = score(nn.Identity(), labelled(scores, labels, batch), metric)
    assert found.outcomes is not None
    assert found.outcomes.dtype == np.float64
    assert found.outcomes.tolist() == by_hand
    assert found.value == pytest.approx(np.mean(by_hand))
    assert found.samples == N


FORMS: dict[str, Callable[[Tensor], Any]] = {
    "tensor": lambda x: x,
    "tuple": lambda x: (x, x.flip(1)),
    "after whole numbers": lambda x: (x.argmax(1), x),
    "logits first": lambda x: {"logits": x, "hidden": x.flip(1)},
    "logits last": lambda x: {"hidden": x.flip(1), "logits": x},
    "mapping": lambda x: {"scores": x, "hidden": x.flip(1)},
    "attribute": lambda x: SimpleNamespace(hidden=x.flip(1), logits=x),
    "nested": lambda x: [{"scores": x}, x.flip(1)],
    "half": lambda x: x.to(torch.bfloat16),
    "masked": lambda x: x.masked_fill(x < x.median(), -torch.inf),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_scores_are_found_in_any_form(scores: Tensor, labels: Tensor, form: Any) -> None:
    plain = scores.to(torch.bfloat16).double()
    expected = score(nn.Identity(), labelled(plain, labels), "accuracy")
    assert score(Wrapped(form), labelled(plain, labels), "accuracy").value == expected.value


@pytest.mark.parametrize("kind", [torch.uint8, torch.int32, torch.int64])
def test_labels_of_any_whole_type(scores: Tensor, labels: Tensor, kind: torch.dtype) -> None:
    expected = score(nn.Identity(), labelled(scores, labels), "top5").value
    assert score(nn.Identity(), labelled(scores, labels.to(kind)), "top5").value == expected


def test_keyword_inputs_are_passed_on(scores: Tensor, labels: Tensor) -> None:
    batches = batches_of({"x": scores, "labels": labels}, "net:test", Sampling())
    expected = score(nn.Identity(), labelled(scores, labels), "accuracy").value
    assert score(Wrapped(lambda x: x), batches, "accuracy").value == expected


OWN = "Name a metric of your own: evaluation.metric: module:callable."
NUMBERS = "Give the number of the class for each sample."
X = torch.zeros(4, 3)
Y = torch.tensor([0, 1, 2, 0])
NAN = X.clone()
NAN[2, 1] = torch.nan

BAD: dict[str, tuple[Any, Any, type[PFAGateError], str]] = {
    "no labels": (
        nn.Identity(),
        [X],
        LabelsError,
        "The evaluation has no labels, and accuracy needs them.\n"
        "  Give batches (inputs, labels), or arrays named images and labels.",
    ),
    "too high": (
        nn.Identity(),
        (X, Y + 1),
        LabelsError,
        "The labels run from 1 to 3; the model scores the classes 0 to 2.\n"
        "  Number the classes from 0, as in training.",
    ),
    "too low": (
        nn.Identity(),
        (X, Y - 1),
        LabelsError,
        "The labels run from -1 to 1; the model scores the classes 0 to 2.\n"
        "  Number the classes from 0, as in training.",
    ),
    "fractions": (
        nn.Identity(),
        (X, Y / 2),
        LabelsError,
        f"The labels of 4 samples are float32 [4]; accuracy needs whole numbers [4].\n  {NUMBERS}",
    ),
    "one-hot": (
        nn.Identity(),
        (X, torch.eye(3, dtype=torch.int64)[Y]),
        LabelsError,
        f"The labels of 4 samples are int64 [4, 3]; accuracy needs whole numbers [4].\n  {NUMBERS}",
    ),
    "wrong count": (
        nn.Identity(),
        [(X, Y[:3])],
        LabelsError,
        f"The labels of 4 samples are int64 [3]; accuracy needs whole numbers [4].\n  {NUMBERS}",
    ),
    "words": (
        nn.Identity(),
        [(X, ["a", "b", "c", "a"])],
        LabelsError,
        f"The labels of 4 samples are list; accuracy needs whole numbers [4].\n  {NUMBERS}",
    ),
    "NaN": (
        nn.Identity(),
        (NAN, Y),
        NotFiniteError,
        "The model's output is not finite for sample 2 of the evaluation.\n"
        "  Check the weights and the scale of the inputs.",
    ),
    "pictures": (
        Wrapped(lambda x: x[:, None]),
        (X, Y),
        MetricError,
        f"The model gave [4, 1, 3] for 4 samples; accuracy needs [4, classes] with at least 2 classes.\n  {OWN}",
    ),
    "one score": (
        Wrapped(lambda x: x[:, :1]),
        (X, Y),
        MetricError,
        f"The model gave [4, 1] for 4 samples; accuracy needs [4, classes] with at least 2 classes.\n  {OWN}",
    ),
    "whole numbers": (
        Wrapped(lambda x: x.long()),
        (X, Y),
        MetricError,
        f"The model's output, of type Tensor, holds no floating tensor.\n  {OWN}",
    ),
    "shape": (
        nn.Linear(7, 3),
        (X, Y),
        DataError,
        "The model does not take float32 [4, 3]: it raised RuntimeError: "
        "mat1 and mat2 shapes cannot be multiplied (4x3 and 7x3).\n"
        "  Give the data in the shape and type that the model was trained on.",
    ),
}


class Halves(nn.Module):
    """Has the length of its example written into it, as an exported graph has."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.view(-1, 5, 2, 2).amax((1, 3))


@pytest.mark.parametrize(("metric", "kind"), [("accuracy", DataError), ("own", MetricError)])
def test_a_graph_takes_the_sizes_of_its_example(metric: str, kind: type[PFAGateError]) -> None:
    """As a compressed model of the form `graph` does: what its class would take is no help."""
    graph = torch.fx.symbolic_trace(Halves())
    data = batches_of((torch.randn(4, 7, 4), torch.zeros(4, dtype=torch.int64)), "net:test", Sampling())
    with pytest.raises(kind) as caught:
        score(graph, data, (lambda model, batches: [model(x) for x, _ in batches]) if metric == "own" else metric)
    assert caught.value.remedy == (
        "This model is a graph with the sizes of the probe's first batch. "
        "Give all data in these sizes; only the number of samples may differ."
    )


@pytest.mark.parametrize(("model", "data", "kind", "message"), BAD.values(), ids=BAD)
def test_what_is_no_score(model: nn.Module, data: Any, kind: type[PFAGateError], message: str) -> None:
    with pytest.raises(kind) as caught:
        score(model, batches_of(data, "net:test", Sampling()), "accuracy")
    assert str(caught.value) == message


def test_a_wrong_sample_is_counted_from_the_start() -> None:
    with pytest.raises(NotFiniteError, match="for sample 6 of"):
        score(nn.Identity(), labelled(torch.cat([X, NAN]), torch.cat([Y, Y]), batch=4), "accuracy")


def test_top5_of_five_classes_is_refused() -> None:
    with pytest.raises(MetricError, match=r"top5 needs \[4, classes\] with at least 6 classes"):
        score(nn.Identity(), labelled(torch.zeros(4, 5), Y), "top5")


def test_errors_carry_the_place_of_the_data() -> None:
    batches = Batches("net:test", lambda: iter([batch_of(X)]), where=("pfa.yaml:14:13",))
    with pytest.raises(LabelsError) as caught:
        score(nn.Identity(), batches, "accuracy")
    assert caught.value.where == ("pfa.yaml:14:13",)


@pytest.mark.parametrize("value", [0.25, 1, np.float32(0.25), torch.tensor(0.25), torch.tensor([0.25])])
def test_an_own_metric_gives_any_number(value: Any) -> None:
    found = score(nn.Identity(), labelled(X, Y), used(value))
    assert (found.value, found.outcomes, found.samples) == (float(value), None, 4)


def used(value: Any) -> Any:
    """A metric that calls the model on all data, and gives this."""

    def metric(model: nn.Module, batches: Batches) -> Any:
        for batch in batches:
            model(*batch.args)
        return value

    return metric


def own(model: nn.Module, batches: Batches) -> float:
    raise ZeroDivisionError("no positives")


HERE = "tests/model/evaluation/test_evaluation.py"
HERE = "tests/model/evaluation/test_evaluation.py"
HERE = "tests/model/evaluation/test_evaluation.py"
HERE = "tests/model/evaluation/test_evaluation.py"
HERE = "tests/model/evaluation/test_evaluation.py"
HERE = "tests/model/evaluation/test_evaluation.py"
HERE = "tests/model/evaluation/test_evaluation.py"
ONE = "Return one float."
UNFIT = {
    "raises": (own, f"The metric 'own' raised ZeroDivisionError: no positives ({HERE}:{{line}})."),
    "nothing": (lambda m, b: None, f"The metric '<lambda>' gave an object of type NoneType, not a number.\n  {ONE}"),
    "text": (lambda m, b: "0.9", f"The metric '<lambda>' gave an object of type str, not a number.\n  {ONE}"),
    "truth": (lambda m, b: True, f"The metric '<lambda>' gave an object of type bool, not a number.\n  {ONE}"),
    "many": (lambda m, b: X, f"The metric '<lambda>' gave an object of type Tensor, not a number.\n  {ONE}"),
    "NaN": (lambda m, b: float("nan"), "The metric '<lambda>' gave nan.\n  Return one finite float."),
    "infinity": (lambda m, b: np.inf, "The metric '<lambda>' gave inf.\n  Return one finite float."),
}


@pytest.mark.parametrize(("metric", "message"), UNFIT.values(), ids=UNFIT)
def test_what_an_own_metric_must_not_give(
    metric: Any, message: str, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pytestconfig.rootpath)
    with pytest.raises(MetricError) as caught:
        score(nn.Identity(), labelled(X, Y), metric)
    assert str(caught.value) == message.format(line=own.__code__.co_firstlineno + 1)


def subscripts(model: nn.Module, batches: Batches) -> float:
    return float(next(iter(batches))[0].mean())  # type: ignore[index]


def asks_its_shape(model: nn.Module, batches: Batches) -> float:
    return float(next(iter(batches)).shape[0])  # type: ignore[attr-defined]


def takes_answers(answers: Any, targets: Any) -> float:
    return float((answers - targets).square().mean())


@pytest.mark.parametrize("metric", [subscripts, asks_its_shape, takes_answers])
def test_who_mistakes_a_batch_is_told_what_it_is(metric: Any) -> None:
    with pytest.raises(MetricError) as caught:
        score(nn.Identity(), labelled(X, Y), metric)
    assert caught.value.fact.startswith(f"The metric '{metric.__name__}' raised ")
    assert caught.value.remedy == (
        f"{metric.__name__}(model, batches) reads batches that unpack as (inputs…, labels) and have .args, .kwargs and "
        ".labels; one is run as model(*batch.args, **batch.kwargs)."
    )


def test_a_batch_of_keyword_arguments_says_how_it_is_run() -> None:
    named = batches_of([{"pixels": torch.zeros(4, 2), "labels": torch.zeros(4)}], "named", Sampling())
    with pytest.raises(MetricError) as caught:
        score(nn.Identity(), named, lambda model, batches: sum(len(labels) for _, labels in batches))
    assert str(caught.value) == (
        "The metric failed: A batch of keyword arguments (pixels) does not unpack: they have no order.\n"
        "  Call model(*batch.args, **batch.kwargs), and read batch.labels."
    )


def test_data_that_fails_under_an_own_metric_keeps_its_words() -> None:
    def broken() -> Iterator[Any]:
        raise OSError("disk full")
        yield

    def count(_model: nn.Module, batches: Batches) -> float:
        return float(sum(1 for _ in batches))

    with pytest.raises(MetricError, match="The metric failed: Reading 'net:test' raised OSError: disk full"):
        score(nn.Identity(), Batches("net:test", broken), count)


def outcomes(*hits: int) -> Score:
    return Score(float(np.mean(hits)), np.array(hits, np.float64), len(hits))


def test_the_interval_holds_the_drop_and_turns_with_it() -> None:
    full, compressed = outcomes(*[1] * 90, *[0] * 10), outcomes(*[1] * 80, *[0] * 20)
    interval = drop_interval(full, compressed)
    assert interval is not None
    low, high = interval
    assert low < 0.1 < high
    assert drop_interval(compressed, full) == pytest.approx((-high, -low))


def test_the_interval_of_bonett_and_price() -> None:
    # 20 lost and 6 won of 100: (21 - 7) / 102 +- 1.96 sqrt((28/102 - (14/102)^2) / 102).
    full = outcomes(*[1] * 20, *[0] * 6, *[1] * 74)
    compressed = outcomes(*[0] * 20, *[1] * 6, *[1] * 74)
    assert drop_interval(full, compressed) == pytest.approx((0.0391279, 0.2353819), abs=1e-6)


@pytest.mark.parametrize(("lost", "won", "samples"), [(0.05, 0.01, 400), (0.01, 0.01, 400), (0.2, 0.1, 60)])
def test_the_interval_covers_the_truth_as_often_as_it_says(lost: float, won: float, samples: int) -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        draw = rng.random(samples)
        full = Score(0, (draw < 0.5 + lost).astype(np.float64), samples)
        compressed = Score(0, ((draw < 0.5) | (draw > 1 - won)).astype(np.float64), samples)
        low, high = drop_interval(full, compressed) or (0.0, 0.0)
        covered += low <= lost - won <= high
    assert 0.94 <= covered / 2000 <= 0.99


def test_no_interval_without_outcomes() -> None:
    assert drop_interval(Score(0.9, None, 10), Score(0.8, None, 10)) is None


def test_scores_of_different_data_are_refused() -> None:
    with pytest.raises(DataError, match="gave 3 samples for the full model, and 2 for the compressed one"):
        drop_interval(outcomes(1, 1, 0), outcomes(1, 1))


@pytest.mark.parametrize("change", [lambda x, n: x + n, lambda x, n: x.roll(n, 0)])
def test_a_pass_over_other_samples_is_refused(change: Callable[[Tensor, int], Tensor]) -> None:
    """As a loader does that shuffles by a generator of its own: it goes on where the last pass ended."""
    passes = count()
    batches = Batches("net:test", lambda: iter([batch_of((change(torch.eye(4), next(passes)), Y))]))
    first, second = (score(nn.Identity(), batches, "accuracy") for _ in range(2))
    with pytest.raises(DataError, match="gave other samples, labels or another order for the compressed model"):
        drop_interval(first, second)
    assert drop_interval(first, first) is not None
