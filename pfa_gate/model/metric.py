"""The metric of a gate: pfa_gate's own, a class of torchmetrics, or a callable; which way is better, and its unit."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from pfa_gate.config import GateConfig
from pfa_gate.config.evaluation import EvaluationConfig, faults_when_loaded
from pfa_gate.config.field_types import SHARES, Direction, of_torchmetrics
from pfa_gate.errors import ConfigError, MetricError
from pfa_gate.model.batches import Batches
from pfa_gate.model.import_callable import UserCallable, resolve_or_ask_plugins
from pfa_gate.model.torchmetric import TorchMetric, is_class_of_torchmetrics, torch_metric

Metric = str | Callable[[nn.Module, Batches], float]


@dataclass(frozen=True)
class OwnMetric:
    """A callable of the user, with its keyword arguments."""

    name: str
    function: UserCallable
    arguments: Mapping[str, Any]
    direction: Direction
    share: bool = False

    def __call__(self, model: nn.Module, batches: Batches) -> Any:
        """What the callable gives."""
        return self.function(model, batches, **self.arguments)


def direction_of(metric: Metric) -> Direction:
    """Which way of a metric is better.

    Example:
        >>> direction_of("accuracy")
        'higher'
    """
    found: Direction = getattr(metric, "direction", "higher")
    return found


def is_share(metric: Metric) -> bool:
    """Whether a metric gives shares from 0 to 1, whose changes are told in percentage points.

    Example:
        >>> is_share("top5"), is_share(lambda model, batches: 0.3)
        (True, False)
    """
    return metric in SHARES if isinstance(metric, str) else bool(getattr(metric, "share", False))


At = Callable[..., AbstractContextManager[str]]


def metric_of(gate: GateConfig, evaluation: EvaluationConfig, folder: Path, at: At) -> Metric:
    """Give the metric of a gate.

    Args:
        gate: with the budgets that are to fit the metric.
        evaluation: that of the gate.
        folder: of pfa.yaml.
        at: adds the place of a key to errors.

    Raises:
        FactoryError: the callable does not import, or does not take the arguments.
        MetricError: torchmetrics is not installed, or the class cannot be made with these arguments.
        ConfigError: a direction or a limit does not fit what the class says of itself.
    """
    name, arguments = evaluation.metric, evaluation.arguments
    if name in SHARES:
        return name
    with at("evaluation", "metric"):
        _require_torchmetrics(name)
        found = resolve_or_ask_plugins(name, folder, lambda plugins: plugins.hook.pfa_gate_metric(name=name))
    if not is_class_of_torchmetrics(found.function):
        with at("evaluation", "arguments" if arguments else "metric"):
            if arguments:
                found.check_arguments((None, None), arguments)
            return OwnMetric(name, found, arguments, evaluation.direction or "higher")
    with at("evaluation", "arguments" if arguments else "metric"):
        metric = torch_metric(found, arguments, evaluation.direction)
    for (*keys, last), message, remedy in _faults(gate, evaluation, metric):
        with at(*keys, last):
            raise ConfigError(f"{message}.", remedy=remedy)
    return metric


def _require_torchmetrics(name: str) -> None:
    if of_torchmetrics(name) and find_spec("torchmetrics") is None:
        fact = f"The metric '{name}' needs torchmetrics, which is not installed."
        raise MetricError(fact, remedy="Run pip install 'pfa-gate[metrics]'.")


def _faults(
    gate: GateConfig, evaluation: EvaluationConfig, metric: TorchMetric
) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    written, own = evaluation.direction, metric.higher_is_better
    if own is None and written is None:
        message = f"evaluation.metric '{metric.name}' does not say which way is better"
        yield (
            ("evaluation", "metric"),
            message,
            "Add direction: higher, or direction: lower if a lower value is better.",
        )
    if own is not None and written is not None and (written == "higher") != own:
        message = f"evaluation.direction is {written}, and of '{metric.name}' {metric.direction} is better"
        yield ("evaluation", "direction"), message, "Remove the direction; the class says it itself."
    yield from faults_when_loaded(evaluation, gate.budgets, metric.direction, metric.share)
