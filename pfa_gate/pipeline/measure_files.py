"""What is measured of the files that were made, as far as a gate asks for it."""

from dataclasses import replace

from pfa_gate.config.field_types import OTHERS
from pfa_gate.model.device import exact_arithmetic
from pfa_gate.pipeline.cut import Cut
from pfa_gate.pipeline.deployed import Deployed
from pfa_gate.pipeline.findings import Findings
from pfa_gate.pipeline.job import GateJob
from pfa_gate.report.ownership import INT8


def measure_files(job: GateJob, findings: Findings, deployed: Deployed) -> Deployed:
    """Measure the files in their runtime.

    Args:
        job: the gate.
        findings: with the compressed model, or the candidate.
        deployed: the files.
    """
    with exact_arithmetic(job.subject.device):
        config = job.config
        forms = {"onnx", *OTHERS} & set(config.artifacts or ())
        if config.budgets.compressed.parity is not None or forms or config.int8:
            from pfa_gate.pipeline.parity import measure_parity  # noqa: PLC0415  for gates that ask

            deployed = replace(deployed, parity=measure_parity(job, findings, deployed))
        limits = config.budgets
        if findings.cut is not None and (limits.compressed.latency or limits.quantized.latency):
            deployed = _timed(findings.cut, deployed)
    return deployed


def _timed(cut: Cut, deployed: Deployed) -> Deployed:
    """With how long the files take."""
    from pfa_gate.pipeline.latency import file_latencies  # noqa: PLC0415  for gates that ask

    file = deployed.quantized
    made = file is not None and file.record is not None and cut.job.config.int8
    int8 = deployed.files.folder / INT8 if made else None
    found = file_latencies(cut, deployed.files, int8)
    if file is not None and file.record is not None and made:
        file = replace(file, record=replace(file.record, timing=found.quantized, untimed=found.untimed))
    return replace(deployed, latencies=found, quantized=file)
