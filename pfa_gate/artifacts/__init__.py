"""The files that are deployed.

A gate's folder holds `record.json` and the reports made from it, and beside them, where a compressed model was proved,
`recipe.yaml` and what the gate asks for of `weights.safetensors`, `model.pt2` and `model.onnx`. Nothing is a pickle.
"""

from pfa_gate.artifacts.gate_files import Delivery, require_onnx, write
from pfa_gate.artifacts.recipe import load

__all__ = ["Delivery", "load", "require_onnx", "write"]
