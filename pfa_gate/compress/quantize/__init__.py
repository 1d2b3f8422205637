"""Few bits for weights: grids, scales, packing, rounding with error feedback, and which layer gets how many."""

from pfa_gate.compress.quantize.allocation import allocate
from pfa_gate.compress.quantize.constraint import FewBits
from pfa_gate.compress.quantize.grid import WIDTHS, Grid, Rounded, Width, rounded
from pfa_gate.compress.quantize.layers import WeightLayer, weight_layers

__all__ = ["WIDTHS", "FewBits", "Grid", "Rounded", "WeightLayer", "Width", "allocate", "rounded", "weight_layers"]
