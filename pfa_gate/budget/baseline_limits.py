"""What an earlier run measured, and the limits that follow from it today."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

from pfa_gate.budget.measurements import LayerMeasure
from pfa_gate.budget.wording import quantity, significant
from pfa_gate.config import Limit
from pfa_gate.config.budgets import ANSWERS, DROPS, PARITY

CREATE = "Run pytest --pfa --pfa-update-baseline once, and commit pfa.baseline.json."
# Values are written to six decimals, and threads move them in the seventh.
ROUNDING = 1e-6
# Another device sums in another order, in the model's own precision.
ACROSS_DEVICES = 1e-4


@dataclass(frozen=True)
class BaselineLayer:
    """A layer as the baseline has it; `values` by budget key (`kl`, `inactive`, ...)."""

    kind: str
    filters: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Baseline:
    """The baseline of one gate.

    Attributes:
        source: the file, or the git revision and file, that it comes from.
        written: the day it was written, as YYYY-MM-DD.
        commit: the revision it was written at; empty if unknown.
        layers: by name.
        values: by budget, `model.parameters` say, in its plain unit.
        refusal: why it cannot be compared with this run; empty if it can.
        changed: what has changed since without being of another kind: the weights.
        probe: digest of its probe; empty if unknown.
        device: it was measured on.
        renamed: name of a layer today -> its name in the baseline.
        earlier: what git knows of it; a value of these that it lacks was lost, and lifts no limit.
        rescored: whether its drops and answers are of another metric, direction or evaluation, and say nothing today.
    """

    source: str
    written: str
    commit: str = ""
    layers: Mapping[str, BaselineLayer] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    refusal: str = ""
    changed: tuple[str, ...] = ()
    probe: str = ""
    device: str = "cpu"
    renamed: Mapping[str, str] = field(default_factory=dict)
    earlier: "tuple[Baseline, ...]" = ()
    rescored: bool = False

    def value(self, budget: str, layer: str = "") -> float | None:
        """What was measured for a budget, of a layer or of the whole; None where nothing was.

        Example:
            >>> base = Baseline("a", "2026-11-20", layers={"stem": BaselineLayer("Conv2d", 8, {"kl": 0.4})})
            >>> base.value("layers.kl", "stem"), base.value("model.macs")
            (0.4, None)
        """
        if not layer:
            return None if self.lapsed(budget) else self.values.get(budget)
        return self.of_layer(layer).get(budget.partition(".")[2])

    def lapsed(self, budget: str) -> bool:
        """Whether what it has for a budget is of another score or of other samples."""
        return self.rescored and budget.partition(".")[2] in (*DROPS, *ANSWERS, PARITY)

    def of_layer(self, name: str) -> Mapping[str, float]:
        """What was measured of the layer that has this name today, by budget key; empty where nothing was.

        Example:
            >>> Baseline("a", "2026-11-20", layers={"stem": BaselineLayer("Conv2d", 8, {"kl": 0.4})}).of_layer("stem")
            {'kl': 0.4}
        """
        found = self.layers.get(self.renamed.get(name, name))
        return {} if found is None else found.values

    def matched(self, layers: Sequence[LayerMeasure]) -> "Baseline":
        """The same, with layers paired that are there under another name.

        Gone and new layers are one to one if their widths agree in order; else by equal measurements alone.

        Example:
            >>> base = Baseline("a", "2026-11-20", layers={"conv": BaselineLayer("Conv2d", 8, {"kl": 0.4})})
            >>> base.matched([LayerMeasure("stem", 8, kl_ratio=0.5)]).renamed
            {'stem': 'conv'}
        """
        names = {layer.name for layer in layers}
        gone = sorted((name for name in self.layers if name not in names), key=_natural)
        new = sorted((layer for layer in layers if layer.name not in self.layers), key=lambda each: _natural(each.name))
        if [self.layers[name].filters for name in gone] == [layer.filters for layer in new]:
            pairs = dict(zip((layer.name for layer in new), gone, strict=True))
        else:
            pairs = self._alike(gone, new)
        return replace(self, renamed=pairs)

    def _alike(self, gone: Sequence[str], new: Sequence[LayerMeasure]) -> dict[str, str]:
        pairs: dict[str, str] = {}
        for layer in new:
            alike = [name for name in gone if name not in pairs.values() and _same(self.layers[name], layer)]
            if len(alike) == 1:
                pairs[layer.name] = alike[0]
        return pairs

    def gone(self, layers: Sequence[LayerMeasure]) -> tuple[str, ...]:
        """Layers of the baseline that are there no more, under any name."""
        there = {layer.name for layer in layers} | set(self.renamed.values())
        return tuple(name for name in self.layers if name not in there)

    def new(self, layers: Sequence[LayerMeasure]) -> tuple[str, ...]:
        """Layers that the baseline does not have, under any name."""
        return tuple(layer.name for layer in layers if layer.name not in {*self.layers, *self.renamed})


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]


def _same(base: BaselineLayer, layer: LayerMeasure) -> bool:
    values = {
        "kl": layer.kl_ratio,
        "peak_correlation": layer.peak_correlation,
        "mean_correlation": layer.mean_correlation,
    }
    found = {key: value for key, value in values.items() if value is not None and key in base.values}
    close = all(abs(value - base.values[key]) <= 2 * ROUNDING for key, value in found.items())
    return base.filters == layer.filters and bool(found) and close


@dataclass(frozen=True)
class Context:
    """What a verdict depends on beside limits and measurements.

    Attributes:
        base: the baseline; None if there is none yet.
        today: the day on which waivers are judged.
        updating: this run writes the baseline, so an increase over the old one is meant.
        device: of this run.
        run: token of the run of pytest; empty outside of pytest. No verdict depends on it.
    """

    base: Baseline | None = None
    today: date = date.min
    updating: bool = False
    device: str = "cpu"
    run: str = ""

    def limit_from(self, limit: Limit, budget: str, observed: float | None, layer: str = "") -> "EffectiveLimit":
        """The tightest of a declared limit and those that follow from the baseline.

        Args:
            limit: as declared; its own maximum absolute, or left out.
            budget: name of the budget.
            observed: what was measured today, in the limit's plain unit.
            layer: name of the layer, for a layer budget.

        Example:
            >>> base = Baseline("a", "2026-11-20", values={"model.macs": 100.0})
            >>> limit = Limit(200.0, "absolute", "200", increase=Limit(5.0, "percent", "5%"))
            >>> Context(base).limit_from(limit, "model.macs", 90.0).limit.text
            '105'
        """
        if not limit.relative:
            return EffectiveLimit(limit)
        if self.base is not None and self.base.refusal and not self.updating:
            return EffectiveLimit(None, refused=f"The baseline cannot be compared: {self.base.refusal}.")
        before = self.base.value(budget, layer) if self.base is not None else None
        if before is None and self.base is not None and (lost := _lost(self.base, budget, layer)):
            return EffectiveLimit(None, refused=lost)
        step, ratchet = (observed, before if before is not None else observed) if self.updating else (before, before)
        if step is None or ratchet is None:
            return EffectiveLimit(limit if limit.text else None, refused=self._missing(budget, layer))
        bounds = [(limit.value, "")] if limit.text else []
        if limit.increase is not None:
            sign, moved = ("-", _lowered) if limit.side == "min" else ("+", _raised)
            bounds.append(
                (moved(step, limit.increase), f"the baseline's {_shown(step, budget)} {sign} {limit.increase.text}")
            )
        if limit.ratchet:
            bounds.append((ratchet, "the baseline, which ratchets"))
        value, origin = max(bounds) if limit.side == "min" else min(bounds)
        tolerance = self._tolerance if origin else 0.0
        tolerance = -tolerance if limit.side == "min" else tolerance
        text = limit.text if not origin else _shown(value, budget)
        holding = Limit(value + tolerance, "absolute", text, side=limit.side)
        return EffectiveLimit(holding, origin=origin, before=before)

    @property
    def _tolerance(self) -> float:
        return ROUNDING if self.base is None or self.base.device == self.device else ACROSS_DEVICES

    def _missing(self, budget: str, layer: str) -> str:
        if self.base is None:
            return f"There is no baseline yet. {CREATE}"
        if not layer and self.base.lapsed(budget):
            return f"The evaluation is another one than in the baseline of {self.base.written}. {CREATE}"
        what = f"Layer '{layer}' is new" if layer else "This budget is new"
        return f"{what} since the baseline of {self.base.written}. {CREATE}"


@dataclass(frozen=True)
class EffectiveLimit:
    """The limit that holds, with the baseline taken into account.

    Attributes:
        limit: what holds; None where nothing can be judged.
        refused: why the baseline takes no part; empty where it does, or where the limit does not refer to it.
        origin: how a limit follows from the baseline; empty where the declared maximum holds.
        before: the baseline's own value; None where it has none.
    """

    limit: Limit | None
    refused: str = ""
    origin: str = ""
    before: float | None = None


def _lost(base: Baseline, budget: str, layer: str) -> str:
    """A sentence on a value that is gone from a baseline, though an earlier state has it; empty where it is not."""
    having = [each for each in base.earlier if each.value(budget, layer) is not None]
    if not having:
        return ""
    what = f"{budget} of {layer}" if layer else budget
    return f"{base.source} has no {what} any more, and {having[0].source} has: restore it as it was."


def _raised(value: float, increase: Limit) -> float:
    return value * (1 + increase.value / 100) if increase.unit == "percent" else value + increase.value


def _lowered(value: float, decrease: Limit) -> float:
    return value - decrease.value


def _shown(value: float, budget: str) -> str:
    if budget.startswith("layers.") or value < 1:
        return significant(value)
    return quantity(value, budget.partition(".")[2])
