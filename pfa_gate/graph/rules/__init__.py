"""One rule for each operator of ATen that networks use; importing this package registers them all."""

from . import axes, contractions, elementwise, indexing, layers, moves, products, recurrent

__all__ = ["axes", "contractions", "elementwise", "indexing", "layers", "moves", "products", "recurrent"]
