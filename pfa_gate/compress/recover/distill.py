"""Distill: a bounded number of gradient steps towards the full model's own outputs; labels are not used."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.utils import _pytree as pytree

from pfa_gate.compress.recover.distill_losses import distill_loss, logits_of, squared_error
from pfa_gate.compress.recover.recalibrate import batch_norms, recalibrate
from pfa_gate.errors import DataError
from pfa_gate.graph import inputs_of
from pfa_gate.model.batch import Inputs, samples_of
from pfa_gate.model.copies import copied
from pfa_gate.model.device import input_device, inputs_on

ENOUGH = 16  # samples in a batch from which batch norms take statistics of their own
POOL = 16  # batches whose samples are mixed
HELD_OUT = 16  # one sample of so many is held out
Progress = Callable[[int, int], None]
Augment = Callable[[Any, torch.Generator], Any]


@dataclass(frozen=True)
class DistillSettings:
    """How long and how fast.

    Attributes:
        steps: batches trained on; the probe is read as often as that takes.
        rate: highest learning rate of Adam; a tenth of the steps rise to it, the rest fall along a cosine.
        statistics: of batch norms during training: `fixed` as they are, for mild cuts; `batch`, each batch's own and
            in the end the probe's, which trains strong cuts faster.
        seed: of the order of samples and of the augmentation.
        augment: the user's (inputs, generator) -> inputs, or None. Inputs are what the model takes: a tensor, or a
            tuple of positional arguments, or a mapping of keyword arguments.
    """

    steps: int = 300
    rate: float = 1e-3
    statistics: Literal["fixed", "batch"] = "fixed"
    seed: int = 0
    augment: Augment | None = None


@dataclass(frozen=True)
class DistillResult:
    """What distillation gave.

    Attributes:
        model: the trained model in eval mode; where it was undone, a copy of the one given.
        before, after: squared error of the logits on held-out samples, as a share of the full model's square there;
            None where no batch had enough samples to hold any out.
        undone: whether the held-out error did not fall, so that nothing was changed.
    """

    model: nn.Module
    before: float | None
    after: float | None
    undone: bool = False


def distill(
    full: nn.Module,
    smaller: nn.Module,
    batches: Iterable[Any],
    settings: DistillSettings = DistillSettings(),
    progress: Progress = lambda done, steps: None,
) -> DistillResult:
    """Train the compressed model to give the outputs of the full one on the probe.

    The loss is the squared error of the logits and of the outputs of the blocks. Samples are mixed into new batches at
    each reading. One sample in sixteen is held out: where their error does not fall, the training is undone.

    Args:
        full: the teacher, in eval mode.
        smaller: the student; it is not changed.
        batches: of inputs, the same at each reading.
        settings: how long and how fast.
        progress: called as (done, steps).

    Returns:
        A new model; the same arguments give the same on the same machine.

    Raises:
        DataError: the models give no floating output.

    Example:
        >>> teacher, student = nn.Linear(2, 3), nn.Linear(2, 3)
        >>> probe = [torch.randn(32, 2)]
        >>> found = distill(teacher, student, probe, DistillSettings(steps=50, rate=0.1))
        >>> found.after < found.before
        True
    """
    student = copied(smaller)
    norms = batch_norms(student) if settings.statistics == "batch" else []
    with torch.enable_grad(), _trainable(student) as trained:
        optimiser = _Adam(trained)
        for done, inputs in enumerate(_training_batches(batches, settings), 1):
            args, kwargs = inputs_on(inputs, input_device(student))
            for norm in norms:
                norm.train(samples_of((args, kwargs), 0) >= ENOUGH)
            distill_loss(full, student, args, kwargs).backward()  # type: ignore[no-untyped-call]
            optimiser.step(settings.rate * _rate(done - 1, settings.steps))
            progress(done, settings.steps)
    distilled = recalibrate(student, batches)[0] if norms else student.eval()
    before, after = (_held_out_error(full, model, batches) for model in (smaller, distilled))
    undone = before is not None and after is not None and not after < before
    return DistillResult(copied(smaller) if undone else distilled, before, after, undone)


class _Adam:
    """torch's Adam in its functional form: the class of the same name imports the compiler, which takes two seconds."""

    def __init__(self, trained: Sequence[Tensor]) -> None:
        self._states = [
            (tensor, torch.zeros_like(tensor), torch.zeros_like(tensor), torch.tensor(0.0)) for tensor in trained
        ]

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Take one step down the gradients, which are spent."""
        reached = [state for state in self._states if state[0].grad is not None]
        tensors, means, squares, steps = ([state[place] for state in reached] for place in range(4))
        gradients = [tensor.grad for tensor in tensors if tensor.grad is not None]
        usual = partial(adam, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, amsgrad=False, maximize=False)
        usual(tensors, gradients, means, squares, [], steps, lr=rate)
        for tensor in tensors:
            tensor.grad = None


@contextmanager
def _trainable(model: nn.Module) -> Iterator[list[Tensor]]:
    """The floating parameters with gradients; afterwards each needs one as before, and none is left."""
    flags = [(tensor, tensor.requires_grad) for tensor in model.parameters()]
    yield [tensor.requires_grad_() for tensor in model.parameters() if tensor.is_floating_point()]
    for tensor, flag in flags:
        tensor.grad = None
        tensor.requires_grad_(flag)


def _held_out_error(full: nn.Module, model: nn.Module, batches: Iterable[Any]) -> float | None:
    """Squared error of the logits on the held-out samples, as a share of the full model's square there."""
    errors, sizes = list[float](), list[float]()
    with torch.no_grad():
        for batch in batches:
            _, held = split_held_out(inputs_of(batch))
            if held is not None:
                args, kwargs = inputs_on(held, input_device(model))
                error, size = squared_error(logits_of(model(*args, **kwargs)), logits_of(full(*args, **kwargs)))
                errors.append(float(error))
                sizes.append(float(size))
    return sum(errors) / (sum(sizes) or 1) if errors else None


def _rate(step: int, steps: int) -> float:
    rise = max(1, steps // 10)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def _training_batches(batches: Iterable[Any], settings: DistillSettings) -> Iterator[Inputs]:
    """As many batches as there are steps, mixed and augmented."""
    generator, given = torch.Generator().manual_seed(settings.seed), 0
    while given < settings.steps:
        before = given
        for inputs in resampled((split_held_out(inputs_of(batch))[0] for batch in batches), generator):
            if given == settings.steps:
                return
            given += 1
            yield inputs if settings.augment is None else _augmented(inputs, settings.augment, generator)
        if given == before:
            raise DataError("The probe gives no batch to learn from.", remedy="Point probe.data at some samples.")


def _augmented(inputs: Inputs, augment: Augment, generator: torch.Generator) -> Inputs:
    args, kwargs = inputs
    if kwargs:
        return args, dict(augment(kwargs, generator))
    if len(args) == 1:
        return (augment(args[0], generator),), {}
    return tuple(augment(args, generator)), {}


def resampled(batches: Iterable[Inputs], generator: torch.Generator) -> Iterator[Inputs]:
    """As many batches of the same sizes, with the samples of every sixteen mixed, so that their neighbours change.

    Args:
        batches: inputs of a model; tensors have the samples on axis 0.
        generator: of the order.

    Returns:
        Mixed batches. Where the batches of a pool differ in more than their length, text of another length say, they
        stay whole, in a new order.

    Example:
        >>> batches = [((torch.arange(3),), {}), ((torch.arange(3, 5),), {})]
        >>> values = [args[0].tolist() for args, _ in resampled(batches, torch.Generator())]
        >>> [len(each) for each in values], sorted(sum(values, []))
        ([3, 2], [0, 1, 2, 3, 4])
    """
    pool = list[Inputs]()
    for batch in batches:
        pool.append(batch)
        if len(pool) == POOL:
            yield from _mixed(pool, generator)
            pool = []
    yield from _mixed(pool, generator)


def split_held_out(inputs: Inputs) -> tuple[Inputs, Inputs | None]:
    """The samples of a batch to train on, and those that are held out; None where it has too few.

    Example:
        >>> training, held = split_held_out(((torch.arange(20),), {}))
        >>> len(training[0][0]), held[0][0].tolist()
        (19, [15])
    """
    leaves, spec = pytree.tree_flatten(inputs)
    size = _size(leaves)
    if size is None or size < HELD_OUT:
        return inputs, None
    last = torch.arange(size) % HELD_OUT == HELD_OUT - 1
    parts = ([leaf[rows] if isinstance(leaf, Tensor) else leaf for leaf in leaves] for rows in (~last, last))
    training, held = (pytree.tree_unflatten(part, spec) for part in parts)
    return training, held


def _mixed(pool: Sequence[Inputs], generator: torch.Generator) -> Iterator[Inputs]:
    flat = [pytree.tree_flatten(inputs) for inputs in pool]
    sizes = [_size(leaves) for leaves, _ in flat]
    if not pool or None in sizes or len({(_form(leaves), spec) for leaves, spec in flat}) > 1:
        yield from (pool[place] for place in torch.randperm(len(pool), generator=generator).tolist())
        return
    lengths = [size for size in sizes if size is not None]
    order = torch.randperm(sum(lengths), generator=generator)
    columns = [_column(column, order) for column in zip(*(leaves for leaves, _ in flat), strict=True)]
    split = [torch.split(column, lengths) if isinstance(column, Tensor) else [column] * len(pool) for column in columns]
    for leaves in zip(*split, strict=True):
        args, kwargs = pytree.tree_unflatten(list(leaves), flat[0][1])
        yield args, kwargs


def _column(leaves: Sequence[Any], order: Tensor) -> Any:
    return torch.cat(list(leaves))[order] if isinstance(leaves[0], Tensor) else leaves[0]


def _size(leaves: Sequence[Any]) -> int | None:
    """How many samples the tensors of a batch agree on; None where they do not."""
    found = {len(leaf) if leaf.ndim else 0 for leaf in leaves if isinstance(leaf, Tensor)}
    return found.pop() if len(found) == 1 else None


def _form(leaves: Sequence[Any]) -> tuple[object, ...]:
    """All of a batch but its values and its length."""
    return tuple((leaf.dtype, leaf.shape[1:]) if isinstance(leaf, Tensor) else repr(leaf) for leaf in leaves)
