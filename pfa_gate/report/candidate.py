"""Words on a candidate: a model that another tool made, judged in place of one that was cut here."""

from collections.abc import Iterator

from pfa_gate.budget.wording import amount
from pfa_gate.config.budgets import DEMANDS, SIZES
from pfa_gate.record import CandidateRecord, Record

UNCOUNTED = "MACs of the first model"
_DIGEST = 12  # signs of a sha256 that people read


def smaller_name(record: Record) -> str:
    """What the smaller model of a record is called.

    Example:
        >>> from pfa_gate.record import Probe, Size
        >>> smaller_name(Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab")))
        'compressed'
    """
    return "compressed" if record.candidate is None else "candidate"


def candidate_sentences(candidate: CandidateRecord) -> tuple[str, ...]:
    """Which file it is, what it ran in, and what was not done to it.

    Example:
        >>> made = CandidateRecord("onnx", "net.onnx", "0123456789abcdef", 277_000, "ONNX Runtime 1.31, on the CPU")
        >>> candidate_sentences(made)[0]
        'The candidate is net.onnx (277 kB, sha256 0123456789ab), run in ONNX Runtime 1.31, on the CPU.'
    """
    return tuple(_sentences(candidate))


def _sentences(candidate: CandidateRecord) -> Iterator[str]:
    size = "" if candidate.file_bytes is None else f"{amount(candidate.file_bytes, 'B')}, "
    file = f" ({size}sha256 {candidate.sha256[:_DIGEST]})" if candidate.sha256 else ", which code makes"
    weights = " with its weights" if candidate.form == "factory" and candidate.sha256 else ""
    yield f"The candidate is {candidate.source}{weights}{file}, run in {candidate.runtime}."
    yield "It was made elsewhere: nothing was cut here, and nothing is proved of it."
    if candidate.timed:
        yield f"Latency is that of the candidate over that of the full model, {candidate.timed}."
    for remark in candidate.remarks:
        yield f"{remark[:1].upper()}{remark[1:]}."


def candidate_advice(key: str) -> str:
    """What to do about a broken budget of a candidate.

    Args:
        key: of the budget, without its area.

    Example:
        >>> candidate_advice("parameters")
        'Have the tool that made the candidate cut more, or remove candidate to have the full model cut here.'
    """
    if key in (*SIZES, *DEMANDS, "latency"):
        return "Have the tool that made the candidate cut more, or remove candidate to have the full model cut here."
    return (
        "Have the tool that made the candidate cut less, or calibrate or train it longer; check too that it takes "
        "inputs prepared as those of the full model."
    )
