"""Files that a runtime runs, against their references: on all samples, and stored for other machines."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pfa_gate.artifacts.model_files import installed
from pfa_gate.budget import Parity
from pfa_gate.candidate import Candidate
from pfa_gate.config import GateConfig, Limit
from pfa_gate.config.field_types import OTHERS
from pfa_gate.errors import ArtifactError, CandidateError, DataError
from pfa_gate.model import Batch, Batches
from pfa_gate.model.device import model_on
from pfa_gate.pipeline.deployed import Deployed, ParityFindings
from pfa_gate.pipeline.findings import Findings
from pfa_gate.pipeline.job import GateJob
from pfa_gate.record import Unmeasured
from pfa_gate.report.ownership import EXECUTORCH, INT8, ONNX, OPENVINO, PARITY
from pfa_gate.runtime.pair import Pair, RuntimeFile
from pfa_gate.runtime.parity import largest
from pfa_gate.runtime.parity_data import write_parity
from pfa_gate.runtime.parity_store import parity_data

_STAGE = "comparing files"


def measure_parity(job: GateJob, findings: Findings, deployed: Deployed) -> ParityFindings:
    """Compare the files of a gate with their references on every sample, and store some of these.

    Args:
        job: the gate.
        findings: with the compressed model, or the candidate.
        deployed: the files that were written of it.
    """
    job = findings.cut.job if findings.cut else job
    config, other = job.config, set(OTHERS) & set(job.config.artifacts or ())
    asked = config.budgets.compressed.parity is not None
    wanted: dict[str, RuntimeFile | str] = {}
    if (asked and not other) or "onnx" in (config.artifacts or ()):
        made = findings.candidate
        wanted["compressed"] = _of_candidate(config, made.candidate) if made else _of_cut(job, findings, deployed)
    if other:
        from pfa_gate.pipeline.other_files import other_files  # noqa: PLC0415  for gates that ask

        wanted |= other_files(job, findings, deployed, _allowed(_limit(config, "compressed")))
    if config.int8:
        wanted["quantized"] = _of_int8(job, findings, deployed)
    reasons = {section: file for section, file in wanted.items() if isinstance(file, str)}
    found = compare_files(job, [file for file in wanted.values() if not isinstance(file, str)], deployed.files.folder)
    gaps = tuple(
        Unmeasured(f"parity of {_NAMES[section]}", reason.rstrip("."))
        for section, reason in reasons.items()
        if not asked and section != "quantized"  # which says itself why it is not there
    )
    found = replace(found, reasons={**found.reasons, **reasons}, gaps=(*gaps, *found.gaps))
    return together(found, other) if other else found


def together(found: ParityFindings, others: Collection[str]) -> ParityFindings:
    """One budget for the files of all runtimes: it is judged on the one with the most flips, if all were compared.

    Args:
        found: of each file, by its section, or by its form where it is of another runtime.
        others: these forms.
    """
    of_one = {section: parity for section, parity in found.found.items() if section in ("compressed", *others)}
    failed = [section for section in found.reasons if section in ("compressed", *others)]
    kept = {section: parity for section, parity in found.found.items() if section not in of_one}
    worst = "" if failed or not of_one else max(sorted(of_one), key=lambda section: of_one[section].flips)
    named = {
        "compressed" if each == worst else "onnx" if each == "compressed" else each: of_one[each] for each in of_one
    }
    reasons = {section: why for section, why in found.reasons.items() if section not in others}
    if failed:
        reasons["compressed"] = found.reasons[failed[0]]
    return replace(found, found={**kept, **named}, reasons=reasons)


_NAMES = {"compressed": ONNX, "quantized": INT8, "openvino": OPENVINO, "executorch": EXECUTORCH}


def _limit(config: GateConfig, section: str) -> Limit | None:
    found: Limit | None = getattr(config.budgets, section).parity
    return found


def _of_cut(job: GateJob, findings: Findings, deployed: Deployed) -> RuntimeFile | str:
    """The file of the compressed model, or why there is none."""
    files = deployed.files
    if findings.cut is None:
        return findings.reason
    if ONNX not in files.names:
        extra = "" if installed() else ": the extra onnx is not installed; run pip install 'pfa-gate[onnx]'"
        reason = files.why_not(ONNX)
        return f"{ONNX} was not written{f': {reason}' if reason else extra}."
    model = model_on(findings.cut.compressed.model, job.subject.device)
    content = (files.folder / ONNX).read_bytes()
    allowed = _allowed(_limit(job.config, "compressed"))
    return RuntimeFile("compressed", ONNX, content, model, job.subject.device, allowed)


def _of_int8(job: GateJob, findings: Findings, deployed: Deployed) -> RuntimeFile | str:
    """The int8 file, which is its own reference, or why there is none."""
    made = deployed.quantized
    if made is None or made.record is None:
        return findings.reason if made is None else made.reason
    content = (deployed.files.folder / INT8).read_bytes()
    return RuntimeFile("quantized", INT8, content, None, allowed=_allowed(_limit(job.config, "quantized")))


def candidate_parity(job: GateJob, candidate: Candidate) -> ParityFindings:
    """Compare a candidate's file with itself without optimisations, and store nothing.

    Args:
        job: the gate.
        candidate: of any form; one that is no ONNX file is not compared.
    """
    file = _of_candidate(job.config, candidate)
    return ParityFindings(reasons={"compressed": file}) if isinstance(file, str) else compare_files(job, [file], None)


def _of_candidate(config: GateConfig, candidate: Candidate) -> RuntimeFile | str:
    """The candidate's file, which is its own reference, or why it is none."""
    if candidate.content is None:
        return "The candidate runs in torch, as the full model does; parity is of files that run elsewhere."
    allowed = _allowed(config.budgets.compressed.parity)
    return RuntimeFile("compressed", candidate.origin.source, candidate.content, None, allowed=allowed)


def _allowed(limit: Limit | None) -> int:
    return int(limit.value) if limit is not None and math.isfinite(limit.value) else 0


def compare_files(job: GateJob, files: Sequence[RuntimeFile], folder: Path | None) -> ParityFindings:
    """Compare files with their references.

    Args:
        job: the gate, with the samples that its scores are of.
        files: to be compared, one a section.
        folder: where parity.npz is written; None for nowhere.
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
    gaps = [
        Unmeasured(f"parity of {file.name}", reasons[file.section].rstrip("."))
        for file in files
        if file.section in reasons and _limit(job.config, file.section) is None
    ]
    if folder is not None:
        with job.stages.stage(_STAGE, "budgets"):
            gaps += _store(job, batches, pairs, folder / PARITY)
    return ParityFindings(found, reasons, tuple(gaps))


def _inputs(batches: Batches) -> Iterator[Batch]:
    """The batches without their labels."""
    return (Batch(batch.args, batch.kwargs) for batch in batches)


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
