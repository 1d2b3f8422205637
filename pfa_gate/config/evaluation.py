"""The section `evaluation` as a type, and how it and budgets on scores must agree: direction, unit, chance."""

from collections.abc import Iterator
from typing import Any

from pydantic import ConfigDict, Field

from pfa_gate.config.budgets import DROPS, BudgetsConfig
from pfa_gate.config.complaints import RefusalError
from pfa_gate.config.field_types import SHARES, Direction, Metric, StrictSection, of_torchmetrics
from pfa_gate.config.likely_direction import likely_direction
from pfa_gate.config.named_sources import DataSource
from pfa_gate.config.quantity import DROP, SCORE, Kind, Limit, parse
from pfa_gate.config.reader import Keys

_OF_TORCHMETRICS = "^torchmetrics[.:]"
_DIRECTION: Any = {
    "if": {"properties": {"metric": {"enum": [*SHARES]}}},
    "then": {"properties": {"direction": {"const": "higher"}, "arguments": {"maxProperties": 0}}},
    "else": {
        "if": {"not": {"properties": {"metric": {"pattern": _OF_TORCHMETRICS}}}},
        "then": {"required": ["direction"]},
        "not": {"required": ["allow_chance"]},
    },
}


class EvaluationConfig(StrictSection):
    """How the full and the compressed model are scored."""

    model_config = ConfigDict(json_schema_extra=_DIRECTION)

    data: DataSource = Field(
        description="as for `probe`, with labels; all of it is used", examples=["example_project.data:test"]
    )
    metric: Metric = Field(
        default="accuracy",
        description="`accuracy`, `top5`, a class of torchmetrics such as "
        "`torchmetrics.classification:MulticlassF1Score`, or a callable(model, batches) that returns a float",
    )
    arguments: dict[str, Any] = Field(
        default={}, description="keyword arguments of the torchmetrics class, or of the callable"
    )
    direction: Direction | None = Field(
        default=None,
        description="which way is better; a callable must say, `accuracy` and `top5` are `higher`, and most classes of "
        "torchmetrics say it themselves",
    )
    allow_chance: bool = Field(
        default=False, description="judge drops although the full model is no better than chance"
    )


Fault = tuple[Keys, str, str]

_SIDE = {"higher": "min", "lower": "max"}


def score_faults(gate: object, at: Keys) -> Iterator[Fault]:
    """Find what is wrong with how a gate is scored, and with its budgets on scores.

    Args:
        gate: as plain data, of any shape.
        at: its own path in the config.

    Returns:
        For each fault its path, what is wrong there, and the remedy.

    Example:
        >>> [fault[1] for fault in score_faults({"evaluation": {"data": "net:test", "metric": "net:loss"}}, ())]
        ["evaluation.metric 'net:loss' needs a direction: which way is better"]
    """
    evaluation = _at(gate, "evaluation")
    if isinstance(evaluation, dict):
        yield from _direction(evaluation, (*at, "evaluation"))
    for area, key, kind in _scored():
        limit = _at(gate, "budgets", area, key)
        if limit is None:
            continue
        keys = (*at, "budgets", area, key)
        if evaluation is None:
            message = f"budgets.{area}.{key} needs an evaluation"
            yield keys, message, "Add the section evaluation with its data, or remove this budget."
        elif isinstance(evaluation, dict) and (parsed := _parsed(limit, kind)) is not None:
            yield from _limit(parsed, evaluation, keys)
    yield from _searched(gate, evaluation, (*at, "recipe"))
    for area in _SMALLER:
        yield from _one_drop(_at(gate, "budgets", area), (*at, "budgets", area))


def _searched(gate: object, evaluation: object, at: Keys) -> Iterator[Fault]:
    """What is wrong with the fall that the strategy `score` allows."""
    if _at(gate, "recipe", "strategy") != "score":
        return
    if evaluation is None:
        yield (*at, "strategy"), "the strategy score needs an evaluation", "Add the section evaluation with its data."
    limit = _parsed(_at(gate, "recipe", "score"), DROP)
    metric = _metric(evaluation) if isinstance(evaluation, dict) else None
    if limit is None or metric is None or of_torchmetrics(metric):
        return  # what a class of torchmetrics gives is known once it is loaded
    if metric in SHARES:
        yield from _share(limit, "recipe.score", (*at, "score"))
    elif (unit := _in_shares(limit)) is not None:
        message = f"recipe.score is in {unit}, and {metric!r} gives plain numbers"
        yield (*at, "score"), message, "Write a number in the metric's own unit, say 0.01."


_SMALLER = ("compressed", "quantized")


def _scored() -> Iterator[tuple[str, str, Kind]]:
    """The budgets on scores."""
    yield "model", "score", SCORE
    for area in _SMALLER:
        yield area, "score", SCORE
        yield from ((area, key, DROP) for key in DROPS)


def _at(data: object, *keys: str) -> Any:
    for key in keys:
        if not isinstance(data, dict):
            return None
        data = data.get(key)
    return data


def _parsed(raw: object, kind: Kind) -> Limit | None:
    try:
        return parse(raw, kind)
    except RefusalError:
        return None  # complained about where its type is checked


def _direction(evaluation: dict[str, Any], at: Keys) -> Iterator[Fault]:
    metric = _metric(evaluation)
    if metric in SHARES and evaluation.get("direction") == "lower":
        message = f"evaluation.direction is lower, and of {metric} more is better"
        yield (*at, "direction"), message, "Remove the direction, or name a metric of which less is better."
    if metric in SHARES and isinstance(evaluation.get("arguments"), dict) and evaluation["arguments"]:
        message = f"evaluation.arguments is not read for {metric}"
        yield (*at, "arguments"), message, "Remove it; it belongs to a torchmetrics class or a callable."
    if metric is None or metric in SHARES:
        return
    if "direction" not in evaluation and not of_torchmetrics(metric):
        yield (*at, "metric"), f"evaluation.metric {metric!r} needs a direction: which way is better", _likely(metric)
    if "allow_chance" in evaluation:
        message = f"evaluation.allow_chance is not read for {metric!r}, of which chance is not known"
        yield (*at, "allow_chance"), message, f"Remove it; it belongs to {' and '.join(SHARES)}."


def _metric(evaluation: dict[str, Any]) -> str | None:
    """The metric; None where it is none, which is complained about where its type is checked."""
    metric = evaluation.get("metric", "accuracy")
    return metric if isinstance(metric, str) and (metric in SHARES or ":" in metric) else None


def _likely(metric: str) -> str:
    likely = likely_direction(metric)
    if likely is None:
        return "Add direction: higher, or direction: lower if a lower value is better."
    other = "higher" if likely == "lower" else "lower"
    return f"Add direction: {likely}, as its name suggests; or direction: {other} if a {other} value is better."


def _limit(limit: Limit, evaluation: dict[str, Any], keys: Keys) -> Iterator[Fault]:
    metric, name = _metric(evaluation), ".".join(map(str, keys[-3:]))
    if metric is None:
        return
    if keys[-1] == "accuracy_drop" and metric not in SHARES:
        written = limit.text if of_torchmetrics(metric) else _plain(limit)
        remedy = f"Write score_drop: {written}, in the metric's own unit."
        yield keys, f"{name} is of {' and '.join(SHARES)}, and the metric is {metric!r}", remedy
        return
    direction = evaluation.get("direction", "higher" if metric in SHARES else None)
    # What a class of torchmetrics gives is known once it is loaded: see `faults_when_loaded`.
    share = None if of_torchmetrics(metric) else metric in SHARES
    yield from _sided_in_its_unit(limit, keys, metric, (direction, share))


def _sided_in_its_unit(
    limit: Limit, keys: Keys, metric: str, gives: tuple[Direction | None, bool | None]
) -> Iterator[Fault]:
    """What is wrong with a limit on a metric of this direction, and with a share or not; None is not known."""
    direction, share = gives
    name, value = ".".join(map(str, keys[-3:])), (*keys, limit.side) if limit.side else keys
    if keys[-1] == "score":
        yield from _side(limit, direction, keys)
    if share:
        yield from _share(limit, name, value)
    elif share is not None and (unit := _in_shares(limit)) is not None:
        message = f"{name} is in {unit}, and {metric!r} gives plain numbers"
        yield value, message, "Write a number in the metric's own unit, say 0.01."


def faults_when_loaded(
    evaluation: EvaluationConfig, budgets: BudgetsConfig, direction: Direction, share: bool
) -> Iterator[Fault]:
    """Find limits on scores that do not fit what a metric says of itself once it is loaded.

    Args:
        evaluation: with the metric.
        budgets: of the same gate.
        direction: which way of the metric is better.
        share: whether it gives shares from 0 to 1.

    Returns:
        For each fault its path below the gate, what is wrong there, and the remedy.

    Example:
        >>> evaluation = EvaluationConfig(data="net:test", metric="torchmetrics.regression:R2Score")
        >>> budgets = BudgetsConfig.model_validate({"compressed": {"score_drop": "1 pp"}})
        >>> [fault[1][:58] for fault in faults_when_loaded(evaluation, budgets, "higher", False)]
        ['budgets.compressed.score_drop is in percentage points, and']
    """
    drops = ("score", "score_drop")
    sections = (
        ("model", budgets.model, ("score",)),
        ("compressed", budgets.compressed, drops),
        ("quantized", budgets.quantized, drops),
    )
    for area, section, limits in sections:
        for key in limits:
            limit = getattr(section, key)
            if limit is not None:
                keys = ("budgets", area, key)
                yield from _sided_in_its_unit(limit, keys, evaluation.metric, (direction, share))


def _plain(limit: Limit) -> str:
    return limit.text if limit.unit == "absolute" and limit.text else "0.01"


def _in_shares(limit: Limit) -> str | None:
    """The unit of shares in which a limit is written, or the increase that it allows."""
    written = [part.unit for part in (limit, limit.increase) if part is not None]
    return next(
        ({"pp": "percentage points", "percent": "percent"}[unit] for unit in written if unit != "absolute"), None
    )


def _side(limit: Limit, direction: object, keys: Keys) -> Iterator[Fault]:
    side = _SIDE.get(direction) if isinstance(direction, str) else None
    if side is not None and limit.side != side:
        wrong = {"min": "from below", "max": "from above"}[limit.side]
        message = f"{'.'.join(map(str, keys[-3:]))} is held {wrong}, and a {direction} score is better"
        yield (*keys, limit.side), message, f"Write {{{side}: {limit.text}}}."


def _share(limit: Limit, name: str, keys: Keys) -> Iterator[Fault]:
    if limit.unit != "absolute" or not limit.text:
        return
    example = "0.5 pp" if not limit.side else "99%"
    unit = "percentage points" if not limit.side else "percent"
    remedy = f"A plain number is a share from 0 to 1; for {unit} write for example {example}."
    if limit.value > 1:
        yield keys, f"{name} must be at most 1, not {limit.text}", remedy
    elif limit.value < 0:
        yield keys, f"{name} must be at least 0, not {limit.text}", remedy


def _one_drop(section: object, at: Keys) -> Iterator[Fault]:
    if all(_at(section, key) is not None for key in DROPS):
        message = f"budgets.{at[-1]} has both accuracy_drop and score_drop, which are one budget"
        yield (*at, "score_drop"), message, "Remove one of the two."
