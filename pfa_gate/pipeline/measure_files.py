"""What is measured of the files that were made, as far as a gate asks for it."""

from dataclasses import replace

from pfa_gate.config.field_types import OTHERS
from pfa_gate.model.device import exact_arithmetic
from pfa_gate.pipeline.deployed import Deployed
from pfa_gate.pipeline.findings import Findings
from pfa_gate.pipeline.job import GateJob


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
        if config.budgets.compressed.parity is not None or forms or config.quantize is not None:
            from pfa_gate.pipeline.parity import measure_parity  # noqa: PLC0415  for gates that ask

            deployed = replace(deployed, parity=measure_parity(job, findings, deployed))
    return deployed
