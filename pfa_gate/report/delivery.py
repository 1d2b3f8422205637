"""How a compressed model is delivered, in sentences."""

from collections.abc import Iterator

from pfa_gate.record import Record
from pfa_gate.report.candidate import candidate_sentences
from pfa_gate.report.ownership import EXECUTORCH, ONNX, OPENVINO, PROGRAM

_RUN_ALONE = {"program": PROGRAM, "onnx": ONNX, "openvino": OPENVINO, "executorch": EXECUTORCH}
"""The files that run without the user's code, the most general first."""


def delivery(record: Record) -> tuple[str, ...]:
    """Sentences on how a compressed model is delivered.

    Example:
        >>> from pfa_gate.record import CompressedRecord, Exact, Probe, Record, Size
        >>> part = CompressedRecord(4, 16, 36, None, Exact(0.0, True), form="graph")
        >>> files = {"recipe": ".pfa/digits/recipe.yaml", "program": ".pfa/digits/model.pt2"}
        >>> sizes, probe = Size(9, 36, 81), Probe(64, "ab")
        >>> delivery(Record("digits", "pfa.yaml", {}, {}, sizes, probe, compressed=part, files=files))
        ("The model's own class cannot run at the new widths; model.pt2 holds its graph, which can.",)
    """
    if record.candidate is not None:
        return candidate_sentences(record.candidate)
    if record.compressed is None or "recipe" not in record.files:
        return ()
    return (*_of_its_graph(record), *_sizes_taken(record))


def _of_its_graph(record: Record) -> Iterator[str]:
    if record.compressed is None or record.compressed.form == "module":
        return
    fact = "The model's own class cannot run at the new widths"
    runs = [name for what, name in _RUN_ALONE.items() if what in record.files]
    if runs:
        yield f"{fact}; {runs[0]} holds its graph, which can."
    elif not any(gap.what == PROGRAM for gap in record.unmeasured):
        yield f"{fact}, and artifacts leaves out pt2, the file that can."


def _sizes_taken(record: Record) -> Iterator[str]:
    """What sizes the files that run without the user's code were found to take."""
    names = {"program": PROGRAM, "onnx": ONNX, "openvino": OPENVINO}
    files = [name for what, name in names.items() if what in record.files]
    if files and record.inputs:
        taken = " and ".join(f"{name} [{', '.join(map(str, shape))}]" for name, shape in record.inputs.items())
        named = any(isinstance(size, str) for shape in record.inputs.values() for size in shape)
        change = "; a size with a name may change" if named else "; no size may change"
        listed_files = " and ".join(filter(None, (", ".join(files[:-1]), files[-1])))
        yield f"{listed_files} take{'s' if len(files) == 1 else ''} {taken}{change}."
    if "executorch" in record.files:
        yield f"{EXECUTORCH} takes one sample a call, of the size of the example; its memory is planned beforehand."
