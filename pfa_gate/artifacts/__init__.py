"""The files that are deployed.

A gate's folder holds `record.json` and the reports made from it, and beside them, where a compressed model was proved,
`recipe.yaml`, `weights.safetensors`, `model.pt2`, and with the extra `onnx` `model.onnx`. Nothing is a pickle.
"""

from pfa_gate.artifacts.gate_files import write
from pfa_gate.artifacts.recipe import load

__all__ = ["load", "write"]
