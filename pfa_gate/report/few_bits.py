"""The file of few bits in words: the width of each layer, how the numbers were rounded, and what it does not save."""

from collections.abc import Iterator
from dataclasses import dataclass

from pfa_gate.budget.wording import amount, listed, plural, significant
from pfa_gate.record import BitsRecord, LayerBits, QuantizedRecord, Record
from pfa_gate.report.formatting import share

_WORST = 3
_MOST = 5
_VALUES = {"ternary": "three values", "binary": "two values"}


@dataclass(frozen=True)
class BitsRow:
    """A layer: its name, its width, its numbers, the bytes they take, and how far the answers move by it alone."""

    layer: str
    width: str
    weights: str
    bytes: str
    alone: str


def bits_rows(record: Record) -> tuple[BitsRow, ...]:
    """The layers of the file of few bits, in the order of the model; none where there is no such file."""
    plan = record.quantized.plan if record.quantized is not None else None
    return tuple(map(_row, plan.layers)) if plan is not None else ()


def _row(layer: LayerBits) -> BitsRow:
    alone = "" if layer.alone is None else significant(layer.alone)
    return BitsRow(layer.name, layer.width, f"{layer.weights:,}", f"{layer.bytes:,}", alone)


def few_bits_sentences(record: Record, file: QuantizedRecord) -> Iterator[str]:
    """What the file is, in sentences, but for what it answers.

    Example:
        >>> from pfa_gate.record import Probe, Size
        >>> plan = BitsRecord((LayerBits("stem", "4", 64, 64),), None, "divergence", 64, 0.02, 0.01, True)
        >>> file = QuantizedRecord("ab", 99, "torch", 4, "packed", "", 64, 9, 18, plan=plan)
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"), quantized=file)
        >>> next(few_bits_sentences(record, file))
        'weights.q.safetensors has weights of 4 bits, 8 each with their scales, and floating activations.'
    """
    plan = file.plan
    if plan is None:
        return
    each = f"{significant(plan.bits_each)} each with their scales"
    within = f", chosen layer by layer for {plan.target:,} bytes" if plan.target is not None else ""
    yield f"weights.q.safetensors has weights of {widths(plan)}, {each}, and floating activations{within}."
    whole = share(file.bytes, record.model.bytes)
    yield f"It stores {amount(file.bytes, 'B')}, {whole} of the full model's; what was read back from it is judged."
    yield "It saves bytes and no time: no common CPU runtime runs these weights faster; they are made floating to run."
    few = [name for name in _VALUES if any(layer.width == name for layer in plan.layers)]
    if few and not plan.feedback:
        yield f"Rounded to the nearest and not trained, {' and '.join(few)} weights mostly leave a model at chance."
    yield from _rounding(plan)
    if file.floating:
        names = [f"{name} ({why})" for name, why in file.floating.items()]
        yield f"In floating numbers: {listed(names, _MOST)}."
    worst = sorted((layer for layer in plan.layers if layer.alone), key=lambda layer: -(layer.alone or 0.0))[:_WORST]
    if worst:
        names = [f"{layer.name} ({_width(layer.width)}, {significant(layer.alone or 0.0)})" for layer in worst]
        yield f"Alone, the weights that move the answers most are those of {listed(names, _WORST)}."


def widths(plan: BitsRecord) -> str:
    """The widths of a plan in words, the fewest bits first.

    Example:
        >>> layers = tuple(LayerBits(str(each), each, 1, 1) for each in ("3", "ternary", "8"))
        >>> widths(BitsRecord(layers, 9, "divergence", 64, None, None, False))
        'three values, 3 and 8 bits'
    """
    found = {layer.width for layer in plan.layers}
    named = [words for name, words in reversed(_VALUES.items()) if name in found]
    numbers = sorted(int(width) for width in found if width not in _VALUES)
    parts = [*named, *([*map(str, numbers[:-1]), f"{numbers[-1]} bits"] if numbers else [])]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _width(width: str) -> str:
    return width if width in _VALUES else f"{width} bits"


def _rounding(plan: BitsRecord) -> Iterator[str]:
    """How the numbers were found."""
    if plan.fed_back is None or plan.nearest is None:
        why = f": {plan.reason.rstrip('.')}" if plan.reason else ""
        yield f"Its numbers are the nearest ones, without error feedback{why}."
        return
    unit = "nats" if plan.measure == "divergence" else "of their spread"
    near, fed = significant(plan.nearest), significant(plan.fed_back)
    on = f"on {plural(plan.samples, 'sample')} of the probe that no weight was fitted on"
    gaps = f"the answers are {{}} {unit} from the compressed model's, {{}} with {{}}, {on}"
    if plan.feedback:
        told = gaps.format(fed, near, "the nearest numbers")
        yield f"Its layers were rounded in turn, each making good what those before it lost: {told}."
    else:
        yield f"Its numbers are the nearest ones: {gaps.format(near, fed, 'error feedback')}."


def packed_step(file: QuantizedRecord) -> str:
    """What the step from floating numbers to few bits did, in one line."""
    return f"weights of {widths(file.plan)}" if file.plan is not None else "weights of few bits"
