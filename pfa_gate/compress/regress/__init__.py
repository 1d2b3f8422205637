"""What a layer reads: its calls, its input patches at drawn positions, and the equations of its reconstruction."""

from pfa_gate.compress.regress.normal_equations import FOLDS, Equations, Sums, errors, offset_of
from pfa_gate.compress.regress.patches import draw, outputs, patches, places, spread
from pfa_gate.graph.calls import Call, Geometry, calls, matrix_of, weight_of
from pfa_gate.graph.epilogue import Epilogue, epilogue_of

__all__ = [
    "FOLDS",
    "Call",
    "Epilogue",
    "Equations",
    "Geometry",
    "Sums",
    "calls",
    "draw",
    "epilogue_of",
    "errors",
    "matrix_of",
    "offset_of",
    "outputs",
    "patches",
    "places",
    "spread",
    "weight_of",
]
