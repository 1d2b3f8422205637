"""Limits against measurements: one finding per declared budget.

Pure and light. What could not be measured is never kept.

PYTEST_DONT_REWRITE
"""

from pfa_gate.budget.finding import Finding, Judgement, LayerFinding, Outcome
from pfa_gate.budget.layers import judge_layers
from pfa_gate.budget.measurements import Exactness, LayerMeasure, Measurements, Size
from pfa_gate.budget.rules import PlaceOf, check_patterns
from pfa_gate.budget.sizes import judge_compressed, judge_drop, judge_exact, judge_latency, judge_model
from pfa_gate.config import GateConfig, Limit

__all__ = [
    "Exactness",
    "Finding",
    "LayerFinding",
    "LayerMeasure",
    "Measurements",
    "Outcome",
    "PlaceOf",
    "Size",
    "judge",
]


def judge(config: GateConfig, measurements: Measurements, place_of: PlaceOf) -> tuple[Finding, ...]:
    """Judge every budget the gate declares, in the order of `config.budgets_declared()`.

    Args:
        config: the gate.
        measurements: what was measured; a percentage is of `measurements.full`.
        place_of: place in pfa.yaml of a path of keys.

    Raises:
        LayerPatternError: a layer rule matches no layer.

    Example:
        >>> from pathlib import Path
        >>> from pfa_gate.config import Place
        >>> gate = {"name": "digits", "model": {"factory": "net:build"}, "probe": {"data": "net:probe"}}
        >>> gate["budgets"] = {"model": {"parameters": 100}}
        >>> measurements = Measurements((), full=Size(81, 324, 900), compressed_reason="No group is free.")
        >>> place_of = lambda keys: Place(Path("pfa.yaml"), 7, 1)
        >>> [f.outcome for f in judge(GateConfig.model_validate(gate), measurements, place_of)]
        ['not judged', 'kept']
    """
    check_patterns(config, [layer.name for layer in measurements.layers], place_of)
    return tuple(
        _judgement(config, measurements, declared.name).named(declared.name, place_of(declared.keys).line)
        for declared in config.budgets_declared()
    )


def _judgement(config: GateConfig, measurements: Measurements, name: str) -> Judgement:
    if name == "exact":
        return judge_exact(measurements.exact, measurements.compressed_reason)
    area, _, key = name.partition(".")
    if area == "layers":
        return judge_layers(config.budgets.layers, measurements.layers, key)
    limit: Limit = getattr(getattr(config.budgets, area), key)
    if area == "model":
        return judge_model(limit, measurements.full, key)
    if key == "accuracy_drop":
        return judge_drop(limit, measurements)
    if key == "latency":
        return judge_latency(limit, measurements)
    return judge_compressed(limit, measurements, key)
