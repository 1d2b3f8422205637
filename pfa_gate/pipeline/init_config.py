"""A first pfa.yaml: budgets that hold what a model measures today, plus a margin."""

import math
import textwrap
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from pfa_gate.budget import Context
from pfa_gate.config import load
from pfa_gate.config.init_request import InitRequest, config_without_budgets, naming_arguments, trial_config
from pfa_gate.errors import ConfigError
from pfa_gate.pipeline.run import run_document
from pfa_gate.record import LayerRecord, Record

_STEP = 0.05


def write_first_config(wish: InitRequest, path: Path) -> str:
    """Measure a model and write its first config, which it keeps.

    Args:
        wish: what the config is about.
        path: of the config; it must not exist, and its folder holds the results after.

    Raises:
        PFAGateError: the model could not be measured; its places are arguments of the command line.
    """
    document = trial_config(wish, path)
    with naming_arguments(document):
        record = run_document(document, wish.name, Context(today=date.today()), output=path.parent / ".pfa").record
    text = config_without_budgets(wish) + "".join(_budgets(record))
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        fact = f"{path.name} has come to be while the model was measured."
        raise ConfigError(fact, remedy="Remove it, or name another with --config.") from None
    load(path)
    return text


def _budgets(record: Record) -> Iterator[str]:
    yield "    budgets:\n"
    judged = [layer for layer in record.layers if layer.skipped is None and layer.kl_ratio is not None]
    if judged:
        yield from _layers(judged)
    yield f"      model: {{parameters: {_grown(record.model.parameters)}, macs: {_grown(record.model.macs)}}}\n"
    compressed = ", ".join(_compressed(record))
    if compressed:
        yield f"      compressed: {{{compressed}}}\n"
    if record.scores is not None and record.scores.chance:
        yield from (f"      # {line}\n" for line in textwrap.wrap(f"No limit of a drop: {record.scores.chance}", 100))


def _layers(judged: list[LayerRecord]) -> Iterator[str]:
    limits = {
        "kl": _above(max(layer.kl_ratio or 0.0 for layer in judged)),
        "peak_correlation": _above(max(layer.peak_correlation or 0.0 for layer in judged)),
        "inactive": max(layer.inactive or 0 for layer in judged),
    }
    written = ", ".join(f"{key}: {value}" for key, value in limits.items() if value is not None)
    yield f'      layers:\n        - {{match: "*", {written}}}\n'
    for key in (key for key, value in limits.items() if value is None):
        yield f"        # No limit of {key}: it is 1 in some layer today, and no value lies above 1.\n"


def _compressed(record: Record) -> Iterator[str]:
    """The limits that a compressed model could break: of a size below the full one's, of a drop below the score."""
    if record.compressed is None:
        return
    share = _above(record.compressed.parameters / record.model.parameters)
    if share is not None:
        yield f"parameters: {round(100 * share, 1):g}%"
    scores = record.scores
    if scores is not None and not scores.chance and scores.drop is not None and scores.full is not None:
        limit = math.ceil(100 * max(scores.drop, 0.0) + 1)
        if limit < 100 * scores.full:
            yield f"accuracy_drop: {limit} pp"


def _above(value: float) -> float | None:
    """The next twentieth that leaves a margin of at least a fiftieth; near 1 half the way there, and at 1 nothing.

    Example:
        >>> _above(0.61), _above(0.64), _above(0.99), _above(1.0)
        (0.65, 0.7, 0.995, None)
    """
    limit = round(math.ceil((value + 0.02) / _STEP - 1e-9) * _STEP, 2)
    near = limit if limit < 1 else math.ceil(1000 * (value + 1) / 2 - 1e-9) / 1000
    return near if near < 1 else None


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
