"""What a metric of torchmetrics has of each sample, so that its value of any draw of samples needs no second pass."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pfa_gate.errors import PFAGateError
from pfa_gate.model import Batches
from pfa_gate.model.metric_inputs import LogitsError, MetricInputs
from pfa_gate.model.torchmetric import TorchMetric, update

_MOST_BYTES = 512 * 2**20
_SAME = 1e-6


@dataclass(frozen=True)
class SampleStates:
    """The states of a metric, one of each unit: a sample, several consecutive ones, or a query.

    Attributes:
        metric: computes a value from states.
        instance: the metric of torchmetrics into which states are put; it has seen a sample.
        sums: name -> [U, ...]; the state of several units is their sum.
        rows: name -> [R, ...]; the state of several units is their rows, one after another.
        ends: name -> int64 [U], where the rows of each unit end.
        unit: what one of them is.
    """

    metric: TorchMetric
    instance: Any
    sums: Mapping[str, Tensor]
    rows: Mapping[str, Tensor]
    ends: Mapping[str, npt.NDArray[np.int64]]
    unit: str = "samples"

    @property
    def count(self) -> int:
        """How many units there are."""
        counts = [*map(len, self.sums.values()), *map(len, self.ends.values())]
        return counts[0] if counts else 0

    @property
    def size(self) -> int:
        """How many numbers all states hold."""
        return sum(each.numel() for each in (*self.sums.values(), *self.rows.values()))

    def value(self, draw: npt.NDArray[np.int64] | None = None) -> float:
        """What the metric gives for these units.

        Args:
            draw: int64, which units, any as often as it is drawn; all of them once if None.
        """
        draw = np.arange(self.count) if draw is None else draw
        times = torch.from_numpy(np.bincount(draw, minlength=self.count)).double()
        for name, each in self.sums.items():
            setattr(self.instance, name, torch.tensordot(times, each.double(), 1).to(each.dtype))
        for name, each in self.rows.items():
            rows, lengths = _rows_of(self.ends[name], draw)
            taken = each[torch.from_numpy(rows)]
            if name == _INDEXES and self.unit == "queries":  # one that is drawn twice is two queries
                taken = torch.from_numpy(np.repeat(np.arange(len(draw)), lengths))
            setattr(self.instance, name, [taken])
        return self.metric.number(self.instance)


def _rows_of(
    ends: npt.NDArray[np.int64], draw: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The rows of the units that are drawn, and how many each has."""
    lengths = np.diff(ends, prepend=0)[draw]
    before = np.cumsum(lengths) - lengths
    starts = np.repeat(ends[draw] - lengths - before, lengths)
    return starts + np.arange(len(starts)), lengths


_INDEXES = "indexes"
FEWEST_UNITS = 20


def too_few(states: SampleStates) -> str:
    """Why no interval can be drawn from states; empty where one can."""
    if states.count >= FEWEST_UNITS:
        return ""
    return f"the evaluation has {states.count} {states.unit}; {FEWEST_UNITS} are needed"


def evaluate(metric: TorchMetric, model: nn.Module, batches: Batches) -> tuple[float, SampleStates | None]:
    """Give the value of a metric, and its states by sample.

    The metric is updated with one sample at a time, so that its value depends on no batch size. Where its states do not
    add up so (it scales by the range of a batch, say), it is updated with each batch, and there are no states.

    Args:
        metric: of torchmetrics.
        model: in eval mode.
        batches: with labels.
    """
    for squash in (False, True):
        try:
            states = _by_sample(metric, model, batches, squash=squash)
        except LogitsError:
            continue
        return (metric(model, batches), None) if states is None else (states.value(), states)
    raise RuntimeError("Scores are read as logits at the latest the second time.")


@dataclass
class _Collector:
    """The states of the samples so far.

    Where they would take too much memory, neighbours are added up: a unit is then 2, 4, 8, ... samples.
    """

    metric: TorchMetric
    instance: Any
    per_unit: int = 1
    held: int = 0
    sums: list[dict[str, Tensor]] = field(default_factory=list)
    rows: dict[str, list[Tensor]] = field(default_factory=dict)
    lengths: dict[str, list[int]] = field(default_factory=dict)

    def take(self, given: MetricInputs) -> None:
        """Take in the samples of a batch."""
        for row in range(given.samples):
            self.instance.reset()
            update(self.instance, given.sample(row))
            summed, listed = _states(self.instance)
            full = self.held % self.per_unit == 0
            self.held += 1
            if full or not self.sums:
                self.sums.append({name: each.clone() for name, each in summed.items()})
            else:
                self.sums[-1] = {name: each + summed[name] for name, each in self.sums[-1].items()}
            for name, parts in listed.items():
                self.rows.setdefault(name, []).extend(parts)
                count, lengths = sum(len(part) for part in parts), self.lengths.setdefault(name, [])
                lengths.append(count) if full or not lengths else lengths.__setitem__(-1, lengths[-1] + count)
            if full and self._bytes() > _MOST_BYTES:
                self._halve()

    def _bytes(self) -> int:
        return len(self.sums) * sum(each.numel() * each.element_size() for each in self.sums[-1].values())

    def _halve(self) -> None:
        pairs = [self.sums[start : start + 2] for start in range(0, len(self.sums), 2)]
        self.sums = [{name: sum(each[name] for each in pair) for name in pair[0]} for pair in pairs]  # type: ignore[misc]
        self.lengths = {
            name: [sum(each[start : start + 2]) for start in range(0, len(each), 2)]
            for name, each in self.lengths.items()
        }
        self.per_unit *= 2

    def states(self) -> SampleStates:
        """All that was taken in."""
        names = self.sums[0] if self.sums else {}
        sums = {name: torch.stack([each[name] for each in self.sums]) for name in names}
        rows = {name: torch.cat(parts) for name, parts in self.rows.items() if parts}
        ends = {name: np.cumsum(np.array(self.lengths[name], dtype=np.int64)) for name in rows}
        unit = "samples" if self.per_unit == 1 else f"groups of {self.per_unit} samples"
        return _by_query(SampleStates(self.metric, self.instance, sums, rows, ends, unit))


def _by_query(states: SampleStates) -> SampleStates:
    """Of a metric over queries, the units are these: its rows are sorted by them."""
    lengths = {len(each) for each in states.rows.values()}
    if _INDEXES not in states.rows or len(lengths) != 1 or states.sums:
        return states
    queries = states.rows[_INDEXES]
    order = torch.argsort(queries, stable=True)
    ends = np.cumsum(np.unique(queries.numpy(), return_counts=True)[1]).astype(np.int64)
    rows = {name: each[order] for name, each in states.rows.items()}
    return SampleStates(states.metric, states.instance, {}, rows, dict.fromkeys(rows, ends), "queries")


def _by_sample(metric: TorchMetric, model: nn.Module, batches: Batches, *, squash: bool) -> SampleStates | None:
    collector = _Collector(metric, metric.fresh())
    for number, given in enumerate(metric.inputs(model, batches, squash=squash)):
        if number == 0 and not _adds_up(metric, given):
            return None
        collector.take(given)
    return collector.states() if collector.held else None


def _adds_up(metric: TorchMetric, given: MetricInputs) -> bool:
    """Whether the states of the samples of a batch make up the state of the batch."""
    whole = metric.fresh()
    update(whole, given)
    if _reductions(whole) - {"sum", "rows"}:
        return False
    try:
        once = metric.number(whole)
    except PFAGateError:
        raise
    except Exception:  # a batch may be too small for a value, or hold one class only
        return _reductions(whole) == {"rows"}
    collector = _Collector(metric, metric.fresh())
    try:
        collector.take(given)
        apart = collector.states().value()
    except PFAGateError:
        raise
    except Exception:  # some take no sample alone
        return False
    return bool(np.isclose(once, apart, rtol=_SAME, atol=_SAME, equal_nan=True))


def _reductions(instance: Any) -> set[str]:
    """How the states of two halves of the data become that of all."""
    return {kind for _, kind in _kinds(instance)} or {"unknown"}


def _kinds(instance: Any) -> Iterator[tuple[str, str]]:
    for name, default in instance._defaults.items():
        reduction = getattr(instance._reductions[name], "__name__", "")
        yield name, "rows" if isinstance(default, list) else "sum" if reduction == "dim_zero_sum" else "other"


def _states(instance: Any) -> tuple[dict[str, Tensor], dict[str, list[Tensor]]]:
    """The states that are summed, and those that are lists."""
    summed = {name: getattr(instance, name) for name, kind in _kinds(instance) if kind == "sum"}
    listed = {name: list(getattr(instance, name)) for name, kind in _kinds(instance) if kind == "rows"}
    return summed, listed
