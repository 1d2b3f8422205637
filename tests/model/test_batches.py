"""What holds of batches wherever they come from."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from pfa_gate.errors import DataError
from pfa_gate.model import Batches, Sampling, batches_of

N = 11
IMAGES = torch.arange(N * 6, dtype=torch.float32).reshape(N, 1, 2, 3)
LABELS = torch.arange(N)


class Pairs(Dataset[Any]):
    """A dataset of (image, number)."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return IMAGES[row], row


class Stream(IterableDataset[Any]):
    """The same as a stream."""

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        return ((IMAGES[row], row) for row in range(N))


class Images(Dataset[Any]):
    """Without labels."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, row: int) -> Tensor:
        return IMAGES[row]


class ImageStream(IterableDataset[Any]):
    """A stream without labels."""

    def __iter__(self) -> Iterator[Tensor]:
        return iter(IMAGES)


class Restarting:
    """A plain object that can be iterated again and again, in batches of 4."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(IMAGES.split(4), LABELS.split(4), strict=True)


KINDS = {
    "tensors": lambda: (IMAGES, LABELS),
    "list of tensors": lambda: [IMAGES, LABELS],
    "arrays": lambda: (IMAGES.numpy(), LABELS.numpy()),
    "read-only arrays": lambda: (np.broadcast_to(IMAGES.numpy(), IMAGES.shape), LABELS.numpy()),
    "tensor dataset": lambda: TensorDataset(IMAGES, LABELS),
    "dataset": Pairs,
    "stream": Stream,
    "loader": lambda: DataLoader(Pairs(), batch_size=4),
    "loader of a stream": lambda: DataLoader(Stream(), batch_size=4),
    "loader without batches": lambda: DataLoader(Pairs(), batch_size=None),
    "list of batches": lambda: list(Restarting()),
    "list of samples": lambda: [(IMAGES[row], row) for row in range(N)],
    "iterable": Restarting,
    "generator of batches": lambda: (batch for batch in Restarting()),
    "generator of samples": lambda: ((IMAGES[row], torch.tensor(row)) for row in range(N)),
    "list of lists": lambda: [[images, labels] for images, labels in Restarting()],
    "generator with arrays": lambda: ((IMAGES[row].numpy(), np.int64(row)) for row in range(N)),
}
UNLABELLED = {
    "tensor": lambda: IMAGES,
    "array": IMAGES.numpy,
    "one-tuple": lambda: (IMAGES,),
    "dataset": Images,
    "stream": ImageStream,
    "loader": lambda: DataLoader(Images(), batch_size=4),
    "list of batches": lambda: [IMAGES[:4], IMAGES[4:]],
    "list of equal batches": lambda: [*IMAGES[:10].split(5), IMAGES[10:]],
    "tensor dataset": lambda: TensorDataset(IMAGES),
}
MAPPINGS = {
    "mapping": lambda: {"pixels": IMAGES, "labels": LABELS},
    "batches": lambda: [{"pixels": i, "labels": t} for i, t in Restarting()],
    "samples": lambda: [{"pixels": IMAGES[row], "labels": row} for row in range(N)],
    "loader": lambda: DataLoader([{"pixels": IMAGES[row], "labels": row} for row in range(N)], batch_size=3),
}


def opened(data: Any, **sampling: Any) -> Batches:
    return batches_of(data, "net:probe", Sampling(**sampling))


def inputs(batches: Batches) -> Tensor:
    return torch.cat([batch.tensors()[0] for batch in batches])


def labels(batches: Batches) -> Tensor:
    return torch.cat([batch.labels for batch in batches])


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
class TestLabelledData:
    def test_gives_all_in_order(self, make: Any) -> None:
        batches = opened(make(), batch_size=3)
        assert torch.equal(inputs(batches), IMAGES)
        assert torch.equal(labels(batches), LABELS)
        assert batches.samples == N

    def test_can_be_read_again(self, make: Any) -> None:
        batches = opened(make(), batch_size=3)
        assert [b.size for b in batches] == [b.size for b in batches]
        assert torch.equal(inputs(batches), inputs(batches))

    def test_has_one_fingerprint(self, make: Any) -> None:
        assert opened(make(), batch_size=5).sha256 == opened((IMAGES, LABELS)).sha256

    @pytest.mark.parametrize("wanted", [2, 4, 7, N, 50])
    def test_gives_no_more_than_asked(self, make: Any, wanted: int) -> None:
        batches = opened(make(), batch_size=3, samples=wanted)
        assert batches.samples == min(wanted, N)
        assert torch.equal(inputs(batches), IMAGES[labels(batches)])
        assert labels(batches).unique().tolist() == labels(batches).tolist()

    def test_gives_an_example_of_two(self, make: Any) -> None:
        example = opened(make(), batch_size=1).example()
        assert torch.equal(example.args[0], IMAGES[:2])
        assert example.labels is None


@pytest.mark.parametrize("make", UNLABELLED.values(), ids=UNLABELLED)
def test_labels_may_be_missing(make: Any) -> None:
    batches = opened(make(), batch_size=3)
    assert torch.equal(inputs(batches), IMAGES)
    assert all(batch.labels is None and len(batch.args) == 1 for batch in batches)


@pytest.mark.parametrize("make", MAPPINGS.values(), ids=MAPPINGS)
def test_a_mapping_holds_keyword_arguments(make: Any) -> None:
    batches = opened(make(), batch_size=3)
    assert all(batch.args == () and list(batch.kwargs) == ["pixels"] for batch in batches)
    assert torch.equal(inputs(batches), IMAGES)
    assert torch.equal(labels(batches), LABELS)


def test_more_inputs_than_one() -> None:
    (batch,) = opened((IMAGES, IMAGES + 1, LABELS))
    assert [len(value) for value in batch.args] == [N, N]
    assert torch.equal(batch.labels, LABELS)


def test_what_is_no_tensor_goes_to_the_model_as_it_is() -> None:
    batches = opened([{"pixels": IMAGES, "return_dict": True}], samples=3)
    assert [(batch.size, batch.kwargs["return_dict"]) for batch in batches] == [(3, True)]


def test_bytes_stay_bytes() -> None:
    (batch,) = opened(torch.full((2, 3), 255, dtype=torch.uint8))
    assert batch.args[0].dtype == torch.uint8
    assert batch.args[0].max() == 255


class TestSampling:
    def test_is_sorted_without_repeats(self) -> None:
        rows = Sampling(samples=500, seed=3).rows(1000)
        assert len(rows) == 500
        assert bool((rows.diff() > 0).all())

    def test_depends_on_the_seed_alone(self) -> None:
        torch.manual_seed(1)
        first = Sampling(samples=5, seed=3).rows(100)
        torch.manual_seed(2)
        assert torch.equal(first, Sampling(samples=5, seed=3).rows(100))
        assert not torch.equal(first, Sampling(samples=5, seed=4).rows(100))

    def test_reads_the_start_of_a_stream_and_no_more(self) -> None:
        def endless() -> Iterator[tuple[Tensor, Tensor]]:
            for row in range(10**9):
                assert row < 3, "read too far"
                yield torch.full((4, 2), float(row)), torch.arange(4)

        batches = opened(endless(), samples=10)
        assert [batch.size for batch in batches] == [4, 4, 2]


class TestFingerprint:
    def test_sees_every_input_bit_and_shape_and_type_and_order(self) -> None:
        changed = IMAGES.clone()
        changed[3, 0, 1, 1] += 1e-3
        others = [IMAGES, changed, IMAGES.reshape(N, 2, 3), IMAGES.int(), IMAGES.double(), IMAGES.flip(0)]
        others += [IMAGES[:-1]]
        assert len({opened(other).sha256 for other in others}) == len(others)

    def test_does_not_see_labels(self) -> None:
        assert opened((IMAGES, LABELS)).sha256 == opened((IMAGES, LABELS + 1)).sha256

    def test_takes_types_that_numpy_does_not_know(self) -> None:
        assert len(opened(IMAGES.bfloat16()).sha256) == 64


class TestRandomness:
    def test_of_a_shuffled_loader_repeats(self) -> None:
        batches = opened(DataLoader(Pairs(), batch_size=4, shuffle=True))
        first = labels(batches)
        torch.rand(3)
        assert torch.equal(labels(batches), first)
        assert first.tolist() != list(range(N))

    def test_of_transforms_repeats_and_differs_between_samples(self) -> None:
        class Noisy(Images):
            def __getitem__(self, row: int) -> Tensor:
                return torch.rand(1) + np.random.rand() + random.random()

        batches = opened(Noisy(), batch_size=4)
        first = inputs(batches)
        assert torch.equal(inputs(batches), first)
        assert len(first.unique()) == N
        assert not torch.equal(inputs(opened(Noisy(), batch_size=4, seed=1)), first)

    def test_outside_is_not_touched(self) -> None:
        torch.manual_seed(0)
        expected = torch.rand(3)
        torch.manual_seed(0)
        found = [torch.rand(()) for _ in opened(DataLoader(Pairs(), batch_size=4, shuffle=True))]
        assert torch.equal(torch.stack(found), expected)


class Broken(Images):
    def __getitem__(self, row: int) -> Tensor:
        raise KeyError(row)


class Ragged(Images):
    def __getitem__(self, row: int) -> Tensor:
        return torch.zeros(row + 1)


class Endless(Dataset[Any]):
    def __getitem__(self, row: int) -> Tensor:
        return torch.zeros(2)


def failing() -> Iterator[Tensor]:
    yield IMAGES
    raise ValueError("disk full")


KIND = "Give a Dataset, a DataLoader, tensors, or an iterable of batches."
BATCH = "A batch is a tensor, a tuple (inputs, labels) or a mapping of keyword arguments."
EMPTY = "'net:probe' gives no samples.\n  Point it at more data."
BAD = {
    "nothing": (lambda: None, f"The data is an object of type NoneType.\n  {KIND}"),
    "text": (lambda: "seven", f"The data is an object of type str.\n  {KIND}"),
    "text in a list": (lambda: ["seven"], f"The data gives objects of type str.\n  {BATCH}"),
    "empty list": (list, EMPTY),
    "empty tuple": (tuple, EMPTY),
    "empty mapping": (dict, EMPTY),
    "empty tensor": (lambda: torch.zeros(0, 3), EMPTY),
    "empty dataset": (lambda: TensorDataset(torch.zeros(0, 3)), EMPTY),
    "empty generator": (lambda: iter(()), EMPTY),
    "empty batches": (lambda: [torch.zeros(0, 3), torch.zeros(0, 3)], EMPTY),
    "scalar": (
        lambda: torch.tensor(3.0),
        "A batch holds no tensor with an axis for its samples.\n  Give tensors with the samples on axis 0.",
    ),
    "lengths": (lambda: (IMAGES, LABELS[:9]), "Its arrays are of different lengths: 11, 9."),
    "strings": (lambda: np.array(["a", "b"]), "An array of type <U1 is not data for a model."),
    "no length": (
        Endless,
        "The dataset Endless has no length.\n  Define __len__, or make it an IterableDataset.",
    ),
    "ragged": (
        Ragged,
        "Its samples do not make a batch: stack expects each tensor to be equal size, but got [1] at entry 0 "
        "and [2] at entry 1\n  Give tensors of one shape, or a DataLoader with a collate_fn of your own.",
    ),
}


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD)
def test_bad_data_is_named(make: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        opened(make())
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("make", "what"),
    [(Broken, "KeyError: 0"), (failing, "ValueError: disk full")],
    ids=["dataset", "generator"],
)
def test_the_users_own_line_is_named(make: Any, what: str) -> None:
    with pytest.raises(DataError) as caught:
        opened(make())
    assert f"Reading 'net:probe' raised {what} (" in caught.value.fact
    assert "test_batches.py:" in caught.value.fact


def test_one_sample_is_no_example() -> None:
    with pytest.raises(DataError) as caught:
        opened(IMAGES[:1]).example()
    assert str(caught.value) == ("'net:probe' gives one sample; a spectrum needs at least 2.\n  Point it at more data.")


def test_samples_that_do_not_join_are_no_example() -> None:
    with pytest.raises(DataError, match="Two samples of the data do not fit into one batch"):
        opened([torch.zeros(1, 3), torch.zeros(1, 4)]).example()


def test_errors_while_reading_carry_the_place() -> None:
    batches = Batches("net:probe", lambda: iter(failing()), where=("pfa.yaml:9:13",))  # type: ignore[arg-type]
    with pytest.raises(DataError) as caught:
        list(batches)
    assert caught.value.where == ("pfa.yaml:9:13",)


def test_a_one_shot_iterator_draws_from_the_seed() -> None:
    first, again = (opened((torch.randn(4, 2) for _ in range(3)), seed=5) for _ in range(2))
    assert torch.equal(inputs(first), inputs(again))
