"""The files that are deployed.

A gate's folder holds `record.json` and the reports made from it, and beside them, where a compressed model was proved,
`recipe.yaml` and what the gate asks for of `weights.safetensors`, `model.pt2` and `model.onnx`. Nothing is a pickle.
"""

from pfa_gate.artifacts.folders import replacing
from pfa_gate.artifacts.gate_files import with_files, write, write_record
from pfa_gate.artifacts.model_files import Delivery, ModelFiles, require_onnx, write_model
from pfa_gate.artifacts.recipe import load

__all__ = [
    "Delivery", "ModelFiles", "load", "replacing", "require_onnx", "with_files", "write", "write_model", "write_record",
]  # fmt: skip
