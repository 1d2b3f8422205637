"""Zeros among the weights of both models in sentences and rows, alike in all reports."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pfa_gate.budget.wording import amount, listed, plural
from pfa_gate.record import Record, SparseLayer, SparsityRecord, ZeroCount
from pfa_gate.report.answers import smaller_model
from pfa_gate.report.formatting import share

_MOST = 5
_NO_SPEED = "GPUs with sparse tensor cores run 2:4 faster; common runtimes on a CPU run no such pattern faster"


@dataclass(frozen=True)
class ZerosRow:
    """A layer in words.

    Attributes:
        layer: its name.
        full, smaller: share of zeros among its weights in the full model and in the other; empty for none.
        patterns: that every group of it meets in the smaller model, or in the full one where there is no other.
        whole: why `sparsify` left all its weights; empty where it did not.
    """

    layer: str
    full: str
    smaller: str
    patterns: str
    whole: str


def zeros_rows(record: Record) -> tuple[ZerosRow, ...]:
    """Every layer, in the order of the forward pass.

    Example:
        >>> from pfa_gate.record import Probe, Size
        >>> stem = SparseLayer("stem", ZeroCount(16, 0, {"2:4": (0, 4)}), ZeroCount(16, 8, {"2:4": (4, 4)}))
        >>> zeros = SparsityRecord((stem,), "2:4", 40)
        >>> zeros_rows(Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"), sparsity=zeros))
        (ZerosRow(layer='stem', full='0.0%', smaller='50.0%', patterns='2:4', whole=''),)
    """
    layers = record.sparsity.layers if record.sparsity is not None else ()
    return tuple(
        ZerosRow(each.name, _zeros(each.full), _zeros(each.compressed), _met(each.compressed or each.full), each.whole)
        for each in layers
    )


def _zeros(count: ZeroCount | None) -> str:
    return "" if count is None else share(count.zeros, count.weights)


def _met(count: ZeroCount | None) -> str:
    return "" if count is None else ", ".join(pattern for pattern in count.patterns if count.meets(pattern))


def zeros_sentences(record: Record) -> tuple[str, ...]:
    """What the zeros are, in sentences; none for a record that does not have them.

    Example:
        >>> from pfa_gate.record import Probe, Size
        >>> zeros = SparsityRecord((SparseLayer("stem", ZeroCount(16, 4, {"2:4": (1, 4)})),))
        >>> zeros_sentences(Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"), sparsity=zeros))
        ('Of the weights of the full model 25.0% are zero, in no pattern.',)
    """
    return tuple(_sentences(record, record.sparsity)) if record.sparsity is not None else ()


def tells_of_zeros(record: Record) -> bool:
    """Whether short reports speak of zeros: some were asked for, or a layer has a pattern of them."""
    asked = record.sparsity is not None and bool(record.sparsity.pattern)
    return asked or any(row.patterns for row in zeros_rows(record))


def _sentences(record: Record, zeros: SparsityRecord) -> Iterator[str]:
    models = {"full model": [layer.full for layer in zeros.layers if layer.full is not None]}
    models[smaller_model(record)] = [layer.compressed for layer in zeros.layers if layer.compressed is not None]
    for name, counts in models.items():
        if counts:
            yield _of_model(name, counts)
    if not zeros.pattern:
        return
    kept, of = zeros.pattern.split(":")
    groups = f"of {of} neighbouring input channels of a filter, at one place of its kernel"
    yield f"{zeros.pattern}: {groups}, at most {kept} have weights that are not zero."
    yield from _whole(zeros.layers)
    if zeros.packed_bytes is not None:
        packed = f"as values and places the compressed model would take {amount(zeros.packed_bytes, 'B')}"
        yield f"Zeros save no byte of these files, which store them like any weight; {packed}. {_NO_SPEED}."


def _of_model(name: str, counts: Sequence[ZeroCount]) -> str:
    zeros, weights = sum(count.zeros for count in counts), sum(count.weights for count in counts)
    patterns = dict.fromkeys(pattern for count in counts for pattern in count.patterns)
    met = {pattern: sum(count.meets(pattern) for count in counts) for pattern in patterns}
    words = [f"{pattern} in {number} of {plural(len(counts), 'layer')}" for pattern, number in met.items() if number]
    return f"Of the weights of the {name} {share(zeros, weights)} are zero, {', '.join(words) or 'in no pattern'}."


def _whole(layers: Sequence[SparseLayer]) -> Iterator[str]:
    names = [f"{layer.name} ({layer.whole})" for layer in layers if layer.whole]
    if names:
        yield f"With all their weights: {listed(names, _MOST)}."
