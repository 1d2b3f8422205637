"""What compensation will take, foreseen before it starts, and which layers are left out where time is bounded."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pfa_gate.compress.full_rows import FullRows
from pfa_gate.compress.recover.activation_store import MEMORY
from pfa_gate.compress.recover.constraint import Constraint
from pfa_gate.compress.recover.layer_pairs import LayerPair
from pfa_gate.compress.recover.layer_problem import parts_for
from pfa_gate.compress.recover.rectifier_targets import MOST
from pfa_gate.compress.recover.refit import RIDGES_TRIED
from pfa_gate.compress.recover.row_sampler import RowPlan
from pfa_gate.compress.regress import ONE_HELD_OUT
from pfa_gate.graph import Program

_SIDE = 512  # of the matrices whose products are timed


@dataclass(frozen=True)
class CompensateSettings:
    """How compensation runs.

    Attributes:
        seed: of the positions drawn.
        seconds: for all of it; the layers that lost most come first, and those that do not fit are left out. None for
            no bound.
        kept: values of the full model at positions of the same seed, from a pass that was made before.
        progress: called with what it will take, and how many layers of how many are done; None to stay silent.
        constraint: what the weights of some layers have to be; None where they are free.
    """

    seed: int = 0
    seconds: float | None = None
    kept: FullRows | None = None
    progress: "Callable[[Forecast, int, int], None] | None" = None
    constraint: Constraint | None = None

    @property
    def timed(self) -> bool:
        """Whether somebody wants to know what it will take."""
        return self.seconds is not None or self.progress is not None


@dataclass(frozen=True)
class Speed:
    """How fast this machine is.

    Attributes:
        products: operations a second in products of float32.
        solves: operations a second in Cholesky factors of float64.
        sample: seconds that both models need for one sample.
    """

    products: float
    solves: float
    sample: float


@dataclass(frozen=True)
class Forecast:
    """What compensation will take.

    Attributes:
        passes: seconds of both models' passes over the samples that are read.
        layers: seconds of each layer.
        memory: bytes of what is held at once, beside the models and a batch of their values.
    """

    passes: float
    layers: Mapping[str, float]
    memory: int

    @property
    def seconds(self) -> float:
        """Of passes and layers together."""
        return self.passes + sum(self.layers.values())


def measured_speed(forward: Callable[[], int], device: torch.device) -> Speed:
    """Time one product, one factor and one pass on this machine.

    Args:
        forward: runs both models and says over how many samples.
        device: on which layers are solved.
    """
    rows = torch.rand(_SIDE, _SIDE, device=device)
    matrix = torch.eye(_SIDE, dtype=torch.float64, device=device)
    product = _seconds(lambda: float((rows @ rows).sum()))
    factor = _seconds(lambda: float(torch.linalg.cholesky(matrix).sum()))
    started = time.perf_counter()
    samples = forward()
    return Speed(2 * _SIDE**3 / product, _SIDE**3 / 3 / factor, (time.perf_counter() - started) / max(samples, 1))


def _seconds(work: Callable[[], float]) -> float:
    """The shorter of two times; what is computed is fetched, so that a device has done it."""
    taken = []
    for _ in range(2):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return max(min(taken), 1e-9)


def forecast(plans: Mapping[str, RowPlan], stages: Iterable[Iterable[str]], speed: Speed) -> Forecast:
    """What layers will take on the rows that they begin with; more of them may turn out to help.

    Args:
        plans: layer -> its rows.
        stages: layers that are solved together.
        speed: of this machine.

    Example:
        >>> plans = {"fc1": RowPlan(groups=1, columns=9216, filters=128, positions=1, samples=600)}
        >>> found = forecast(plans, [["fc1"]], Speed(products=5e10, solves=1e10, sample=1e-3))
        >>> round(found.passes, 3), found.layers["fc1"] < 5, found.memory < 400e6
        (0.6, True, True)
    """
    samples = max((plan.read(plan.first) for plan in plans.values()), default=0)
    memory = max((sum(_memory(plans[name]) for name in stage if name in plans) for stage in stages), default=0)
    layers = {name: _layer_seconds(plan, speed) for name, plan in plans.items()}
    return Forecast(samples * speed.sample, layers, memory + MEMORY)


def _layer_seconds(plan: RowPlan, speed: Speed) -> float:
    groups, rows, columns = plan.groups, plan.first, plan.columns
    basis = 0.0
    if plan.dual:  # two thirds of the rows' cube are saved, as the triangle shrinks
        basis, columns = groups * 4 * rows**2 * columns / plan.sharing / speed.products, min(rows, columns)
    sums = groups * rows * columns * (columns / plan.sharing + 12 * plan.filters)
    trials = RIDGES_TRIED * (1 if parts_for(columns, rows) == ONE_HELD_OUT else parts_for(columns, rows)) + 3
    solves = groups * trials * (columns**3 / 3 / plan.sharing + 4 * columns**2 * plan.filters)
    return basis + sums / speed.products + solves / speed.solves


def _memory(plan: RowPlan) -> int:
    """Bytes of the matrices of one layer, and of its rows where they are held."""
    rows, columns = plan.first, plan.columns
    held = 4 * min(plan.groups * rows * (columns + 2 * plan.filters), MOST)
    if plan.dual:
        held, columns = 4 * held, min(rows, columns)
    return held + 8 * plan.groups * columns**2 * (parts_for(columns, rows) + 3) // plan.sharing


def weight_lost(pair: LayerPair, full: Program, kept: Tensor | None) -> float:
    """The share of a full layer's squared weights that read filters which are gone, in [0, 1].

    Args:
        pair: the layer.
        full: the full model's program.
        kept: int64, the input channels that are left, as places on the weight's axis; None where it reads all.

    Example:
        >>> from pfa_gate.graph import record_model
        >>> from pfa_gate.graph.calls import calls
        >>> program = record_model(torch.nn.Linear(4, 2), (torch.zeros(2, 4),), {})
        >>> _ = program.tensors["weight"].data.fill_(1.0)
        >>> (call,) = calls(program)
        >>> weight_lost(LayerPair(call, call, None), program, torch.tensor([0, 1, 2]))
        0.25
    """
    if kept is None:
        return 0.0
    weight = full.tensors[pair.whole.weight].detach().double()
    whole = float(weight.square().sum())
    left = float(weight.index_select(pair.small.inputs, kept.to(weight.device)).square().sum())
    return 1 - left / whole if whole > 0 else 0.0


def within(found: Forecast, gains: Mapping[str, float], seconds: float) -> frozenset[str]:
    """The layers that there is time for, those that lost most of their weights first.

    Args:
        found: what each takes.
        gains: layer -> what solving it is worth.
        seconds: for all, the passes included; no layer where these take longer.

    Example:
        >>> found = Forecast(1.0, {"conv1": 2.0, "conv2": 1.0, "fc": 1.0}, 0)
        >>> sorted(within(found, {"conv1": 0.1, "conv2": 0.5, "fc": 0.3}, 3.5))
        ['conv2', 'fc']
    """
    chosen, left = set[str](), seconds - found.passes
    for layer in sorted(gains, key=lambda layer: (-gains[layer], list(gains).index(layer))):
        if found.layers[layer] <= left:
            chosen.add(layer)
            left -= found.layers[layer]
    return frozenset(chosen)


class Schedule:
    """Which layers are solved, as time allows, and how far it is.

    Args:
        settings: the bound, and who is told.
        found: what each layer takes; None where neither is wanted.
        gains: layer -> what solving it is worth.
        started: `time.perf_counter()` of the beginning.
    """

    def __init__(
        self, settings: CompensateSettings, found: Forecast | None, gains: Mapping[str, float], started: float
    ) -> None:
        self.settings, self._found, self._started = settings, found, started
        self._total, self._done, self._chosen = len(gains), 0, frozenset(gains)
        if settings.seconds is not None and found is not None:
            self._chosen = within(found, gains, settings.seconds - (time.perf_counter() - started))
        self.passed(0)

    def reason(self, stage: Sequence[str]) -> Callable[[str], str]:
        """Why a layer of a stage that begins now is left out; empty where it is not."""
        bound = self.settings.seconds
        if bound is None or self._found is None:
            return lambda layer: ""
        wanted = sum(self._found.layers[layer] for layer in stage if layer in self._chosen)
        over = time.perf_counter() - self._started + wanted > bound
        late = f"left out, as the {bound:g} s were over"
        fewer = f"left out, as {bound:g} s are not enough for all layers and others lost more"
        return lambda layer: fewer if layer not in self._chosen else late if over else ""

    def passed(self, layers: int) -> None:
        """So many more layers are done with."""
        self._done += layers
        if self.settings.progress is not None and self._found is not None:
            self.settings.progress(self._found, self._done, self._total)
