"""The files of a gate for runtimes beside ONNX Runtime, ready to be compared with the model."""

from functools import partial
from pathlib import Path
from typing import Any

from pfa_gate.model.device import model_on
from pfa_gate.pipeline.deployed import Deployed
from pfa_gate.pipeline.findings import Findings
from pfa_gate.pipeline.job import GateJob
from pfa_gate.runtime.other_runtimes import asked, opened
from pfa_gate.runtime.pair import RuntimeFile


def other_files(job: GateJob, findings: Findings, deployed: Deployed, allowed: int) -> dict[str, RuntimeFile | str]:
    """Of each runtime that the gate names its file, or why there is none.

    Args:
        job: the gate.
        findings: with the compressed model.
        deployed: the files that were written of it.
        allowed: how many answers may flip.
    """
    found: dict[str, RuntimeFile | str] = {}
    for runtime in asked(job.config.artifacts):
        path = deployed.files.folder / runtime.file
        if findings.cut is None:
            found[runtime.form] = findings.reason
        elif not path.exists():
            found[runtime.form] = f"{runtime.file} was not written: {deployed.files.why_not(runtime.file)}."
        else:
            model = model_on(findings.cut.compressed.model, job.subject.device)
            opens = partial(_opened, path, tuple(deployed.files.sizes))
            found[runtime.form] = RuntimeFile(
                runtime.form, runtime.file, str(path), model, job.subject.device, allowed, opens
            )
    return found


def _opened(path: Path, names: tuple[str, ...], threads: int) -> Any:
    return opened(path, threads, names)
