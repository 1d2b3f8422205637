"""The steps that give a compressed model its accuracy back, as types."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from pfa_gate.config.complaints import RefusalError, describe, nearest
from pfa_gate.config.field_types import (
    Reference,
    StrictSection,
)

_RECOVERY_STEPS = ("compensate", "recalibrate", "distill", "finetune")


class CompensateOptions(StrictSection):
    """How a compressed model's layers are solved anew."""

    seconds: float = Field(
        gt=0,
        le=1_000_000,
        description="about how long it may take; layers that lost most of their weights come first, the rest are left",
    )


class CompensateStep(StrictSection):
    """Compensation in bounded time."""

    compensate: CompensateOptions


class DistillOptions(StrictSection):
    """How a compressed model is taught by the full one."""

    steps: int = Field(default=300, ge=1, le=1_000_000, description="gradient steps, one batch each")
    rate: float = Field(default=1e-3, gt=0, le=1, description="highest learning rate of Adam")
    statistics: Literal["fixed", "batch"] = Field(
        default="fixed",
        description="what batch norms use during distillation: their stored statistics, or each batch's own",
    )
    augment: Reference | None = Field(
        default=None,
        description="callable(inputs, generator) that returns the inputs to learn from",
        examples=["train.py:augment"],
    )


class DistillStep(StrictSection):
    """Distillation with options of its own."""

    distill: DistillOptions


class FinetuneStep(StrictSection):
    """The user's own training as a recovery step."""

    finetune: Reference = Field(
        description="callable(model, batches) that trains the model in place", examples=["train.py:finetune"]
    )


def recovery_steps(value: object) -> object:
    """Take a list of steps, and nothing else.

    Raises:
        RefusalError: it is no list.
    """
    if not isinstance(value, list | tuple):
        raise RefusalError(f"must be a list of steps, not {describe(value)}", "Write [] for none.")
    return value


def _known_step(step: object) -> object:
    if step == "finetune":
        raise RefusalError("is finetune without its callable", "Write {finetune: module:callable}.")
    named = isinstance(step, tuple(_WITH_OPTIONS.values())) or (
        isinstance(step, dict) and not {*step}.isdisjoint(_WITH_OPTIONS)
    )
    if not named and step not in _RECOVERY_STEPS:
        every = f"Steps: {', '.join(_RECOVERY_STEPS)}."
        remedy = nearest(step, _RECOVERY_STEPS) if isinstance(step, str) else every
        raise RefusalError(f"is {describe(step)}, which is not a recovery step", remedy)
    return step


def _kind(step: object) -> str:
    for name, kind in _WITH_OPTIONS.items():
        if isinstance(step, kind) or (isinstance(step, dict) and name in step):
            return f"{name} step"
    return KINDS[0]


_WITH_OPTIONS: dict[str, type[StrictSection]] = {
    "compensate": CompensateStep,
    "distill": DistillStep,
    "finetune": FinetuneStep,
}
KINDS = ("plain step", *(f"{name} step" for name in _WITH_OPTIONS))

Step = Annotated[
    Annotated[Literal["compensate", "recalibrate", "distill"], Tag(KINDS[0])]
    | Annotated[CompensateStep, Tag(KINDS[1])]
    | Annotated[DistillStep, Tag(KINDS[2])]
    | Annotated[FinetuneStep, Tag(KINDS[3])],
    Discriminator(_kind),
    BeforeValidator(_known_step),
]
