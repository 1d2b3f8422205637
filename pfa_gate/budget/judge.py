"""Every declared budget of a gate, each judged by its kind, with its baseline and its waivers."""

import math
from dataclasses import replace

from pfa_gate.budget.answers import judge_answers
from pfa_gate.budget.baseline_limits import Context, EffectiveLimit
from pfa_gate.budget.finding import Finding, Judgement, not_judged
from pfa_gate.budget.layers import judge_layers
from pfa_gate.budget.measurements import (
    Measurements,
    in_declared_units,
    in_plain_units,
    observed_values,
)
from pfa_gate.budget.parity import judge_parity
from pfa_gate.budget.rules import PlaceOf, check_patterns, check_waivers, waived
from pfa_gate.budget.whole_model import (
    judge_compressed,
    judge_drop,
    judge_exact,
    judge_latency,
    judge_model,
    judge_score,
)
from pfa_gate.config import GateConfig, Limit
from pfa_gate.config.budgets import ANSWERS, DROPS, PARITY, SIZES


def judge(
    config: GateConfig,
    measurements: Measurements,
    place_of: PlaceOf,
    context: Context = Context(),  # noqa: B008  frozen
) -> tuple[Finding, ...]:
    """Judge every budget the gate declares, in the order of `config.budgets_declared()`.

    Args:
        config: the gate.
        measurements: what was measured; a percentage is of `measurements.full`.
        place_of: place in pfa.yaml of a path of keys.
        context: the baseline, and the day on which waivers are judged.

    Raises:
        LayerPatternError: a layer rule or a waiver matches no layer.

    Example:
        >>> from pathlib import Path
        >>> from pfa_gate.budget import Size
        >>> from pfa_gate.config import Place
        >>> gate = {"name": "digits", "model": {"factory": "net:build"}, "probe": {"data": "net:probe"}}
        >>> gate["budgets"] = {"model": {"parameters": 100}}
        >>> measurements = Measurements((), full=Size(81, 324, 900), compressed_reason="No group is free.")
        >>> place_of = lambda keys: Place(Path("pfa.yaml"), 7, 1)
        >>> [f.outcome for f in judge(GateConfig.model_validate(gate), measurements, place_of)]
        ['not judged', 'kept']
    """
    names = [layer.name for layer in measurements.layers]
    check_patterns(config, names, place_of)
    check_waivers(config, names, place_of)
    if context.base is not None:
        context = replace(context, base=context.base.matched(measurements.layers))
    return tuple(
        _allowed(config, measurements, declared.name, context).named(declared.name, place_of(declared.keys).line)
        for declared in config.budgets_declared()
    )


def _allowed(config: GateConfig, measurements: Measurements, name: str, context: Context) -> Judgement:
    waivers = [each for each in config.allow if each.budget == name]
    return waived(_judgement(config, measurements, name, context), waivers, context.today)


def _judgement(config: GateConfig, measurements: Measurements, name: str, context: Context) -> Judgement:
    if name == "exact":
        return judge_exact(measurements.exact, measurements.compressed_reason)
    area, _, key = name.partition(".")
    if area == "layers":
        waivers = [each for each in config.allow if each.budget == name]
        return judge_layers(config.budgets.layers, measurements.layers, key, context, waivers)
    limit: Limit = getattr(getattr(config.budgets, area), key)
    effective, plain = _with_baseline(limit, name, measurements, context)
    if effective is not None and effective.limit is None:
        return not_judged(limit.words(), effective.refused)
    judgement = _size(plain, measurements.of(area), area, key)
    if area != "model" and key in SIZES:
        judgement = replace(judgement, target=_target(limit, effective, plain))
    if effective is None:
        return judgement
    origin = f" That is {effective.origin}." if effective.origin else ""
    notes = (effective.refused,) if effective.refused else ()
    return replace(
        judgement, limit=limit.words(), sentence=judgement.sentence + origin, notes=(*judgement.notes, *notes)
    )


def _target(limit: Limit, effective: EffectiveLimit | None, plain: Limit) -> str:
    """What a recipe must reach: a baseline's size in full, as one for the rounded size could miss it."""
    return str(math.floor(plain.value)) if effective is not None and effective.origin else limit.text


def _size(limit: Limit, measurements: Measurements, area: str, key: str) -> Judgement:
    if key == "score":
        return judge_score(limit, measurements, area)
    if area == "model":
        return judge_model(limit, measurements.full, key, measurements.unfollowed.get(area, ""))
    if key in DROPS:
        return judge_drop(limit, measurements)
    if key in ANSWERS:
        return judge_answers(limit, measurements.answers, key, measurements.answers_reason)
    if key in ("latency", PARITY):
        return _of_file(limit, measurements, area, key)
    return judge_compressed(limit, measurements, key)


def _of_file(limit: Limit, measurements: Measurements, area: str, key: str) -> Judgement:
    """The verdict on what is measured of the file that runs."""
    if key == PARITY:
        return judge_parity(limit, measurements.parity.get(area), measurements.parity_reasons.get(area, ""))
    return judge_latency(limit, measurements)


def _with_baseline(
    limit: Limit, name: str, measurements: Measurements, context: Context
) -> tuple[EffectiveLimit | None, Limit]:
    """The limit with the baseline taken into account, None where it plays no part; and the limit to judge by."""
    observed = observed_values(measurements).get(name)
    if not limit.relative or observed is None:
        return None, limit
    plain = in_plain_units(limit, name, measurements)
    effective = context.limit_from(plain, name, observed)
    if effective.limit is None or not effective.origin:
        return effective, limit
    return effective, in_declared_units(effective.limit, name, measurements)
