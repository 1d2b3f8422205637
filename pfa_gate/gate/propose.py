"""A first pfa.yaml: budgets that hold what a model measures today, plus a margin."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pfa_gate.config import load
from pfa_gate.gate import run
from pfa_gate.record import Record

_STEP = 0.05
_BOUNDS = """\
    budgets:
      layers:
        - {match: "*", kl: 1}
"""


@dataclass(frozen=True)
class Wish:
    """What a first config is about.

    Attributes:
        factory: module:callable.
        probe: callable or data file.
        checkpoint: weights file, from the config's folder; empty for none.
        evaluation: callable or data file with labels; empty for none.
        name: of the gate.
    """

    factory: str
    probe: str
    checkpoint: str = ""
    evaluation: str = ""
    name: str = "model"


def propose(wish: Wish, path: Path) -> str:
    """Measure a model and write its first config, which it keeps.

    Args:
        wish: what the config is about.
        path: of the config; it must not exist, and its folder holds the results after.

    Raises:
        PFAGateError: the model could not be measured.
    """
    head = "".join(_head(wish))
    trial = path.with_name(f".{path.name}.trial.yaml")
    try:
        trial.write_text(head + _BOUNDS, encoding="utf-8")
        record = run(trial, wish.name, output=path.parent / ".pfa").record
    finally:
        trial.unlink(missing_ok=True)
    text = head + "".join(_budgets(record))
    path.write_text(text, encoding="utf-8")
    load(path)
    return text


def _head(wish: Wish) -> Iterator[str]:
    yield "# Budgets hold what the model measured when this file was written, plus a margin: tighten them.\n"
    yield f"version: 1\ngates:\n  {wish.name}:\n    model:\n      factory: {wish.factory}\n"
    if wish.checkpoint:
        yield f"      checkpoint: {wish.checkpoint}\n"
    yield f"    probe:\n      data: {wish.probe}\n"
    yield "    recipe: {strategy: energy, energy: 0.95}\n    recovery: [compensate]\n"
    if wish.evaluation:
        yield f"    evaluation:\n      data: {wish.evaluation}\n      metric: accuracy\n"


def _budgets(record: Record) -> Iterator[str]:
    judged = [layer for layer in record.layers if layer.skipped is None and layer.kl_ratio is not None]
    rule = {
        "kl": _above(max((layer.kl_ratio or 0.0 for layer in judged), default=1.0)),
        "peak_correlation": _above(max((layer.peak_correlation or 0.0 for layer in judged), default=1.0)),
        "inactive": max((layer.inactive or 0 for layer in judged), default=0),
    }
    written = ", ".join(f"{key}: {value}" for key, value in rule.items())
    yield f'    budgets:\n      layers:\n        - {{match: "*", {written}}}\n'
    yield f"      model: {{parameters: {_grown(record.model.parameters)}, macs: {_grown(record.model.macs)}}}\n"
    if record.compressed is not None:
        share = math.ceil(100 * record.compressed.parameters / record.model.parameters)
        drop = record.scores.drop if record.scores else None
        more = "" if drop is None else f", accuracy_drop: {math.ceil(100 * max(drop, 0.0) + 1)} pp"
        yield f"      compressed: {{parameters: {min(100, share + 5)}%{more}}}\n"


def _above(value: float) -> float:
    """The next twentieth that leaves a margin of at least a fiftieth.

    Example:
        >>> _above(0.61), _above(0.64), _above(0.99)
        (0.65, 0.7, 1.0)
    """
    return min(1.0, round(math.ceil((value + 0.02) / _STEP - 1e-9) * _STEP, 2))


def _grown(count: int) -> int:
    """A tenth more, to two digits.

    Example:
        >>> _grown(170_123), _grown(9)
        (190000, 10)
    """
    grown = count * 1.1
    digits = max(0, math.floor(math.log10(grown)) - 1) if grown >= 1 else 0
    unit = int(10**digits)
    return max(1, math.ceil(grown / unit) * unit)
