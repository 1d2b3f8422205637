"""Verdicts on layer budgets: a limit that every layer has to keep."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pfa_gate.budget.baseline_limits import Context, EffectiveLimit
from pfa_gate.budget.finding import Judgement, LayerFinding, Outcome
from pfa_gate.budget.measurements import LayerMeasure
from pfa_gate.budget.rules import rule_for, waiver_of
from pfa_gate.budget.wording import apart, listed, plural
from pfa_gate.config import LayerRule, Limit, Waiver

_FIELDS = {"kl": "kl_ratio"}
_WORDS = {
    "kl": "KL ratio",
    "peak_correlation": "peak correlation",
    "mean_correlation": "mean correlation",
    "inactive": "inactive filters",
}
_ERRORS = {"kl": "kl_stderr", "peak_correlation": "peak_stderr", "mean_correlation": "mean_stderr"}
# A bias below this share of the limit cannot turn a verdict that noise could not turn as well.
_BIAS_SHARE = 0.1
_INSTEAD = "Remove the rule, or name layers that are judged."


@dataclass(frozen=True)
class _Row:
    layer: LayerMeasure
    rule: LayerRule
    declared: Limit
    effective: EffectiveLimit
    finding: LayerFinding

    @property
    def bound(self) -> float:
        return self.effective.limit.value if self.effective.limit is not None else math.inf

    @property
    def excess(self) -> float:
        observed = self.finding.observed
        return math.inf if observed is None else observed - self.bound

    @property
    def broken(self) -> bool:
        return self.finding.outcome == "broken" and not self.finding.waived


def judge_layers(
    rules: Sequence[LayerRule],
    layers: Sequence[LayerMeasure],
    key: str,
    context: Context = Context(),  # noqa: B008  frozen
    waivers: Sequence[Waiver] = (),
) -> Judgement:
    """Hold every layer to its limit for one key.

    A layer without a matching rule has no limit. A skipped layer is not judged. A layer whose value is
    missing or NaN is not judged either, and then the budget as a whole cannot be kept. Nor can it be kept where a
    rule decides skipped layers alone: nobody would notice that the rule was never applied.

    Args:
        rules: layer rules in the order of pfa.yaml.
        layers: one measure per layer, in model order.
        key: `kl`, `peak_correlation`, `mean_correlation` or `inactive`.
        context: the baseline, and the day.
        waivers: those of this budget.

    Example:
        >>> rule = LayerRule.model_validate({"match": "*", "inactive": 0})
        >>> judge_layers([rule], [LayerMeasure("stem", 16, inactive=2)], "inactive").sentence
        '1 of 1 layer has too many inactive filters: stem 2 (2 above 0).'
    """
    decided = [(layer, rule_for(rules, layer.name, key)) for layer in layers]
    rows = [_waived(_row(layer, rule, key, context), waivers, context) for layer, rule in decided if rule]
    judged = [row for row in rows if row.layer.skipped is None]
    details = tuple(row.finding for row in rows)
    words = _limit_text([row.declared for row in rows])
    if not judged:
        return Judgement(words, "", "not judged", _nothing_judged(rows), details)
    worst = sorted(judged, key=lambda row: -row.excess)
    outcome, idle = _outcome(judged), _idle(rows)
    passed = _passed_over(rules, rows, key)
    measured = [row for row in worst if row.finding.observed is not None]
    observed = _texts(measured[0])[0] if measured else ""
    notes = (*passed, *_refused(judged), *_doubts(judged, outcome, key))
    if idle and outcome == "kept":
        return Judgement(words, observed, "not judged", " ".join(idle), details, notes)
    return Judgement(words, observed, outcome, _verdict(outcome, worst, key), details, (*idle, *notes))


def _limit_text(limits: Sequence[Limit]) -> str:
    ends = (pick(limits, key=lambda limit: limit.value).words() for pick in (min, max) if limits)
    return "-".join(dict.fromkeys(ends)) or "none"


def _row(layer: LayerMeasure, rule: LayerRule, key: str, context: Context) -> _Row:
    declared: Limit = getattr(rule, key)
    value: float | None = getattr(layer, _FIELDS.get(key, key))
    if value is not None and math.isnan(value):
        value = None
    effective = context.limit_from(declared, f"layers.{key}", value, layer.name)
    limit = None if effective.limit is None else effective.limit.value
    if layer.skipped is not None or value is None or limit is None:
        observed = None if layer.skipped is not None or value is None else float(value)
        return _Row(layer, rule, declared, effective, LayerFinding(layer.name, limit, observed, "not judged"))
    outcome: Outcome = "kept" if value <= limit else "broken"
    error: float = getattr(layer, _ERRORS.get(key, ""), None) or 0.0
    noisy = error > 0.0 and abs(value - limit) <= 2 * error
    return _Row(
        layer,
        rule,
        declared,
        effective,
        LayerFinding(layer.name, limit, float(value), outcome, noisy, effective.before),
    )


def _waived(row: _Row, waivers: Sequence[Waiver], context: Context) -> _Row:
    waiver = waiver_of(waivers, row.layer.name, context.today)
    if waiver is None or row.finding.outcome != "broken":
        return row
    return replace(row, finding=replace(row.finding, waived=waiver.reason))


def _refused(rows: Sequence[_Row]) -> tuple[str, ...]:
    """Why the baseline took no part; given once where it is the same for many layers."""
    reasons = [row.effective.refused for row in rows if row.effective.refused and row.finding.outcome != "not judged"]
    return tuple(dict.fromkeys(reasons))


def _bias_ratio(layer: LayerMeasure) -> float:
    return 0.0 if layer.kl_bias is None or layer.filters < 2 else layer.kl_bias / math.log(layer.filters)


def _outcome(judged: Sequence[_Row]) -> Outcome:
    if any(row.broken for row in judged):
        return "broken"
    return "not judged" if any(row.finding.outcome == "not judged" for row in judged) else "kept"


def _verdict(outcome: Outcome, worst: Sequence[_Row], key: str) -> str:
    if outcome == "not judged":
        return _unknown([row for row in worst if row.finding.outcome == outcome], key)
    if outcome == "broken":
        return _broken([row for row in worst if row.broken], len(worst), key)
    within = [row for row in worst if row.finding.outcome == "kept"]
    if not within:
        return f"{plural(len(worst), 'layer')} above the limit, and allowed for now."
    observed, limit = _texts(within[0])
    if within[0].finding.observed == 0:
        return f"{plural(len(within), 'layer')} within the limit, none above 0."
    closest = f"{within[0].layer.name}, {observed} of {limit}"
    return f"{plural(len(within), 'layer')} within the limit; closest is {closest}."


def _unknown(rows: Sequence[_Row], key: str) -> str:
    refused = [row for row in rows if row.finding.observed is not None]
    if refused:
        return refused[0].effective.refused
    names = [row.layer.name for row in rows]
    return f"The {_WORDS[key]} of {plural(len(rows), 'layer')} could not be measured: {listed(names)}."


def _broken(broken: Sequence[_Row], judged: int, key: str) -> str:
    fault = "too many inactive filters" if key == "inactive" else f"too high a {_WORDS[key]}"
    verb = "has" if len(broken) == 1 else "have"
    cases = listed([_case(row) for row in broken])
    return f"{len(broken):,} of {plural(judged, 'layer')} {verb} {fault}: {cases}."


def _case(row: _Row) -> str:
    observed, limit = _texts(row)
    by = apart(row.excess, 0.0)[0]
    origin = f", {row.effective.origin}" if row.effective.origin else ""
    return f"{row.layer.name} {observed} ({by} above {limit}{origin})"


def _texts(row: _Row) -> tuple[str, str]:
    return apart(row.finding.observed or 0.0, row.bound)


def _doubts(judged: Sequence[_Row], outcome: Outcome, key: str) -> Iterator[str]:
    """Noise and bias, named only where they could turn the verdict on the budget.

    A single layer that is broken beyond doubt settles it. A bias is upward, so what is kept is kept without it too.
    """
    measured = sorted((row for row in judged if row.finding.observed is not None), key=lambda row: -row.excess)
    deciding = [row for row in measured if row.broken] if outcome == "broken" else measured
    if outcome == "broken" and not all(row.finding.within_noise or _biased(row, key) for row in deciding):
        return
    noisy = [row.layer.name for row in deciding if row.finding.within_noise and not row.finding.waived]
    if noisy:
        yield f"Within two standard errors of the limit: {listed(noisy)}."
    biased = [row.layer.name for row in deciding if row.broken and _biased(row, key)]
    if biased:
        yield f"Few samples raise KL by more than it is above the limit in {listed(biased)}: raise probe.samples."


def _biased(row: _Row, key: str) -> bool:
    """Whether the bias of few samples counts beside the limit, and is as much as the value is above it."""
    bias = _bias_ratio(row.layer)
    return key == "kl" and bias > _BIAS_SHARE * row.bound and row.excess <= bias


def _nothing_judged(rows: Sequence[_Row]) -> str:
    if not rows:
        return "No layer has this limit."
    return f"Every layer it applies to is skipped: {_skipped(rows)}. {_INSTEAD}"


def _idle(rows: Sequence[_Row]) -> tuple[str, ...]:
    """A sentence for each rule all of whose layers are skipped."""
    decided: dict[str, list[_Row]] = {}
    for row in rows:
        decided.setdefault(row.rule.match, []).append(row)
    return tuple(
        f"The rule for '{match}' judges nothing: every layer it decides is skipped: {_skipped(own)}. {_INSTEAD}"
        for match, own in decided.items()
        if all(row.layer.skipped is not None for row in own)
    )


def _passed_over(rules: Sequence[LayerRule], rows: Sequence[_Row], key: str) -> tuple[str, ...]:
    """A sentence for each rule that applies to no layer; `*` is a default, and may apply to none."""
    used = {row.rule.match for row in rows} | {"*"}
    unused = dict.fromkeys(rule.match for rule in rules if getattr(rule, key) is not None and rule.match not in used)
    return tuple(f"The rule for '{match}' decides nothing: a later rule has each of its layers." for match in unused)


def _skipped(rows: Sequence[_Row]) -> str:
    reasons: dict[str, list[str]] = {}
    for row in rows:
        reasons.setdefault(row.layer.skipped or "", []).append(row.layer.name)
    return listed([f"{listed(names)} ({reason})" for reason, names in reasons.items()])
