"""Distill: a bounded number of gradient steps towards the full model's own answers; labels are not used."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import _pytree as pytree

from pfa_gate.compress.recover.distill_losses import answer, apart, lesson
from pfa_gate.compress.recover.recalibrate import recalibrate
from pfa_gate.compress.recover.resampling import dealt, parted
from pfa_gate.errors import DataError
from pfa_gate.graph import inputs_of
from pfa_gate.model.batch import Inputs
from pfa_gate.model.device import input_device, inputs_on
from pfa_gate.model.torch_module import copied

ENOUGH = 16  # samples in a batch from which batch norms take statistics of their own
Progress = Callable[[int, int], None]
Augment = Callable[[Any, torch.Generator], Any]


@dataclass(frozen=True)
class DistillSettings:
    """How long and how fast.

    Attributes:
        steps: batches that are learnt from; the probe is gone through as often as that takes.
        rate: highest learning rate of Adam; a tenth of the steps rise to it, the rest fall along a cosine.
        statistics: of batch norms while they learn: `fixed` as they are, for mild cuts; `batch`, each batch's own and
            in the end the probe's, which lets strong cuts learn faster.
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
    """What a course has led to.

    Attributes:
        model: the taught model in eval mode; where the course was undone, a copy of the one that came.
        before, after: squared error from the full model's answers on held-out samples, as a share of the square of
            those; None where no batch had enough samples to hold any out.
        undone: whether the held-out answers came no closer, so that nothing was changed.
    """

    model: nn.Module
    before: float | None
    after: float | None
    undone: bool = False


def distill(
    full: nn.Module,
    smaller: nn.Module,
    batches: Iterable[Any],
    course: DistillSettings = DistillSettings(),
    progress: Progress | None = None,
) -> DistillResult:
    """Teach the compressed model to answer the probe as the full one does.

    The loss is the squared error of the answers, and that of what the blocks make on the way. Samples are dealt into
    new batches at each reading; everything but batch norms that are told otherwise runs as in evaluation. One sample in
    sixteen is held out: a course that brings their answers no closer is undone.

    Args:
        full: the teacher, in eval mode.
        smaller: the pupil; it is not changed.
        batches: of inputs, the same at each reading.
        course: how long and how fast.
        progress: called as (done, steps).

    Returns:
        A new model, the same again for the same arguments on the same machine.

    Raises:
        DataError: the models give no floating output.

    Example:
        >>> teacher, pupil = nn.Linear(2, 3), nn.Linear(2, 3)
        >>> probe = [torch.randn(32, 2)]
        >>> learnt = distill(teacher, pupil, probe, DistillSettings(steps=50, rate=0.1)).model
        >>> gap = lambda one: float((teacher(probe[0]).softmax(1) - one(probe[0]).softmax(1)).detach().abs().max())
        >>> gap(learnt) < gap(pupil)
        True
    """
    pupil = copied(smaller)
    norms = [each for each in pupil.modules() if isinstance(each, _BatchNorm) and each.track_running_stats]
    norms = norms if course.statistics == "batch" else []
    flags = [(tensor, tensor.requires_grad) for tensor in pupil.parameters()]
    trained = [tensor.requires_grad_() for tensor in pupil.parameters() if tensor.is_floating_point()]
    optimiser = torch.optim.Adam(trained, lr=course.rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, course.steps))
    with torch.enable_grad():
        for done, inputs in enumerate(_lessons(batches, course), 1):
            args, kwargs = inputs_on(inputs, input_device(pupil))
            for norm in norms:
                norm.train(_samples((args, kwargs)) >= ENOUGH)
            optimiser.zero_grad()
            lesson(full, pupil, args, kwargs).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            if progress is not None:
                progress(done, course.steps)
    for tensor, flag in flags:
        tensor.grad = None
        tensor.requires_grad_(flag)
    taught = recalibrate(pupil, batches)[0] if norms else pupil.eval()
    before, after = (_gap(full, model, batches) for model in (smaller, taught))
    undone = before is not None and after is not None and not after < before
    return DistillResult(copied(smaller) if undone else taught, before, after, undone)


def _gap(full: nn.Module, model: nn.Module, batches: Iterable[Any]) -> float | None:
    """Squared error from the full model's answers on the held-out samples, as a share of those."""
    errors, sizes = list[float](), list[float]()
    with torch.no_grad():
        for batch in batches:
            _, held = parted(inputs_of(batch))
            if held is not None:
                args, kwargs = inputs_on(held, input_device(model))
                error, size = apart(answer(model(*args, **kwargs)), answer(full(*args, **kwargs)))
                errors.append(float(error))
                sizes.append(float(size))
    return sum(errors) / (sum(sizes) or 1) if errors else None


def _rate(step: int, steps: int) -> float:
    rise = max(1, steps // 10)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def _lessons(batches: Iterable[Any], course: DistillSettings) -> Iterator[Inputs]:
    """As many batches as there are steps."""
    generator, given = torch.Generator().manual_seed(course.seed), 0
    while given < course.steps:
        before = given
        for inputs in dealt((parted(inputs_of(batch))[0] for batch in batches), generator):
            if given == course.steps:
                return
            given += 1
            yield inputs if course.augment is None else _augmented(inputs, course.augment, generator)
        if given == before:
            raise DataError("The probe gives no batch to learn from.", remedy="Point probe.data at some samples.")


def _augmented(inputs: Inputs, augment: Augment, generator: torch.Generator) -> Inputs:
    args, kwargs = inputs
    if kwargs:
        return args, dict(augment(kwargs, generator))
    if len(args) == 1:
        return (augment(args[0], generator),), {}
    return tuple(augment(args, generator)), {}


def _samples(inputs: Inputs) -> int:
    return next((len(leaf) for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor) and leaf.ndim), 0)
