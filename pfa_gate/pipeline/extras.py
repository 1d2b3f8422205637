"""What a gate asks for that takes an extra: refused before anything is measured, if it is not installed."""

from pfa_gate.config import GateConfig
from pfa_gate.config.field_types import OTHERS
from pfa_gate.pipeline.job import Stages


def require_extras(config: GateConfig, stages: Stages) -> None:
    """Refuse a gate that asks for what cannot be made here, before anything is measured."""
    asked = config.artifacts is not None and "onnx" in config.artifacts
    if asked or config.int8:
        from pfa_gate.artifacts import require_onnx  # noqa: PLC0415  else not before there is a model to write

        with stages.stage("loading", "artifacts" if asked else "quantize"):
            require_onnx("artifacts" if asked else "quantize")
    if set(OTHERS) & set(config.artifacts or ()):
        from pfa_gate.runtime.other_runtimes import require  # noqa: PLC0415  for gates that ask

        with stages.stage("loading", "artifacts"):
            require(config.artifacts)
