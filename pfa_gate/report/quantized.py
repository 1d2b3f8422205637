"""The int8 file, or that of fewer bits, in words: how it was made, what it stores and answers, which layers suffer."""

from collections.abc import Iterator
from dataclasses import dataclass

from pfa_gate.budget.wording import amount, listed, plural
from pfa_gate.record import QuantizedRecord, Record
from pfa_gate.report.answers import MeasureRow, answer_measures, answer_sentences
from pfa_gate.report.few_bits import BitsRow, bits_rows, few_bits_sentences, packed_step
from pfa_gate.report.formatting import share

_WORST = 3
_MOST = 5


@dataclass(frozen=True)
class SufferingRow:
    """A layer: its name, the operator that the file has for it, and signal to noise of its outputs in decibels."""

    layer: str
    operator: str
    noise_ratio: str


@dataclass(frozen=True)
class Int8Facts:
    """What a report says of the int8 file, or of that of fewer bits; all of it empty where there is none."""

    sentences: tuple[str, ...]
    measures: tuple[MeasureRow, ...]
    layers: tuple[SufferingRow, ...]
    bits: tuple[BitsRow, ...] = ()
    title: str = "Int8 file"
    measure: str = ""


def int8_facts(record: Record) -> Int8Facts:
    """The file in sentences, measures of its answers, and its layers."""
    file = record.quantized
    if file is None:
        return Int8Facts((), (), ())
    title, plan = f"{file.called[0].upper()}{file.called[1:]}", file.plan
    rows, measures = suffering_rows(record), answer_measures(record.of("quantized"))
    return Int8Facts(
        int8_sentences(record), measures, rows, bits_rows(record), title, plan.measure if plan is not None else ""
    )


def int8_sentences(record: Record) -> tuple[str, ...]:
    """What the file is and what was measured of it, in sentences; none where there is none.

    Example:
        >>> from pfa_gate.record import Probe, Size
        >>> file = QuantizedRecord("ab", 99, "ONNX Runtime 1.31", 8, "static", "", 64, 9, 18, weight_bits=7)
        >>> int8_sentences(Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"), quantized=file))[0]
        'model.int8.onnx has weights and activations of 8 bits, their ranges from 64 samples of the probe.'
    """
    return tuple(_sentences(record, record.quantized)) if record.quantized is not None else ()


def _sentences(record: Record, file: QuantizedRecord) -> Iterator[str]:
    if file.scheme == "packed":
        yield from few_bits_sentences(record, file)
        yield from answer_sentences(record.of("quantized"))
        return
    if file.scheme == "static":
        ranges = f"their ranges from {plural(file.samples, 'sample')} of the probe"
        yield f"model.int8.onnx has weights and activations of {file.bits} bits, {ranges}."
        if file.weight_bits == file.bits:
            yield "Its weights use all of their bits: processors without VNNI may answer differently."
    else:
        yield f"model.int8.onnx has weights of {file.bits} bits and floating activations: {file.reason}."
    whole = share(file.bytes, record.model.bytes)
    yield f"It stores {amount(file.bytes, 'B')}, {whole} of the full model's; it was run by {file.runtime}."
    if file.forecast is not None and file.forecast != file.bytes:
        gap = f"{abs(file.bytes - file.forecast):,} {'more' if file.bytes > file.forecast else 'fewer'}"
        yield f"The recipe had forecast {file.forecast:,} bytes; these are {gap}."
    if file.floating:
        names = [f"{name} ({why})" for name, why in file.floating.items()]
        yield f"In floating numbers: {listed(names, _MOST)}."
    yield from answer_sentences(record.of("quantized"))
    worst = [f"{row.layer} ({row.noise_ratio})" for row in suffering_rows(record) if row.noise_ratio][:_WORST]
    if worst:
        over = f"signal over noise on {plural(file.compared, 'sample')} of the probe"
        yield f"The outputs that suffer most are those of {listed(worst, _WORST)}; {over}."


def suffering_rows(record: Record) -> tuple[SufferingRow, ...]:
    """The layers of the int8 file, those whose outputs suffer most first.

    Example:
        >>> from pfa_gate.record import Probe, QuantizedLayer, Size
        >>> layers = (QuantizedLayer("stem", "Conv", 23.459),)
        >>> file = QuantizedRecord("ab", 99, "ONNX Runtime 1.31", 8, "static", "", 64, 9, 18, layers=layers)
        >>> suffering_rows(Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"), quantized=file))
        (SufferingRow(layer='stem', operator='Conv', noise_ratio='23.5 dB'),)
    """
    layers = record.quantized.layers if record.quantized is not None else ()
    return tuple(SufferingRow(each.name, each.operator, _decibels(each.noise_ratio)) for each in layers)


def _decibels(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} dB"


def bits_sentence(file: QuantizedRecord) -> str:
    """What the step from floating numbers to few bits did, in one line."""
    if file.scheme == "packed":
        return packed_step(file)
    if file.scheme == "static":
        return f"weights and activations of {file.bits} bits"
    return f"weights of {file.bits} bits alone: {file.reason}"
