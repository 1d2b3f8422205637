"""Files that a runtime runs, against their references: on all samples, and stored for other machines."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from pfa_gate.artifacts import ModelFiles
from pfa_gate.artifacts.model_files import installed
from pfa_gate.budget import Parity
from pfa_gate.config import Limit
from pfa_gate.errors import ArtifactError, CandidateError, DataError
from pfa_gate.model import Batch, Batches
from pfa_gate.model.device import model_on
from pfa_gate.pipeline.deployed import ParityFindings
from pfa_gate.pipeline.findings import Findings
from pfa_gate.pipeline.job import GateJob
from pfa_gate.record import Unmeasured
from pfa_gate.report.ownership import ONNX, PARITY
from pfa_gate.runtime.pair import Pair, RuntimeFile
from pfa_gate.runtime.parity import largest
from pfa_gate.runtime.parity_data import write_parity
from pfa_gate.runtime.parity_store import parity_data

_STAGE = "comparing files"


def measure_parity(job: GateJob, findings: Findings, files: ModelFiles) -> ParityFindings:
    """Compare the files of a gate with their references on every sample, and store some of these.

    Args:
        job: the gate.
        findings: with the compressed model, or the candidate.
        files: that were written of it.
    """
    job = findings.cut.job if findings.cut else job
    limit = job.config.budgets.compressed.parity
    file = _of_candidate(findings, limit) if findings.candidate else _of_cut(job, findings, files, limit)
    if isinstance(file, str):
        return ParityFindings(reasons={"compressed": file}, gaps=tuple(_gap("the files", file, limit)))
    return compare_files(job, [file], files.folder)


def _of_cut(job: GateJob, findings: Findings, files: ModelFiles, limit: Limit | None) -> RuntimeFile | str:
    """The file of the compressed model, or why there is none."""
    if findings.cut is None:
        return findings.reason
    if ONNX not in files.names:
        written = next((gap.reason for gap in files.gaps if gap.what == ONNX), "")
        extra = "" if installed() else ": the extra onnx is not installed; run pip install 'pfa-gate[onnx]'"
        return f"{ONNX} was {written or f'not written{extra}'}."
    model = model_on(findings.cut.compressed.model, job.subject.device)
    content = (files.folder / ONNX).read_bytes()
    return RuntimeFile("compressed", ONNX, content, model, job.subject.device, _allowed(limit))


def _of_candidate(findings: Findings, limit: Limit | None) -> RuntimeFile | str:
    """The candidate's file, which is its own reference, or why it is none."""
    candidate = findings.candidate.candidate if findings.candidate else None
    if candidate is None or candidate.content is None:
        return "The candidate runs in torch, as the full model does; parity is of files that run elsewhere."
    return RuntimeFile("compressed", candidate.origin.source, candidate.content, None, allowed=_allowed(limit))


def _allowed(limit: Limit | None) -> int:
    return int(limit.value) if limit is not None and math.isfinite(limit.value) else 0


def compare_files(job: GateJob, files: Sequence[RuntimeFile], folder: Path) -> ParityFindings:
    """Compare files with their references.

    Args:
        job: the gate, with the samples that its scores are of.
        files: to be compared, one a section.
        folder: where parity.npz is written.
    """
    subject = job.subject
    batches = subject.probe if subject.evaluation is None else subject.evaluation
    found: dict[str, Parity] = {}
    reasons: dict[str, str] = {}
    pairs: list[Pair] = []
    for file in files:
        with job.stages.stage(_STAGE, "budgets"):
            try:
                pair = Pair(file)
                pair.update(_inputs(batches))
                found[file.section] = _plain(pair, job)
                pairs.append(pair)
            except (ArtifactError, CandidateError, DataError) as error:
                reasons[file.section] = error.fact
    gaps = [gap for file in files for gap in _gap(file.name, reasons.get(file.section, ""), None)]
    with job.stages.stage(_STAGE, "budgets"):
        gaps += _store(job, batches, pairs, folder / PARITY)
    return ParityFindings(found, reasons, tuple(gaps))


def _inputs(batches: Batches) -> Iterator[Batch]:
    """The batches without their labels."""
    return (Batch(batch.args, batch.kwargs) for batch in batches)


def _gap(what: str, reason: str, limit: Limit | None) -> Iterator[Unmeasured]:
    """That something was not compared, where no budget says it."""
    if reason and limit is None:
        yield Unmeasured(f"parity of {what}", reason.rstrip("."))


def _plain(pair: Pair, job: GateJob) -> Parity:
    found = pair.difference
    return Parity(
        file=pair.file.name,
        reference=pair.file.reference,
        machine=pair.machine,
        source=_source(job),
        samples=found.samples,
        classes=found.answers is not None,
        flips=len(found.flipped),
        gap=largest(found.gaps),
        relative_gap=largest(found.relative),
        tolerance=pair.tolerance,
        flipped=found.named(),
    )


def _source(job: GateJob) -> Literal["evaluation", "probe"]:
    return "probe" if job.subject.evaluation is None else "evaluation"


def _store(job: GateJob, batches: Batches, pairs: Sequence[Pair], path: Path) -> Iterator[Unmeasured]:
    """Write parity.npz; what cannot be stored is said."""
    if not pairs:
        return
    try:
        held = parity_data(job.config.name, _source(job), batches, pairs)
    except (CandidateError, DataError) as error:
        held = error.fact.rstrip(".")
    if isinstance(held, str):
        yield Unmeasured(PARITY, f"not written: {held}")
    else:
        write_parity(path, held)
