"""What `pfa-gate inspect` prints, in lines of at most 80 columns."""

import textwrap
from collections.abc import Iterator

from pfa_gate.budget.wording import amount, listed, plural
from pfa_gate.report.text import clean
from pfa_gate.runtime.file_facts import FileFacts

_WIDTH = 80
_NAMED = 5
_FORMS = {"onnx": "ONNX", "pt2": "a program of torch.export", "safetensors": "tensors alone (safetensors)"}


def file_lines(facts: FileFacts) -> Iterator[str]:
    """A file for people."""
    yield from _wrapped(f"{facts.file}: {_FORMS[facts.form]}, {amount(facts.file_bytes, 'B')}", "")
    yield f"  sha256 {facts.sha256}"
    opset = ", ".join(f"{name} {number}" for name, number in facts.opset.items())
    origin = (("written by", facts.producer), ("operators of", opset))
    yield from (line for words, value in origin if value for line in _wrapped(f"{words} {value}", "  "))
    ranges = [f"{name}  {_range(*ends)}" for name, ends in sorted(facts.ranges.items())]
    operators = [", ".join(f"{name} {count:,}" for name, count in facts.operators.items())]
    parts = {
        "Inputs": [str(port) for port in facts.inputs],
        "Outputs": [str(port) for port in facts.outputs],
        "Free sizes": ranges,
        f"Operators ({sum(facts.operators.values()):,})": operators if facts.operators else [],
        "Stored": list(_stored(facts)),
        "Zeros": list(_zeros(facts)),
    }
    for title, lines in parts.items():
        yield from [title] if lines else []
        yield from (line for each in lines for line in _wrapped(each, "  "))


def _stored(facts: FileFacts) -> Iterator[str]:
    counted = "elements" if facts.form == "safetensors" else "parameters"
    yield f"{facts.parameters:,} {counted}, {facts.bytes:,} bytes in all tensors"
    for dtype, kind in facts.stored.items():
        elements = plural(kind.elements, "element")
        yield f"{dtype}  {plural(kind.tensors, 'tensor')}, {elements}, {kind.bytes:,} bytes"
    for width, kind in facts.packed.items():
        named = f"{width} bits" if width.isdecimal() else width
        numbers = plural(kind.elements, "number")
        yield f"{named}  {plural(kind.tensors, 'weight')} of {numbers}, {kind.bytes:,} bytes with scales"
    if facts.beside:
        yield f"Tensors of it lie beside it, in {', '.join(facts.beside)}."


def _zeros(facts: FileFacts) -> Iterator[str]:
    """How many weights are zero, and which patterns every group of a tensor meets."""
    if facts.zeros:
        zeros, weights = (sum(getattr(each, key) for each in facts.zeros.values()) for key in ("zeros", "weights"))
        tensors = f"{plural(len(facts.zeros), 'weight')} of two axes or more"
        yield f"{100 * zeros / weights:.1f}% of {plural(weights, 'element')} in {tensors}"
    for pattern in ("1:4", "2:4", "4:8"):
        met = [name for name, each in facts.zeros.items() if each.meets(pattern)]
        if met:
            yield f"{pattern} along the input channels: {listed(met, _NAMED)}"


def _range(low: int | None, high: int | None) -> str:
    if high is None:
        return "any" if low is None else f"from {low:,}"
    return f"up to {high:,}" if low is None else f"{low:,} to {high:,}"


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(clean(text), _WIDTH, initial_indent=indent, subsequent_indent=indent + "  ",
                         break_on_hyphens=False)  # fmt: skip
